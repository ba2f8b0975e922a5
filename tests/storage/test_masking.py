"""What viewers see in place of personal values, and what they may not ask."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.columns import BY_NAME
from storage.errors import MaskedError
from storage.filters import FIELDS
from storage.masking import Mask
from storage.pseudonyms import PSEUDONYM
from storage.query import Filter, Scope
from storage.treatments import TREATMENTS, MaskOptions, check

VIEWER = Scope(role="viewer")
# Values that no pseudonym, network or key of the event contains by chance, and that words can stand around.
names = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=8, max_size=12).map(lambda text: f"Zz{text}")
octets = st.integers(1, 254)


@st.composite
def persons(draw: st.DrawFn) -> dict[str, str]:
    """Return one value for every place where a person can stand."""
    kinds = ("id", "name", "session", "behalf", "agent", "header", "mail", "target", "phone")
    found = dict(zip(kinds, draw(st.lists(names, min_size=9, max_size=9, unique=True)), strict=True))
    found["mail"] = f"{found['mail'].lower()}@example.org"
    found["ip"] = f"{draw(octets)}.{draw(octets)}.{draw(octets)}.2{draw(st.integers(10, 49))}"
    return found


def event_of(who: dict[str, str], entity_type: str = "user") -> dict[str, Any]:
    """Return an Event with a person's values everywhere that an application may write them."""
    said = f"{who['name']} ({who['id']}, {who['mail']}) came from {who['ip']}:443, for {who['behalf']}"
    return {
        "eventId": "e-1",
        "sessionId": who["session"],
        "onBehalfOf": who["behalf"],
        "user": {"id": who["id"], "username": who["name"]},
        "entity": {"type": entity_type, "id": who["target"], "name": who["target"]},
        "request": {
            "path": f"/users/{who['id']}/mail/{who['mail']}",
            "ip": who["ip"],
            "userAgent": who["agent"],
            "headers": {"X-Who": who["header"]},
        },
        "description": said,
        "tags": [f"user:{who['name']}", who["ip"]],
        "changes": {"email": {"old": who["mail"], "new": who["mail"]}, "owner": [who["target"]]},
        "metadata": {
            "targetUser": {"id": who["target"], "name": who["target"]},
            "phone": who["phone"],
            "homePhone": {"number": who["phone"]},
            "deep": [{"note": said, who["name"]: 1, "client_ip": who["ip"]}],
        },
        "extra": {
            "remote_addr": who["ip"],
            "login": who["name"],
            "about": {"type": "user", "id": who["target"]},
        },
        "riskReasons": [{"reason": "new_address", "points": 5, "detail": f"from {who['ip']}"}],
    }


@given(persons())
def test_no_value_of_a_person_is_left_in_an_event(who: dict[str, str]) -> None:
    """Wherever it stands: in its own field, in text, in a path, in a tag, as a key or a value of JSON."""
    shown = json.dumps(Mask().event(event_of(who)))
    assert [kind for kind, value in who.items() if value.lower() in shown.lower()] == []


@given(persons())
def test_no_value_of_a_person_is_left_in_a_line(who: dict[str, str]) -> None:
    """The same for a line that is no event yet, by whatever names it uses."""
    line = event_of(who) | {"user_name": who["name"], "client.ip": who["ip"], "userAgent": who["agent"]}
    shown = json.dumps(Mask().line(line))
    assert [kind for kind, value in who.items() if value.lower() in shown.lower()] == []


@given(persons())
def test_the_same_person_has_the_same_pseudonym_everywhere(who: dict[str, str]) -> None:
    """So that a viewer can follow somebody without knowing who it is, until the secret changes."""
    mask = Mask(secret=lambda: b"one")
    shown = mask.event(event_of(who))
    assert PSEUDONYM.fullmatch(shown["user"]["username"])
    assert shown["user"]["username"] in shown["description"]
    assert shown["extra"]["login"] == shown["user"]["username"] == mask.value("username", who["name"])
    assert Mask(secret=lambda: b"two").value("username", who["name"]) != shown["user"]["username"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/users/42/orders/7", "/api/users/{}/orders/7"),
        ("/accounts/ann.lee@example.org", "/accounts/{}"),
        ("/People/8f14e45f-ceea/photo?size=2", "/People/{}/photo?size=2"),
        ("/user/alice", "/user/{}"),
        ("/users/search", "/users/search"),
        ("/api/orders/7", "/api/orders/7"),
    ],
)
def test_whoever_stands_behind_a_folder_of_persons_is_masked(path: str, shown: str) -> None:
    """Applications put ids into paths, and nothing else in the event may say whose they are."""
    found = Mask().event({"request": {"path": path}, "user": None})["request"]["path"]
    assert re.fullmatch(re.escape(shown).replace(r"\{\}", "person-[a-z2-7]{10}"), found), found


