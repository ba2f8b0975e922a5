"""Keys, roles and scopes at every route, and what a viewer's answers never hold."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from daemon.outbound.sender import Channel
from parsers.fields import FIELDS
from storage.keyring import Keyring
from storage.roles import ADMIN, AUDITOR, NONE, ROLES, VIEWER, allows
from tests.web.station import NOW_US, Station, event, served
from tests.web.watch import Watch
from web.access import AccessOptions
from web.keys import PREFIX, WebOptions
from web.route import Route
from web.routes import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What only a person's fields hold. None of it may be in any answer to a viewer.
PLANTED = {
    "user id": "4711334",
    "username": "Zzquentin",
    "on behalf of": "Zzbehalf",
    "session": "Zzsession",
    "address": "203.0.113.77",
    "address of another": "2001:db8:77::4242",
    "agent": "Zzagent",
    "header": "Zzheader",
    "mail": "zzmail@example.org",
    "entity": "Zzentity",
    "metadata": "Zzmeta",
    "change": "Zzchange",
    "phone": "Zzphone",
    "reject": "Zzreject",
}
PERSON = event(
    eventId="e-person",
    level="critical",
    riskScore=90,
    sessionId=PLANTED["session"],
    onBehalfOf=PLANTED["on behalf of"],
    user={"id": int(PLANTED["user id"]), "username": PLANTED["username"]},
    entity={"type": "user", "id": PLANTED["entity"], "name": PLANTED["entity"]},
    request={
        "method": "GET",
        "path": f"/users/{PLANTED['user id']}/{PLANTED['mail']}",
        "ip": PLANTED["address"],
        "userAgent": PLANTED["agent"],
        "headers": {"X-Who": PLANTED["header"]},
    },
    description=f"{PLANTED['username']} <{PLANTED['mail']}> from {PLANTED['address']} met {PLANTED['address of another']}",
    metadata={"actor": PLANTED["metadata"], "phone": PLANTED["phone"], "note": f"by {PLANTED['username']}"},
    changes={"owner": {"old": PLANTED["change"], "new": PLANTED["username"]}},
    tags=[f"user:{PLANTED['username']}"],
    remote_addr=PLANTED["address of another"],
)
FILE = "app-2026-06-01.log"
RULE_ID = "5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9903"
LONG_US = 3_600_000_000  # a group waits so long that no message leaves here


RULE = f"""
title: Somebody met
id: {RULE_ID}
logsource: {{product: watchkeep}}
detection:
  sel: {{event.id: e-person}}
  condition: sel
