"""Whose word counts: forwarded addresses and users, from a proxy that is trusted and from one that is not."""

from collections.abc import Mapping

import pytest
from aiohttp.test_utils import TestClient, make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from storage.keyring import Keyring
from tests.web.station import NOW_US, Station, event, served
from web.access import AccessOptions
from web.keys import WebOptions
from web.peers import networks, peer_of

PROXIES = networks(("127.0.0.1", "10.0.0.0/8", "2001:db8::/32"))
addresses = st.ip_addresses().map(str)


def peer(headers: list[tuple[str, str]], remote: str = "127.0.0.1"):
    """Return what is made of these headers from a socket's address."""
    from multidict import CIMultiDict

    request = make_mocked_request("GET", "/", CIMultiDict([("Host", "own"), *headers])).clone(remote=remote)
    return peer_of(request, PROXIES)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([], "127.0.0.1"),
        ([("X-Forwarded-For", "203.0.113.9")], "203.0.113.9"),
        ([("X-Forwarded-For", "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
        ([("X-Forwarded-For", "1.1.1.1, 203.0.113.9, 10.1.1.1")], "203.0.113.9"),
        ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.9")], "203.0.113.9"),
        ([("X-Forwarded-For", "127.0.0.1, 203.0.113.9:8080")], "203.0.113.9"),
        ([("X-Forwarded-For", "203.0.113.9, unknown, 10.1.1.1")], "10.1.1.1"),
        ([("X-Forwarded-For", "10.1.1.1, 10.1.1.2")], "10.1.1.1"),
        ([("X-Forwarded-For", "")], "127.0.0.1"),
        ([("Forwarded", 'for=1.1.1.1, for="[2001:db9::7]:4711";proto=https')], "2001:db9::7"),
        ([("Forwarded", "For=203.0.113.9; by=x, for=_hidden")], "127.0.0.1"),
        ([("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "203.0.113.9")], "203.0.113.9"),
        ([("X-Real-IP", "203.0.113.9")], "127.0.0.1"),
    ],
)
def test_the_right_most_hop_that_is_no_trusted_proxy_is_the_client(
    headers: list[tuple[str, str]], address: str
) -> None:
    """What stands further left may be made up; behind a name that is no address nothing is believed."""
    assert peer(headers).address == address


@given(st.lists(addresses, max_size=5), addresses)
def test_what_a_client_writes_changes_nothing(forged: list[str], client: str) -> None:
    """A proxy appends the address that it sees: whatever the client sent before it, that one counts."""
    if any(member in client for member in ("2001:db8:", "2001:0db8")) or client.startswith("10."):
        return
    from web.peers import parse

    if client == "127.0.0.1":
        return
    found = peer([("X-Forwarded-For", ", ".join([*forged, client]))])
    assert parse(found.address) == parse(client)
    assert (found.trusted, found.proxied) == (True, True)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_any_header_text_is_survived(text: str) -> None:
    """Whatever stands there, the answer is an address and a host, not an error."""
    for name in ("X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host"):
        assert peer([(name, text), ("X-Forwarded-For", "203.0.113.9")]).scheme in {"http", "https"}
        assert peer([(name, text)]).address


@pytest.mark.parametrize("remote", ["203.0.113.1", "192.168.1.1", ""])
def test_from_anybody_else_nothing_is_believed(remote: str) -> None:
    """Neither address, scheme nor host."""
    forged = [("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil")]
    found = peer(forged, remote)
    assert (found.address, found.scheme, found.host, found.trusted) == (remote, "http", "own", False)


def test_scheme_and_host_are_the_nearest_proxys() -> None:
    """It appends last; any other word than http and https is none."""
    found = peer(
        [
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-Proto", "http, https"),
            ("X-Forwarded-Host", "a, b"),
        ]
    )
    assert (found.scheme, found.host) == ("https", "b")
    assert peer([("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "gopher")]).scheme == "http"


SIGNED_ON = AccessOptions(
    proxies=networks(("127.0.0.1",)),
    user_header="X-Remote-User",
    groups_header="X-Remote-Groups",
    roles={"ann": "admin", "@auditors": "auditor", "*": "viewer"},
)


async def status(client: TestClient, path: str, headers: Mapping[str, str], method: str = "GET") -> int:
    """Return the status of one request."""
    async with client.request(method, path, headers=dict(headers)) as response:
        return response.status


@pytest.mark.parametrize(
    ("headers", "reads", "exports", "removes"),
    [
        ({"X-Remote-User": "ann"}, 200, 200, 200),
        ({"X-Remote-User": "bob"}, 200, 403, 403),
        ({"X-Remote-User": "bob", "X-Remote-Groups": "staff, auditors"}, 200, 200, 403),
        ({"X-Remote-User": "auditors"}, 200, 403, 403),
        ({"X-Remote-User": "@auditors"}, 200, 403, 403),
        ({"X-Remote-User": "bob", "X-Remote-Groups": "ann"}, 200, 403, 403),
        ({"X-Remote-Groups": "auditors"}, 401, 401, 401),
        ({"X-Remote-User": " "}, 401, 401, 401),
        ({}, 401, 401, 401),
    ],
)
async def test_a_trusted_proxy_names_users(
    station: Station, headers: dict[str, str], reads: int, exports: int, removes: int
) -> None:
    """The strongest role of user and groups counts; whom it does not name is nobody, even on this machine."""
    station.write("a.log", [event()])
    headers = {**headers, "X-Forwarded-For": "203.0.113.9"}
    async with served(station, WebOptions(static=station.logs / "no", access=SIGNED_ON)) as client:
        assert await status(client, "/events", headers) == reads
        assert await status(client, "/events/export", headers) == exports
        assert await status(client, "/events/cleanup", headers, "DELETE") == removes
    asked = [entry for entry in station.audited if entry["action"] == "read"]
    assert all(entry["request"]["ip"] == "203.0.113.9" for entry in asked)
    name = headers.get("X-Remote-User")
    assert all(entry["user"] == {"id": f"user:{name}", "username": name} for entry in asked)


async def test_a_user_header_from_elsewhere_is_as_if_it_were_not_there(station: Station) -> None:
    """A proxy that is not in the list, or a client that writes the header itself, gets nothing by it."""
    options = WebOptions(
        static=station.logs / "no",
        access=AccessOptions(
            proxies=networks(("10.9.9.9",)),
            user_header="X-Remote-User",
            roles={"ann": "admin", "*": "viewer"},
        ),
    )
    keyring = Keyring()
    keyring.create("any", "viewer", now_us=NOW_US)
    async with served(station, options, keyring=keyring) as client:
        assert await status(client, "/events", {"X-Remote-User": "ann"}) == 401
        assert await status(client, "/events", {"X-Remote-User": "ann", "X-Forwarded-For": "10.9.9.9"}) == 401


async def test_two_user_headers_are_none(station: Station) -> None:
    """A client's that the proxy did not remove stands beside the proxy's own: nobody can say which is which."""
    from multidict import CIMultiDict

    headers = CIMultiDict([("X-Remote-User", "ann"), ("X-Remote-User", "bob")])
    async with (
        served(station, WebOptions(static=station.logs / "no", access=SIGNED_ON)) as client,
        client.get("/events", headers=headers) as response,
    ):
        assert response.status == 401


async def test_a_forwarded_host_counts_from_a_trusted_proxy(station: Station) -> None:
    """It must be one of ours all the same; the origin of a change is compared with it."""
    options = WebOptions(static=station.logs / "no", access=SIGNED_ON, allowed_hosts=("logs.example",))
    base = {"X-Remote-User": "ann", "X-Forwarded-For": "203.0.113.9"}
    async with served(station, options) as client:
        ours = {**base, "X-Forwarded-Host": "logs.example", "Origin": "https://logs.example"}
        assert await status(client, "/events/cleanup", ours, "DELETE") == 200
        assert await status(client, "/events", {**base, "X-Forwarded-Host": "evil.example"}) == 421
        theirs = {**ours, "Origin": "https://evil.example"}
        assert await status(client, "/events/cleanup", theirs, "DELETE") == 403


@pytest.mark.parametrize(
    ("keys", "loopback_admin", "found"), [(0, False, 200), (1, False, 401), (1, True, 200)]
)
async def test_one_key_closes_loopback_unless_it_is_said_to_stay_open(
    station: Station, keys: int, loopback_admin: bool, found: int
) -> None:
    """Revoking the key does not open it again: a door must not open by the end of something."""
    keyring = Keyring()
    options = WebOptions(static=station.logs / "no", access=AccessOptions(loopback_admin=loopback_admin))
    async with served(station, options, keyring=keyring) as client:
        if keys:
            keyring.create("one", "admin", now_us=NOW_US)
            keyring.revoke("one", now_us=NOW_US)
        assert await status(client, "/events/cleanup", {}, "DELETE") == found
        if loopback_admin:  # what a proxy forwards is not this machine
            assert await status(client, "/events", {"X-Forwarded-For": "127.0.0.1"}) == 401
