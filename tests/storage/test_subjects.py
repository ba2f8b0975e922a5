"""Which events are by or about one person, in SQL against plain cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import sql
from storage.duck import connect
from storage.query import Filter, Scope
from storage.scope import view
from tests.storage.samples import filled, snapshot, write_events

ABOUT: list[tuple[str, dict[str, Any]]] = [
    ("42", {"user_id": "42"}),
    ("ann", {"username": "ann"}),
    ("42", {"on_behalf_of": "42"}),
    ("42", {"entity_type": "User", "entity_id": "42"}),
    ("Ann Lee", {"entity_type": "account", "entity_name": "Ann Lee"}),
    ("42", {"metadata": '{"user_id": 42}'}),
    ("42", {"metadata": '{"deep":{"targetUserId":"42"}}'}),
    ("ann@x.org", {"metadata": '{"e-mail" : "ann@x.org", "n": 1}'}),
    ("Jürgen (2)", {"changes": '{"owner":{"old":"al","new":"Jürgen (2)"}}'}),
    ("ann", {"extra": '{"users":["bob","ann"]}'}),
    ('a"b\\c', {"metadata": '{"login":"a\\"b\\\\c"}'}),
    ("ann", {"changes": '{"approved_by": "ann"}'}),
]
NOT_ABOUT: list[tuple[str, dict[str, Any]]] = [
    ("42", {"entity_type": "project", "entity_id": "42"}),
    ("42", {"metadata": '{"user_id": 421}'}),
    ("42", {"metadata": '{"amount": 42}'}),
    ("ann", {"description": "ann logged in"}),
    ("ann", {"metadata": '{"username":"anna"}'}),
    ("a.n", {"metadata": '{"username":"ann"}'}),
    ("ann", {"metadata": '{"username":"bob","note":"ann"}'}),
    ("Ann", {"username": "ann"}),
]


@pytest.mark.parametrize("person", sorted({person for person, _ in ABOUT + NOT_ABOUT}))
def test_a_person_is_found_by_who_acted_and_by_keys_that_mean_a_person(tmp_path: Path, person: str) -> None:
    """Every event that names them as a person, and no other."""
    cases = [(whose, row, True) for whose, row in ABOUT] + [(whose, row, False) for whose, row in NOT_ABOUT]
    mine = [(row, about) for whose, row, about in cases if whose == person]
    rows = filled([row for row, _ in mine])
    seen = snapshot(tmp_path, [write_events(tmp_path, rows, "some")])
    wanted = Filter.of(subject=person)
    with connect(threads=1, memory_limit_mb=64) as connection:
        sql.register(connection, ())
        shown = view(seen, wanted, Scope())
        found = sql.keys_in_order(shown, wanted, Scope(), limit=100).rows(connection)
    expected = {row["seq"] for row, (_, about) in zip(rows, mine, strict=True) if about}
    assert {seq for _, seq in found} == expected


def test_a_filter_comes_back_from_json_as_it_was() -> None:
    """Holds and manifests keep filters as JSON."""
    wanted = Filter.of(
        {"user_id": ["42", "!7"], "level": ["error"]}, min_risk=3, start_us=5, search="x", subject="ann"
    )
    assert Filter.from_json(wanted.to_json()) == wanted
    assert Filter.from_json({}) == Filter()