level: high
group: [user.id, user.name, source.ip]
"""


@dataclass
class Door:
    """A station whose rules found something, one key of each role, its client, and the keys' tokens by role."""

    station: Station
    client: TestClient
    keyring: Keyring
    alert: str
    tokens: dict[str, str] = field(default_factory=dict)

    def key(self, role: str | None) -> Mapping[str, str]:
        """Return the headers of a caller with a role; None: without a key."""
        return {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watch]:
    """Rules that look at people's events, and a channel that nobody answers behind."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "rules").mkdir()
    (folder / "rules" / "met.yml").write_text(RULE)
    station = Station(folder)
    nobody = Channel("nobody", "webhook", url="http://127.0.0.1:1/")
    watch = Watch(station, rules=[str(folder / "rules")], channels=[nobody], wait_us=LONG_US)
    await watch.look()
    station.write(FILE, [PERSON, event(), json.dumps({"user": PLANTED["reject"]}).encode()[:-1]])
    station.archive.commit()
    station.write(FILE, [PERSON | {"eventId": "e-hot"}])
    await watch.look()
    yield watch
    await watch.close()
    station.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(watch: Watch) -> AsyncIterator[Door]:
    keyring, station = Keyring(), watch.station
    options = WebOptions(static=station.logs / "no", access=AccessOptions(requests_per_second=0))
    (alert,) = watch.detection.alerts()
    async with served(
        station, options, keyring=keyring, detection=watch.detection, telling=watch.teller
    ) as client:
        found = Door(station, client, keyring, alert.id)
        for role in ROLES:
            found.tokens[role] = keyring.create(f"the {role}", role, now_us=NOW_US)[1]
        yield found


def address_of(route: Route, alert: str) -> str:
    """Return an address of a route that leads to the planted event or its alert where there is one to name."""
    values = {"event_id": "e-person", "user_id": PLANTED["user id"], "entity_type": "user"}
    values |= {"ip": PLANTED["address"], "alert_id": alert, "rule_id": RULE_ID, "channel": "nobody"}
    path = re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "x"), route.path)
    return f"{path}?timeout=0.2" if route.name == "followEvents" else path


def asked(route: Route) -> list[str]:
    """Return the query strings with which a route shows all it can."""
    names = set(route.params.model_fields)
    if route.name == "suggestSearch":
        prefixes = ("Zz", PLANTED["address"][:5], PLANTED["user id"][:3], "")
        return [f"q={field.name}:{prefix}" for field in FIELDS for prefix in prefixes] + [
            "q=metadata.",
            "q=extra.",
        ]
    if route.name == "followEvents":
        return ["replay=50&internal=true&timeout=0.5"]
    if route.name == "getFacets":
        return [f"hours=8760&fields={field.key}" for field in FIELDS] + ["fields=metadata.actor&hours=8760"]
    everything = "internal=true" if "internal" in names else ""
    hours = "hours=8760" if "hours" in names else ""
    return ["&".join(part for part in (everything, hours) if part), ""]


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_every_route_asks_for_its_role(door: Door, route: Route, prefix: str) -> None:
    """With rules on. No key: 401. A weaker role: 403 that names the one needed. That role and every stronger one: an answer."""
    for role in (None, *ROLES):
        async with door.client.request(
            route.method, prefix + address_of(route, door.alert), headers=door.key(role)
        ) as response:
            body = await response.text()
        if route.role == NONE or (role is not None and allows(role, route.role)):
            refused = {401} if route.scope not in {None, "export"} or "masked" in body else {401, 403}
            assert response.status not in refused, body
        elif role is None:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="watchkeep"'
        else:
            assert (response.status, f"the role {route.role}" in body) == (403, True)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if allows(VIEWER, route.role)], ids=lambda r: r.name
)
async def test_no_answer_to_a_viewer_holds_a_person(door: Door, route: Route) -> None:
    """Every route that a viewer may ask, with whatever it shows: hot rows, files, lines, rejects, figures, errors."""
    for query in asked(route):
        for method in (route.method, "HEAD"):
            target = f"{address_of(route, door.alert).partition('?')[0]}?{query}"
            async with door.client.request(method, target, headers=door.key(VIEWER)) as response:
                shown = await response.text() + repr(response.headers)
            assert response.status < 500
            left = [what for what, value in PLANTED.items() if value.lower() in shown.lower()]
            # The address itself names a user there; a refusal repeats it.
            assert [what for what in left if PLANTED[what] not in address_of(route, door.alert)] == []


async def test_the_planted_values_are_there_for_those_who_may_see_them(door: Door) -> None:
    """Otherwise the test above would show nothing."""
    found = ""
    for path in ("/events", "/logs?date=2026-06-01", "/rejects"):
        async with door.client.get(path, headers=door.key(AUDITOR)) as response:
            found += await response.text()
    assert [what for what, value in PLANTED.items() if value not in found] == []


@pytest.mark.parametrize(
    "query",
    [
        f"username={PLANTED['username']}",
        f"username=!{PLANTED['username']}",
        f"user_id={PLANTED['user id']}",
        f"ip={PLANTED['address']}",
        "ip=203.0.113.64/26",
        f"search_query={PLANTED['username']}",
        f"subject={PLANTED['username']}",
        f"q={PLANTED['username']}",
        f"q=NOT user.name:{PLANTED['username']}",
        "path=/users/7",
        "user_agent=x",
    ],
)
@pytest.mark.parametrize("path", ["/events", "/events/statistics", "/events/me"])
async def test_a_viewer_may_not_ask_by_what_it_sees_masked(door: Door, path: str, query: str) -> None:
    """One answer to "is it Quentin?" is worth as much as the name."""
    async with door.client.get(f"{path}?{query}", headers=door.key(VIEWER)) as response:
        body = await response.json(content_type=None)
    assert (response.status, body["type"]) == (403, "urn:watchkeep:problem:forbidden"), body
    assert "masked" in body["detail"]


async def test_a_viewer_may_follow_a_pseudonym(door: Door) -> None:
    """The one it was shown: the same person's events, and the same name in the figures."""
    async with door.client.get("/events?level=critical&limit=1", headers=door.key(VIEWER)) as response:
        shown = (await response.json())["data"][0]
    name, network = shown["user"]["username"], shown["request"]["ip"]
    assert network == "203.0.113.0/24"
    async with door.client.get(f"/events?username={name}&ip={network}", headers=door.key(VIEWER)) as response:
        body = await response.json()
    assert {row["eventId"] for row in body["data"]} == {"e-person", "e-hot"}
    async with door.client.get("/events/statistics?hours=8760", headers=door.key(VIEWER)) as response:
        assert (await response.json())["topUsers"][0]["username"] == name


