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

from daemon.outbound.sender import Channel
from storage.filters import FIELDS
from storage.keyring import Keyring
from storage.roles import ROLES
from storage.spares import SpareOptions
from tests.support import ROOT
from tests.web.station import NOW_US, Station, event, served
from tests.web.watch import Watch
from web.access import AccessOptions
from web.keys import PREFIX, WebOptions
from web.openapi import document
from web.params import Filters, repeatable
from web.reference import DOCUMENT, REFERENCE, api_page, openapi_text
from web.routes import ROUTES

# What a JSON Schema cannot say (that a date exists, that a cursor is ours, how long a whole query string or body is)
# makes requests 422, 414 or 413 that the document alone would allow, or refuse otherwise. Nor who may ask.
EXPECTATIONS = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "404", "413", "414", "422", {refusals}]
negative_data_rejection.expected-statuses = ["400", "404", "405", "413", "414", "415", "422", {refusals}]
"""
# Who asks: nobody has a key yet, a key is asked for and none sent, and one of each end of the roles.
CALLERS = {"open": (), "locked": ("401",), "viewer": ("403",), "admin": ("403",)}
BRIEF = ("--phases", "fuzzing", "--max-examples", "1", "--max-time", "4")
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
@pytest.mark.parametrize(
    ("caller", "size"),
    [
        ("open", SHORT),
        ("locked", BRIEF),
        ("viewer", BRIEF),
        ("admin", BRIEF),
        pytest.param("open", LONG, marks=pytest.mark.soak),
        pytest.param("viewer", LONG, marks=pytest.mark.soak),
    ],
)
async def test_no_request_gets_a_5xx_or_an_undocumented_answer(
    station: Station, tmp_path: Path, caller: str, size: tuple[str, ...]
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
    refusals = ", ".join(f'"{status}"' for status in CALLERS[caller])
    (tmp_path / "schemathesis.toml").write_text(EXPECTATIONS.format(refusals=refusals))
    keyring = Keyring()
    options: tuple[str, ...] = ()
    if caller == "locked":
        keyring.create("somebody", "admin", now_us=NOW_US)
    elif caller in ROLES:
        options = ("--header", f"X-API-Key: {keyring.create(caller, caller, now_us=NOW_US)[1]}")
    unlimited = WebOptions(static=station.logs / "no", access=AccessOptions(requests_per_second=0))
    nobody = Channel("nobody", "webhook", url="http://127.0.0.1:9/")  # port 9: refused at once
    watch = Watch(station, channels=[nobody])
    await watch.look()
    async with served(
        station,
        unlimited,
        keyring=keyring,
        sql=SpareOptions(),
        detection=watch.detection,
        telling=watch.teller,
    ) as client:
        await fuzzed(client, tmp_path, (*options, *size))
    await watch.close()


async def fuzzed(client: TestClient, tmp_path: Path, given: tuple[str, ...]) -> None:
    """Run the program on a server; it must find nothing."""
    program = Path(sys.executable).with_name("schemathesis")
    address = f"http://127.0.0.1:{client.port}/openapi.json"
    command = [
        str(program),
        "--config-file",
        "schemathesis.toml",
        "run",
        address,
        "--no-color",
        "--seed",
        "1",
    ]
    checks = [
        "--checks",
        "all",
        "--generation-database",
        "none",
        "--workers",
        "1",
        "--exclude-operation-id",
        "followEvents",  # it does not end; test_api_live asks it
    ]
    running = await asyncio.create_subprocess_exec(
        *command,
        *checks,
        *given,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