def test_a_number_is_a_person_in_paths_once_it_was_one() -> None:
    """And in no other text: 42 orders are no user 42."""
    mask = Mask()
    later = json.dumps({"request": {"path": "/staff/42/x"}, "user": None, "description": "42 orders"})
    first = json.dumps({"request": {"path": "/x"}, "user": {"id": 42, "username": None}})
    shown = json.loads(mask.rows([later, first])[0])
    assert re.fullmatch(r"/staff/person-\w+/x", shown["request"]["path"])
    assert shown["description"] == "42 orders"


def test_what_others_asked_is_not_shown_to_viewers() -> None:
    """The trail of readers holds their filters, and those name people."""
    event = {"internal": True, "metadata": {"view": "events", "query": "username=somebody"}}
    assert Mask().event(event)["metadata"] == {"view": "events", "query": "[masked]"}
    assert Mask().event(event | {"internal": False})["metadata"]["query"] == "username=somebody"


def test_what_is_no_person_stays() -> None:
    """Words, numbers and things of an application are what viewers are there for."""
    event = {
        "level": "error",
        "entity": {"type": "order", "id": "17", "name": "Lamp"},
        "request": {"path": "/api/orders/17", "ip": None, "statusCode": 500},
        "description": "Order 17 failed at 12:30:00 with 3.14.15 and a:b",
        "metadata": {
            "browser": "firefox",
            "big": 12345678901234567890,
            "ok": True,
            "none": None,
            "rate": 0.5,
        },
        "tags": ["method:get"],
        "user": None,
    }
    assert Mask().event(event) == event


def test_the_original_is_not_touched() -> None:
    """Caches hold it for those who may see it."""
    event = event_of(
        dict.fromkeys(
            ("id", "name", "session", "behalf", "agent", "header", "mail", "target", "phone"), "Zzz"
        )
        | {"ip": "10.1.2.3"}
    )
    before = json.dumps(event)
    Mask().event(event)
    assert json.dumps(event) == before


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:10.1.2.3", "10.1.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("a proxy", "[masked]"),
    ],
)
def test_an_address_becomes_its_network(address: str, network: str) -> None:
    """In its field and in a sentence alike; what is no address is hidden."""
    mask = Mask()
    assert mask.value("ip", address) == network
    if network != "[masked]" and "%" not in address:
        assert mask.text(f"from {address}, twice: [{address}]") == f"from {network}, twice: [{network}]"


def test_every_filter_on_a_masked_column_is_refused() -> None:
    """Whoever could ask by a value could find out whom a pseudonym hides. Free text is such a question too."""
    for name, field in FIELDS.items():
        value = {"level": "info", "risk": "low", "status_code": "200", "ip": "10.1.2.3"}.get(name, "x")
        wanted = Filter.of({name: [value]})
        if field.column.removesuffix("_bytes") in TREATMENTS:
            with pytest.raises(MaskedError, match=name):
                check(wanted, VIEWER)
        else:
            check(wanted, VIEWER)
        check(wanted, Scope(role="auditor"))
    for wanted in (Filter(search="alice"), Filter(subject="alice")):
        with pytest.raises(MaskedError):
            check(wanted, VIEWER)
    for q in (
        "alice",
        'description:"alice"',
        "user.name:al*",
        "level:info OR user.id:7",
        "NOT metadata.login:alice",
        "anywhere:alice",
        "ip:10.1.2.3",
        "request.headers.x:*",
        "risk.reason:x",
    ):
        with pytest.raises(MaskedError):
            check(*Mask().resolved(Filter.of(q=q), VIEWER))
    check(Filter(min_risk=70, start_us=1), VIEWER)
    check(Filter.of(q="(level:error OR status:>=500) NOT category:api duration:>10 trace:abc"), VIEWER)