async def test_answers_of_one_role_are_not_given_to_another(door: Door) -> None:
    """Neither from the cache of figures, nor by a validator or a cursor that another role was given."""
    body: dict[str, Any] = {}
    facets = "/events/facets?hours=8760&fields=username,ip"
    for path in (
        facets,
        "/events/statistics?hours=8760",
        "/logs?date=2026-06-01",
        "/rejects",
        "/events?limit=1",
    ):
        async with door.client.get(path, headers=door.key(AUDITOR)) as response:
            tag, body = response.headers["ETag"], await response.json()
        async with door.client.get(path, headers={**door.key(VIEWER), "If-None-Match": tag}) as response:
            assert response.status == 200
            assert PLANTED["username"] not in await response.text()
            assert "private" in response.headers["Cache-Control"]
    async with door.client.get(
        f"/events?limit=1&cursor={body['next']}", headers=door.key(VIEWER)
    ) as response:
        assert response.status == 422


@pytest.mark.parametrize("header", ["Bearer {}", "bearer  {} ", None])
async def test_a_key_is_sent_in_either_header(door: Door, header: str | None) -> None:
    """`Authorization: Bearer` in any case, or `X-API-Key`."""
    token = door.tokens[VIEWER]
    headers = {"X-API-Key": token} if header is None else {"Authorization": header.format(token)}
    async with door.client.get("/events", headers=headers) as response:
        assert response.status == 200


async def test_a_wrong_key_is_told_nothing(door: Door) -> None:
    """Unknown, malformed, another's secret, revoked and expired: one answer, whatever else would let the caller in."""
    token = door.tokens[ADMIN]
    _, expired = door.keyring.create("short", "admin", now_us=NOW_US - 10, expires_us=NOW_US)
    _, revoked = door.keyring.create("gone", "admin", now_us=NOW_US)
    door.keyring.revoke("gone", now_us=NOW_US)
    own, other = token.rpartition("_")[0], door.tokens[VIEWER].rpartition("_")[2]
    said = set()
    for wrong in ("", "x", "wk_aaaaaaaa_" + "a" * 52, f"{own}_{other}", token[:-1], revoked, expired):
        async with door.client.get("/events", headers={"Authorization": f"Bearer {wrong}"}) as response:
            body = await response.json(content_type=None)
        said.add((response.status, body["detail"], response.headers["WWW-Authenticate"]))
    assert said == {
        (
            401,
            "this key is not valid: unknown, expired or revoked",
            'Bearer realm="watchkeep", error="invalid_token"',
        )
    }


async def test_scopes_narrow_a_role(door: Door) -> None:
    """An auditor's key without the scope export reads everything and exports nothing."""
    _, token = door.keyring.create("reader", "auditor", now_us=NOW_US, scopes=())
    headers = {"X-API-Key": token}
    async with door.client.get("/events", headers=headers) as response:
        assert PLANTED["username"] in await response.text()
    async with door.client.get("/events/export", headers=headers) as response:
        assert response.status == 403
        assert "the scope export" in await response.text()


