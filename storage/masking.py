"""What a viewer sees in place of personal values: pseudonyms, networks, or nothing. The one place where that is decided.

Each column has a treatment (`storage.treatments`). Free text and JSON are treated by what is in them: the event's own
personal values wherever they occur again, names of persons that other events gave, members whose key means a person
or a secret, mail and network addresses. A name that stands in a sentence and in no field of any event cannot be
recognised: docs/access.md says so, and ``hide_text`` is for where that is too little.

A pseudonym (`storage.pseudonyms`) is a keyed hash (HMAC-SHA256 with a secret of this node's).

Rows are masked after they were rendered, so the caches hold one text for everybody. A query that asks about a masked
value would tell what the mask hides: `storage.treatments.check` refuses it, in `storage.scope.view`, where every
query passes.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from parsers.columns import BY_NAME
from parsers.names import NAMES
from storage.correlating import ALERT_ENTITY
from storage.filters import FIELDS, Term
from storage.pseudonyms import IPV4_PREFIX, IPV6_PREFIX, PSEUDONYM, Own, Pseudonyms, network
from storage.query import Filter, Scope
from storage.subjects import PERSON_KEYS, PERSON_TYPES
from storage.treatments import HIDDEN, TREATMENTS, MaskOptions, Treatment, hidden_from

REMEMBERED_PATHS, LONGEST_PATH = (
    10_000,
    200,
)  # an application has some dozens; keys may be values, without end
MAX_DEPTH = 64

_WORD = re.compile(r"[\s_.-]+|(?<=[a-z0-9])(?=[A-Z])")
_ADDRESS_KEY = re.compile(
    r"(?i:(?:[a-z0-9]+[_.-])*(?:ip|ips|ip[_-]?addr(?:ess)?|remote[_-]?addr(?:ess)?|client[_-]?ip|forwarded[_-]for|real[_-]ip))"
)
_PERSON_KEY = re.compile(
    f"(?i:{'|'.join(f'(?:{key})' for key in PERSON_KEYS)}|user[_-]?name|actor|user|login)"
)
_AGENT_KEY = re.compile(r"(?i:user[_-]?agent|cookies?|headers?|request[_-]?headers)")
_SESSION_KEY = re.compile(r"(?i:(?:[a-z0-9]+[_-])*session[_-]?id|session)")


class Mask:
    """Masks for one node. Thread-safe: what it remembers may be lost, never wrong."""

    def __init__(self, options: MaskOptions | None = None, secret: Callable[[], bytes] | None = None) -> None:
        chosen = options or MaskOptions()
        unknown = [name for name in chosen.columns if name not in TREATMENTS]
        if unknown:
            raise ValueError(f"nothing is known about masking {unknown[0]!r}")
        own = secrets.token_bytes(32)
        self._pseudonyms = Pseudonyms(secret or (lambda: own))
        self._treated: dict[str, Treatment] = {
            name: TREATMENTS[name] for name in TREATMENTS if name in chosen.columns
        }
        spelled = ("[_-]?".join(map(re.escape, _WORD.split(key.lower()))) for key in chosen.keys)
        self._hidden = re.compile(f"(?i:(?:.*[^a-z0-9])?(?:{'|'.join(spelled) or '(?!)'}))")
        self._hide_text = chosen.hide_text
        self._paths: dict[str, Treatment | None] = {}

    # What queries ask

    def resolved(self, wanted: Filter, scope: Scope) -> tuple[Filter, Scope]:
        """Return a filter whose pseudonyms are the values they stand for, and a scope that may ask for those.

        Networks may be asked for if they are no narrower than what is shown.
        """
        if not hidden_from(scope):
            return wanted, scope
        terms: list[Term] = []
        granted = list(scope.granted)
        for term in wanted.terms:
            found = self._meant(term)
            terms.append(found or term)
            if found is not None:
                granted.append(found)
        return replace(wanted, terms=tuple(terms)), replace(scope, granted=tuple(granted))

    def _meant(self, term: Term) -> Term | None:
        treatment = self._treated.get(FIELDS[term.field].column.removesuffix("_bytes"))
        if treatment == "network":
            network = ipaddress.ip_network(term.value, strict=False)
            widest = IPV4_PREFIX if network.version == 4 else IPV6_PREFIX
            return term if network.prefixlen <= widest else None
        if treatment in {"person", "session", "text"} and PSEUDONYM.fullmatch(term.value):
            value = self._pseudonyms.value_of(term.value)
            return None if value is None else Term(term.field, value, term.exclude)
        return None

    # What answers show

    def rows(self, texts: Sequence[str]) -> list[str]:
        """Return the JSON texts of Events, masked."""
        events = [orjson.loads(text) for text in texts]
        for event in events:  # first, so that a name in one event is known in the sentences of another
            self._own(_flat(event))
        return [orjson.dumps(self.event(event)).decode() for event in events]

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return an Event as the API has it, masked."""
        found = _flat(event)
        own = self._own(found)
        kept = dict(event)
        for column, treatment in self._treated.items():
            place = BY_NAME[column].api
            if found.get(column) is not None:
                _put(kept, place, self._treat(column, treatment, found[column], found, own))
        if (
            event.get("internal")
            and "metadata" in self._treated
            and isinstance(kept.get("metadata"), Mapping)
        ):
            # What others asked for names people as often as not.
            kept["metadata"] = {
                key: HIDDEN if key == "query" else value for key, value in kept["metadata"].items()
            }
        if event.get("internal") and found.get("entity_type") == ALERT_ENTITY and self._treated:
            # It says of whom: by values of other events, which nobody could find in this one.
            kept["description"] = found.get("entity_name")
            kept["metadata"] = self._of_alert(event.get("metadata"))
        return kept

    def _of_alert(self, metadata: Any) -> dict[str, Any]:
        """Return what the event of an alert's change says of it, without whom it is about."""
        told = metadata if isinstance(metadata, Mapping) else {}
        alert = told["alert"] if isinstance(told.get("alert"), Mapping) else {}
        comment = self.text(str(alert.get("comment") or ""))
        return {"change": told.get("change"), "alert": {"count": alert.get("count"), "comment": comment}}

    def value(self, column: str, value: str | None, *, entity_type: str | None = None) -> str | None:
        """Return one value of a column, as figures and lists of values show it."""
        treatment = self._treated.get(column)
        if treatment is None or value is None:
            return value
        result = self._treat(column, treatment, value, {"entity_type": entity_type}, Own())
        return result if result is None or isinstance(result, str) else HIDDEN

    def figures(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of statistics, masked; addresses of one network become one entry."""
        kept = dict(answer)
        if "topUsers" in kept:
            kept["topUsers"] = [
                user
                | {
                    "username": self.value("username", user["username"]),
                    "userId": self.value("user_id", user["userId"]),
                }
                for user in kept["topUsers"]
            ]
        if "topIps" in kept:
            sums: dict[str, int] = {}
            for entry in kept["topIps"]:
                network = self.value("ip", entry["ip"]) or HIDDEN
                sums[network] = sums.get(network, 0) + entry["eventCount"]
            ranked = sorted(sums.items(), key=lambda item: -item[1])
            kept["topIps"] = [{"ip": network, "eventCount": events} for network, events in ranked]
        if "riskyUsers" in kept:
            kept["riskyUsers"] = [
                user
                | {
                    "username": self.value("username", user["username"]),
                    "userId": self.value("user_id", user["userId"]),
                }
                for user in kept["riskyUsers"]
            ]
        if "riskyAddresses" in kept:
            networks: dict[str, dict[str, Any]] = {}
            for entry in kept["riskyAddresses"]:  # the riskiest first, and it stands for its network
                network = self.value("ip", entry["ip"]) or HIDDEN
                networks.setdefault(network, entry | {"ip": network})
            kept["riskyAddresses"] = list(networks.values())
        if "topEntities" in kept:
            kept["topEntities"] = [
                entry | {"id": self.value("entity_id", entry["id"], entity_type=entry["type"])}
                for entry in kept["topEntities"]
            ]
        if "criticalEvents" in kept:
            kept["criticalEvents"] = [self.event(event) for event in kept["criticalEvents"]]
        return kept

    def line(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a line says, by whatever names it uses, masked: for lines that are no events yet."""
        own = Own()
        self._collect(fields, own, "", 0)
        if self._hide_text:
            return dict(self._outline(fields, ""))
        masked_: Any = self._walk(fields, own, "", 0)
        return dict(masked_)

    def _outline(self, value: Any, path: str) -> Any:
        """Return a line with nothing in it but what has a column and is no text."""
        if isinstance(value, Mapping):
            return {
                str(key): self._outline(inner, f"{path}.{key}" if path else str(key))
                for key, inner in value.items()
            }
        if value is None or isinstance(value, bool):
            return value
        treatment = self._treatment_of(path)
        if treatment is not None:
            return self._simple(treatment, str(value))
        column = NAMES.get(path, ("", 0))[0]
        return value if column and column not in self._treated and not isinstance(value, list) else HIDDEN

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are masked."""
        return tuple(self._treated)

    def _collect(self, value: Any, own: Own, path: str, depth: int) -> None:
        """Find the personal values of a line, so that they can be replaced wherever they occur again."""
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            persons = _persons(value)
            for key, inner in value.items():
                if key in persons and isinstance(inner, str | int):
                    own.note(str(inner), self._pseudonyms.of("person", str(inner)))
                self._collect(inner, own, f"{path}.{key}" if path else str(key), depth + 1)
        elif isinstance(value, list) and depth < MAX_DEPTH:
            for item in value:
                self._collect(item, own, path, depth + 1)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            treatment = self._treatment_of(path)
            if treatment in {"person", "session"}:
                own.note(str(value), self._simple(treatment, str(value)))

    def text(self, text: str) -> str:
        """Return free text with known persons, mail and network addresses replaced."""
        return self._pseudonyms.text(text)

    # How each kind of value is treated

    def _own(self, found: Mapping[str, Any]) -> Own:
        """Return the personal values of an event with what stands for each, the longest first."""
        own = Own()
        for column, treatment in self._treated.items():
            value = found.get(column)
            if value is not None and treatment in {"person", "session"}:
                own.note(str(value), self._simple(treatment, str(value)))
        if _is_person(found.get("entity_type")):
            for column in ("entity_id", "entity_name"):
                value = found.get(column)
                if value is not None and column in self._treated:
                    own.note(str(value), self._pseudonyms.of("person", str(value)))
        return own

    def _simple(self, treatment: Treatment, value: str) -> str:
        match treatment:
            case "person" | "session":
                return self._pseudonyms.of(treatment, value)
            case "network":
                return network(value, otherwise=HIDDEN)
            case _:
                return HIDDEN

    def _treat(
        self, column: str, treatment: Treatment, value: Any, found: Mapping[str, Any], own: Own
    ) -> Any:
        match treatment:
            case "person" | "session" | "network":
                return self._simple(treatment, str(value))
            case "hidden":
                return HIDDEN if BY_NAME[column].sql == "VARCHAR" and not BY_NAME[column].json else None
            case "json" if self._hide_text:
                return [entry | {"detail": HIDDEN} for entry in value] if column == "risk_reasons" else {}
            case "json":
                return self._walk(value, own, "", 0)
            case "text" if self._hide_text:
                return [] if isinstance(value, list) else HIDDEN
            case "text":
                if column.startswith("entity_") and _is_person(found.get("entity_type")):
                    return self._pseudonyms.of("person", str(value))
                if isinstance(value, list):
                    return [self._pseudonyms.text(str(item), own) for item in value]
                return (
                    self._pseudonyms.path(str(value), own)
                    if str(value).startswith("/")
                    else self._pseudonyms.text(str(value), own)
                )

    def _walk(self, value: Any, own: Own, path: str, depth: int) -> Any:
        """Return JSON with its personal members replaced. What lies too deep is hidden whole."""
        if depth > MAX_DEPTH:
            return HIDDEN
        if isinstance(value, Mapping):
            persons = _persons(value)
            return {
                self._pseudonyms.text(str(key), own): self._scalars(inner, "person", own, str(key), depth)
                if key in persons
                else self._member(f"{path}.{key}" if path else str(key), inner, own, depth)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._walk(item, own, path, depth + 1) for item in value]
        if isinstance(value, str):
            return self._pseudonyms.text(value, own)
        if isinstance(value, int) and not isinstance(value, bool) and str(value) in own.values:
            return own.values[str(value)]
        return value

    def _member(self, path: str, value: Any, own: Own, depth: int) -> Any:
        treatment = self._treatment_of(path)
        if isinstance(value, str) and value.startswith("/"):
            return self._pseudonyms.path(value, own)
        if treatment in {"person", "session", "network", "hidden"}:
            return self._scalars(value, treatment, own, path, depth)
        return self._walk(value, own, path, depth + 1)

    def _scalars(self, value: Any, treatment: Treatment, own: Own, path: str, depth: int) -> Any:
        """Return a member that means a person: its texts and numbers replaced, also in a list or as old and new."""
        if value is None or isinstance(value, bool):
            return value
        if treatment == "hidden" or depth > MAX_DEPTH:
            return HIDDEN
        if isinstance(value, Mapping):
            return {
                self._pseudonyms.text(str(key), own): (
                    self._member(f"{path}.{key}", inner, own, depth + 1)
                    if self._treatment_of(f"{path}.{key}") is not None
                    else self._scalars(inner, treatment, own, f"{path}.{key}", depth + 1)
                    if str(key).lower() in _CHANGE_KEYS
                    else self._walk(inner, own, f"{path}.{key}", depth + 1)
                )
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._scalars(item, treatment, own, path, depth + 1) for item in value]
        return self._simple(treatment, str(value))

    def _treatment_of(self, path: str) -> Treatment | None:
        """Return how a member is treated, by its dotted path: as the column it would be, or by what its key means."""
        if path in self._paths:
            return self._paths[path]
        found = self._judged(path)
        if len(self._paths) < REMEMBERED_PATHS and len(path) <= LONGEST_PATH:
            self._paths[path] = found
        return found

    def _judged(self, path: str) -> Treatment | None:
        column = NAMES.get(path, ("", 0))[0]
        if column in self._treated and self._treated[column] not in {"text", "json"}:
            return self._treated[column]
        key = path.rpartition(".")[2]
        parent = path.rpartition(".")[0].rpartition(".")[2]
        if self._hidden.fullmatch(_WORD.sub("_", key)) or _AGENT_KEY.fullmatch(key):
            return "hidden"
        if _ADDRESS_KEY.fullmatch(key):
            return "network"
        if _SESSION_KEY.fullmatch(key):
            return "session"
        if _PERSON_KEY.fullmatch(key) or (key.lower() in _OF_PERSON and _PERSON_KEY.fullmatch(parent)):
            return "person"
        return None


_CHANGE_KEYS = frozenset({"old", "new", "from", "to", "before", "after", "value"})
_OF_PERSON = frozenset({"id", "name", "username", "email", "login", "mail", "uuid"})


def _persons(value: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of an object that name a person because another key says that it is one."""
    kinds = (value.get(key) for key in ("type", "entity_type", "entity.type"))
    return _OF_ENTITY if any(_is_person(kind) for kind in kinds) else frozenset()


_OF_ENTITY = frozenset({"id", "name", "entity_id", "entity_name", "entity.id", "entity.name"})


def _is_person(entity_type: Any) -> bool:
    return isinstance(entity_type, str) and entity_type.lower() in PERSON_TYPES


def _flat(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an Event's values by column."""
    found: dict[str, Any] = {}
    for column in (*TREATMENTS, "entity_type"):
        value: Any = event
        for part in BY_NAME[column].api.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        found[column] = value
    return found


def _put(event: dict[str, Any], place: str, value: Any) -> None:
    """Set a value in an Event, copying the objects on the way so that the original stays."""
    *parents, last = place.split(".")
    node = event
    for parent in parents:
        inner = node.get(parent)
        node[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        node = node[parent]
    node[last] = value
