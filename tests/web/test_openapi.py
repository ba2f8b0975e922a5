"""The OpenAPI document: valid, served, committed without drift, and true against the running server."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient
from openapi_spec_validator import validate

from storage.filters import FIELDS
from storage.spares import SpareOptions
from tests.support import ROOT
from tests.web.station import Station, event, served
from web.keys import PREFIX
from web.openapi import document
from web.params import Filters, repeatable
from web.reference import DOCUMENT, REFERENCE, api_page, openapi_text
from web.routes import ROUTES

# What a JSON Schema cannot say (that a date exists, that a cursor is ours, how long a whole query string is) makes
# requests 422 or 414 that the document alone would allow, or refuse otherwise.
EXPECTATIONS = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "404", "414", "422"]
negative_data_rejection.expected-statuses = ["400", "404", "405", "414", "415", "422"]
"""
SHORT = ("--phases", "fuzzing", "--max-examples", "3", "--max-time", "12")
LONG = ("--max-examples", "30", "--max-time", "240")


def test_the_document_is_valid_openapi() -> None:
    """By the specification's own schema."""
    validate(document(version="1"))


@pytest.mark.parametrize(("path", "make"), [(DOCUMENT, openapi_text), (REFERENCE, api_page)])
def test_committed_documents_follow_the_code(path: str, make: object) -> None:
    """`python -m web.reference` writes both; a change of a route, a parameter or a shape shows in the same commit."""
    assert callable(make)
    assert (ROOT / path).read_text("utf-8") == make(), f"run 'python -m web.reference' to write {path} again"


async def test_the_document_is_served_under_both_prefixes(client: TestClient) -> None:
    """And is the same."""
    texts = []
    for prefix in ("", PREFIX):
        async with client.get(f"{prefix}/openapi.json") as response:
            assert response.status == 200
            texts.append(await response.text())
    assert texts[0] == texts[1]
    assert set(json.loads(texts[0])["paths"]) == {PREFIX + route.path for route in ROUTES}


def test_static_paths_stand_before_the_event_id() -> None:
    """The original had it the other way round, so that /events/export was an event that did not exist."""
    order = [route.path for route in ROUTES if route.method == "GET"]
    assert max(order.index(path) for path in order if re.fullmatch(r"/events/\w+", path)) < order.index(
        "/events/{event_id}"
    )


def test_every_filter_of_the_archive_is_a_parameter() -> None:
    """Lists, statistics and exports share them; each can be repeated."""
    own = {"event_id"}  # it has an address of its own
    assert set(FIELDS) - own <= set(Filters.model_fields)
    assert all(repeatable(Filters, name) for name in set(FIELDS) - own)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)], ids=["short", "long"])
async def test_no_request_gets_a_5xx_or_an_undocumented_answer(
    station: Station, tmp_path: Path, size: tuple[str, ...]
) -> None:
    """Schemathesis asks what the document allows and what it forbids, and compares every answer with it."""
    station.write(
        "app-2026-06-01.log",
        [
            event(
                eventId=f"e-{n}",
                user={"id": n % 5, "username": f"u{n % 5}"},
                request={
                    "ip": "10.0.0.1",
                    "method": "GET",
                    "path": "/x",
                    "statusCode": 200,
                    "responseTime": 1.5,
                },
                location={"country": "DE", "city": "Köln"},
                riskScore=n,
                tags=["a"],
                metadata={"n": n},
            )
            for n in range(100)
        ]
        + [b"broken"],
    )
    station.archive.commit()
    (tmp_path / "schemathesis.toml").write_text(EXPECTATIONS)
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program),
        "--config-file",
        "schemathesis.toml",
        "run",
        "--no-color",
        "--seed",
        "1",
    ]
    options = [
        "--checks",
        "all",
        "--generation-database",
        "none",
        "--workers",
        "1",
        "--exclude-operation-id",
        "followEvents",  # it does not end; test_api_live asks it
    ]
    async with served(station, sql=SpareOptions()) as client:
        address = f"http://127.0.0.1:{client.port}/openapi.json"
        running = await asyncio.create_subprocess_exec(
            *command,
            address,
            *options,
            *size,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