@pytest.mark.parametrize("role", ["none", "viewer", "", "root"])
def test_a_role_that_nobody_knows_sees_nothing_unmasked(role: str) -> None:
    """A mistake in a role must not open anything."""
    with pytest.raises(MaskedError):
        check(Filter.of({"username": ["alice"]}), Scope(role=role))


def test_a_viewer_may_ask_for_what_it_was_shown() -> None:
    """A pseudonym, also excluded; a network as wide as those shown; nothing that was never shown."""
    mask = Mask()
    shown = mask.value("username", "alice")
    asked = Filter.of({"username": [f"!{shown}"], "ip": ["10.1.2.0/24"], "level": ["info"]})
    wanted, scope = mask.resolved(asked, VIEWER)
    check(wanted, scope)
    assert {(t.field, t.value, t.exclude) for t in wanted.terms} == {
        ("username", "alice", True),
        ("ip", "10.1.2.0/24", False),
        ("level", "info", False),
    }
    for values in ({"username": ["person-aaaaaaaaaa"]}, {"ip": ["10.1.2.0/25"]}, {"username": ["alice"]}):
        with pytest.raises(MaskedError):
            check(*mask.resolved(Filter.of(values), VIEWER))


def test_columns_can_be_left_out_of_the_mask() -> None:
    """An installation whose viewers may know users masks the rest."""
    mask = Mask(MaskOptions(columns=("ip",)))
    shown = mask.event(
        event_of(
            {k: k for k in ("id", "name", "session", "behalf", "agent", "header", "mail", "target", "phone")}
            | {"ip": "10.1.2.3"}
        )
    )
    assert (shown["user"]["username"], shown["request"]["ip"]) == ("name", "10.1.2.0/24")
    check(Filter.of({"username": ["name"]}), Scope(role="viewer", masked=mask.columns))
    with pytest.raises(MaskedError):
        check(Filter.of({"ip": ["10.1.2.3"]}), Scope(role="viewer", masked=mask.columns))


def test_addresses_of_one_network_are_one_entry_of_the_figures() -> None:
    """Otherwise their number would tell that there are several."""
    tops = [
        {"ip": "10.1.2.3", "eventCount": 2},
        {"ip": "10.1.3.1", "eventCount": 3},
        {"ip": "10.1.2.9", "eventCount": 2},
    ]
    assert Mask().figures({"topIps": tops})["topIps"] == [
        {"ip": "10.1.2.0/24", "eventCount": 4},
        {"ip": "10.1.3.0/24", "eventCount": 3},
    ]


def test_every_masked_column_is_shown_by_the_api() -> None:
    """What is not shown needs no mask, and a mask for it would be one that nobody tries."""
    assert all(BY_NAME[column].api for column in TREATMENTS)


@given(persons())
def test_a_name_is_known_in_the_sentences_of_other_events(who: dict[str, str]) -> None:
    """Of the same page, whatever the order, and of later ones."""
    mask = Mask()
    about = {
        "description": f"{who['name']}'s order, see {who['name'].lower()}.",
        "user": None,
        "tags": [who["name"]],
    }
    for shown in (
        mask.rows([json.dumps(about), json.dumps(event_of(who))])[0],
        mask.rows([json.dumps(about)])[0],
    ):
        assert who["name"].lower() not in shown.lower()


@given(persons())
def test_text_can_be_hidden_whole(who: dict[str, str]) -> None:
    """What nobody can recognise is then not shown either; words and numbers that have a column stay."""
    mask = Mask(MaskOptions(hide_text=True))
    event = event_of(who) | {"level": "error", "description": "Mrs. Unheard of called"}
    event["metadata"]["note"] = "Mrs. Unheard"
    event["riskReasons"][0]["detail"] = "Unheard"
    for shown in (mask.event(event), mask.line(event)):
        text = json.dumps(shown)
        assert "Unheard" not in text
        assert [kind for kind, value in who.items() if value.lower() in text.lower()] == []
        assert shown["level"] == "error"
        assert shown["entity"]["type"] == "user"