async def test_a_key_of_one_tenant_sees_nobody_else(tmp_path_factory: pytest.TempPathFactory) -> None:
    """On every route: its tenant's events, or a refusal where an answer could not be kept apart."""
    station = Station(tmp_path_factory.mktemp("tenants"))
    lines = [
        event(eventId=f"e-{who}", tenant=who, category=f"of-{who}", level="critical")
        for who in ("ours", "theirs")
    ]
    station.write(FILE, lines)
    station.archive.commit()
    keyring = Keyring()
    _, token = keyring.create("ours only", "admin", now_us=NOW_US, tenant="ours")
    # Every route is asked at once: more than a key may ask for in a second.
    options = WebOptions(static=station.logs / "no", access=AccessOptions(requests_per_second=0))
    async with served(station, options=options, keyring=keyring) as client:
        for route in ROUTES:
            if route.method != "GET" or route.role == NONE:
                continue
            path = address_of(route, "x").replace("e-person", "e-theirs")
            for query in asked(route):
                target = f"{path.partition('?')[0]}?{query}"
                async with client.get(target, headers={"X-API-Key": token}) as response:
                    body = await response.text()
                if not route.tenants:
                    assert (response.status, "all tenants" in body) == (403, True), route.name
                assert "theirs" not in body.replace(path, ""), route.name
        async with client.get("/events", headers={"X-API-Key": token}) as response:
            assert [row["eventId"] for row in (await response.json())["data"]] == ["e-ours"]
    station.close()


async def test_a_key_has_its_user(door: Door) -> None:
    """`/events/me` is that user's; a viewer may ask for itself, by its id, and for nobody else."""
    _, token = door.keyring.create("quentin", "viewer", now_us=NOW_US, user=PLANTED["user id"])
    headers = {"X-API-Key": token}
    async with door.client.get("/events/me", headers=headers) as response:
        assert {row["eventId"] for row in (await response.json())["items"]} == {"e-person", "e-hot"}
    async with door.client.get("/events/stats?days=365", headers=headers) as response:
        assert (await response.json())["total_events"] == 2
    async with door.client.get("/events/me?user_id=8", headers=headers) as response:
        assert response.status == 403


async def test_the_trail_names_keys_and_never_holds_one(door: Door) -> None:
    """Refusals and reads with the key's name and id; no event has a token, whatever was sent where."""
    key, token = door.keyring.create("the clumsy", "auditor", now_us=NOW_US)
    for place in (f"/events?q={token}", f"/events/{token}", f"/events?limit=4&path={token.upper()}"):
        headers = {"X-API-Key": token, "User-Agent": f"curl {token}"}
        async with door.client.get(place, headers=headers) as response:
            assert response.status in {200, 404}
    async with door.client.get("/events?limit=3", headers={"X-API-Key": token}) as response:
        assert response.status == 200
    async with door.client.get(f"/events?api_key={token}", headers={"X-API-Key": token}) as response:
        assert response.status == 422
    async with door.client.delete("/events/cleanup", headers={"X-API-Key": token}) as response:
        assert response.status == 403
    said = json.dumps(door.station.audited)
    assert '"the clumsy"' in said
    assert all(secret.rpartition("_")[2] not in said.lower() for secret in (token, *door.tokens.values()))
    denied = [entry for entry in door.station.audited if entry["outcome"] == "denied"]
    assert denied[-1]["user"] == {"id": f"key:{key.id}", "username": "the clumsy"}
    assert denied[-1]["extra"]["role"] == "auditor"


async def test_reading_under_another_method_needs_the_role_as_well(door: Door) -> None:
    """HEAD is GET; OPTIONS is not answered, because no other origin may ask."""
    async with door.client.head("/events") as response:
        assert response.status == 401
    async with door.client.head("/events", headers=door.key(VIEWER)) as response:
        assert (response.status, await response.read()) == (200, b"")
    async with door.client.options("/events", headers=door.key(VIEWER)) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_readiness_tells_strangers_only_whether(door: Door) -> None:
    """What is wrong names files; a probe needs the status alone."""
    door.station.degraded = lambda: [{"code": "unreadable", "detail": "/srv/logs/a.log"}]  # type: ignore[method-assign]
    for role, seen in ((None, []), (VIEWER, ["unreadable"])):
        async with door.client.get("/health/ready", headers=door.key(role)) as response:
            body: dict[str, Any] = await response.json()
        assert (response.status, [found["code"] for found in body["degraded"]]) == (200, seen)
    del door.station.degraded
