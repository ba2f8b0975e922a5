"""Profiles counted from rows that are gathered once have the figures of those counted from the files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage import gathered as gathering
from storage import sql
from storage.duck import connect
from storage.masking import Mask
from storage.profile import ProfileQuery, profile
from storage.query import Filter, Scope
from storage.rows import RowCache
from storage.sieve import Sieve
from tests.storage.samples import HOUR_US, START_US, Row, filled
from tests.storage.test_query_pages import filters, layout, rows_strategy, scopes


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(threads=1, memory_limit_mb=256) as connection:
        sql.empty_hot(connection)
        yield connection


@given(
    rows=rows_strategy,
    cuts=st.lists(st.integers(1, 24), max_size=3),
    subject=st.sampled_from([{"user_id": ["1"]}, {"username": ["Ann"]}, {"entity_type": ["file"]}]),
    more=st.just(Filter()) | filters(),
    scope=scopes,
    hours=st.integers(1, 30),
)
@hypothesis_settings(max_examples=25)
def test_gathered_rows_give_the_same_profile(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    cuts: list[int],
    subject: dict[str, list[str]],
    more: Filter,
    scope: Scope,
    hours: int,
) -> None:
    """Whatever the filter, the scope and the range, in files and in memory; only the plan tells the difference."""
    about = Filter.of(subject)
    kept = tuple(item for item in more.terms if item.field not in subject)
    wanted = replace(
        more, terms=(*about.terms, *kept), start_us=START_US, end_us=START_US + hours * HOUR_US - 1
    )
    with tempfile.TemporaryDirectory() as folder:
        snap = layout(Path(folder), filled(rows), cuts)
        answers = []
        for most in (gathering.MOST, 0):
            with pytest.MonkeyPatch.context() as patch, connection.cursor() as cursor:
                patch.setattr(gathering, "MOST", most)
                answers.append(
                    profile(
                        cursor,
                        snap,
                        ProfileQuery(about, wanted, scope),
                        sieve=Sieve(),
                        cache=RowCache(),
                        mask=Mask(),
                    )
                )
    plans = [answer.pop("plan") for answer in answers if answer is not None]
    assert answers[0] == answers[1]
    assert len(plans) in {0, 2}
