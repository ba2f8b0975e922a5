"""What a viewer sees in place of personal values: pseudonyms, networks, or nothing. The one place where that is decided.

Each column has a treatment (`TREATMENTS`). Free text and JSON are treated by what is in them: the event's own personal
values wherever they occur again, names of persons that other events gave, members whose key means a person or a secret,
mail and network addresses. A name that stands in a sentence and in no field of any event cannot be recognised:
docs/access.md says so, and ``hide_text`` is for where that is too little.

A pseudonym is a keyed hash (HMAC-SHA256 with a secret of this node's): the same person has the same one everywhere,
so that viewers can follow and count, and nobody can try out names without the secret.

Rows are masked after they were rendered, so the caches hold one text for everybody. A query that asks about a masked
value would tell what the mask hides: `check` refuses it, in `storage.scope.view`, where every query passes.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import unquote

import orjson

from parsers import fields
from parsers.columns import BY_NAME
from parsers.names import NAMES
from storage.errors import MaskedError
from storage.filters import FIELDS, Term
from storage.query import Filter, Scope
from storage.roles import masked
from storage.subjects import PERSON_KEYS, PERSON_TYPES

Treatment = Literal["person", "session", "network", "hidden", "text", "json"]

MEANING: dict[Treatment, str] = {
    "person": "a pseudonym such as `person-k3j9x2ab4c`, the same wherever the value occurs",
    "session": "a pseudonym such as `session-k3j9x2ab4c`",
    "network": "its network: /24 for IPv4, /48 for IPv6",
    "hidden": "nothing, or `[masked]`",
    "text": "the event's own personal values, names that other events gave, mail and network addresses are replaced inside it",
    "json": "as text; members whose key means a person or is listed in `[web] masked_keys` are replaced",
}

TREATMENTS: dict[str, Treatment] = {
    "user_id": "person",
    "username": "person",
    "on_behalf_of": "person",
    "session_id": "session",
    "ip": "network",
    "user_agent": "hidden",
    "request_headers": "hidden",
    "latitude": "hidden",
    "longitude": "hidden",
    "entity_id": "text",  # a pseudonym where the entity is a person
    "entity_name": "text",
    "path": "text",
    "description": "text",
    "tags": "text",
    "metadata": "json",
    "changes": "json",
    "response": "json",
    "extra": "json",
    "risk_reasons": "json",
}
"""The columns that hold, or may hold, something about a person."""

DEFAULT_KEYS = (
    *("first_name", "last_name", "full_name", "display_name", "given_name", "family_name", "surname"),
    *("phone", "mobile", "fax", "street", "postal_address", "home_address", "zip", "postcode", "birthday"),
    *("birth_date", "date_of_birth", "dob", "iban", "ssn", "passport", "tax_id", "avatar", "avatar_url"),
)
"""Keys in JSON whose value is hidden, in any case, also as the end of a longer key; besides those that mean a person."""

HIDDEN = "[masked]"
PSEUDONYM = re.compile(r"(?:person|session)-[a-z2-7]{10}")
PSEUDONYM_CHARS = 10  # 50 bits: among a million persons two share one with a chance of 1 in 2,000
IPV4_PREFIX, IPV6_PREFIX = 24, 48
SHORTEST_TOKEN = 3  # characters: shorter values of an event are replaced in paths only, not in every sentence
REMEMBERED = 100_000  # pseudonyms whose value is known, so that viewers can ask for what they were shown
REMEMBERED_PATHS, LONGEST_PATH = (
    10_000,
    200,
)  # an application has some dozens; keys may be values, without end
MAX_DEPTH = 64

_MAIL = re.compile(r"[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
# Both in one pass: a network that stands for an address must not be taken for one.
_ADDRESS = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:)[0-9A-Fa-f:.]{2,45}(?![\w:])"
    r"|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"
)
_DIGIT = re.compile("[0-9]|::")  # no address is without
_OF_FOLDER = re.compile(rf"(?i)(/(?:people|{'|'.join(f'{kind}s?' for kind in PERSON_TYPES)})/)([^/?#]+)")
# What stands behind such a folder and is no person.
_NOBODY_PATHS = frozenset(
    (
        *(
            "me",
            "self",
            "current",
            "new",
            "all",
            "list",
            "search",
            "find",
            "count",
            "stats",
            "export",
            "import",
        ),
        *(
            "login",
            "logout",
            "register",
            "signup",
            "verify",
            "invite",
            "password",
            "settings",
            "roles",
            "bulk",
        ),
    )
)
_TOKEN = re.compile(r"[^\W_](?:[\w.@+-]*[^\W_])?")  # a word with what names are joined by
_PART = re.compile(r"[^\W_]+")
_WORD = re.compile(r"[\s_.-]+|(?<=[a-z0-9])(?=[A-Z])")
_ADDRESS_KEY = re.compile(
    r"(?i:(?:[a-z0-9]+[_.-])*(?:ip|ips|ip[_-]?addr(?:ess)?|remote[_-]?addr(?:ess)?|client[_-]?ip|forwarded[_-]for|real[_-]ip))"
)
_PERSON_KEY = re.compile(
    f"(?i:{'|'.join(f'(?:{key})' for key in PERSON_KEYS)}|user[_-]?name|actor|user|login)"
)
_AGENT_KEY = re.compile(r"(?i:user[_-]?agent|cookies?|headers?|request[_-]?headers)")
_SESSION_KEY = re.compile(r"(?i:(?:[a-z0-9]+[_-])*session[_-]?id|session)")


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Which columns are masked (names of `TREATMENTS`), and the further keys of JSON whose values are hidden.

    ``hide_text``: free text and the application's own JSON are not shown at all, instead of with replacements.
    """

    columns: tuple[str, ...] = tuple(TREATMENTS)
    keys: tuple[str, ...] = DEFAULT_KEYS
    hide_text: bool = False


def hidden_from(scope: Scope) -> tuple[str, ...]:
    """Return the columns that a scope sees masked."""
    if not masked(scope.role):
        return ()
    return tuple(TREATMENTS) if scope.masked is None else scope.masked


def check(wanted: Filter, scope: Scope) -> None:
    """Raise MaskedError if a filter looks at what its scope sees masked, but for the terms that the scope grants."""
    hidden = hidden_from(scope)
    if not hidden:
        return
    asked = {term.field for term in wanted.terms if term not in scope.granted}
    asked |= replace(wanted, terms=()).names
    refused = sorted(name for name in asked if name not in _ALWAYS_OPEN and not _is_open(name, hidden))
    if refused:
        raise MaskedError(
            f"the role {scope.role} may not ask by {', '.join(refused)}: their values are masked",
            where=", ".join(refused),
            hint="ask by a pseudonym that an answer shows, or a network of /24 or /48; the role auditor may ask by any value",
        )


def _is_open(name: str, hidden: tuple[str, ...]) -> bool:
    """Say whether a filter looks at nothing masked. One that is not in the table may look at anything."""
    return name in _COLUMNS and _COLUMNS[name] not in hidden


# The column that each filter looks at, by the name that `storage.query.Filter.names` gives it.
_COLUMNS = {field.key: field.column.removesuffix("_bytes") for field in fields.FIELDS if field.column}
_ALWAYS_OPEN = frozenset({"risk_score"})


class _Own:
    """The personal values of one event, and what stands for each wherever it occurs again."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._compiled: dict[int, tuple[re.Pattern[str] | None, dict[str, str]]] = {}

    def note(self, value: str, replacement: str) -> None:
        """Add a value; the first replacement stays. All are added before the first text is looked at."""
        if value:
            self.values.setdefault(value, replacement)

    def replaced(self, text: str, *, shortest: int = SHORTEST_TOKEN) -> str:
        """Return a text in which whole occurrences of the values are replaced, in any case; the longest first."""
        if shortest not in self._compiled:
            self._compiled[shortest] = self._compile(shortest)
        whole, by_case = self._compiled[shortest]
        if whole is None:
            return text
        return whole.sub(lambda match: by_case.get(match[0].lower(), HIDDEN), text)

    def _compile(self, shortest: int) -> tuple[re.Pattern[str] | None, dict[str, str]]:
        found = sorted((value for value in self.values if len(value) >= shortest), key=len, reverse=True)
        if not found:
            return None, {}
        pattern = "|".join(re.escape(value) for value in found)
        by_case = {value.lower(): self.values[value] for value in reversed(found)}
        return re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", re.IGNORECASE), by_case


class Mask:
    """Masks for one node. Thread-safe: what it remembers may be lost, never wrong."""

    def __init__(self, options: MaskOptions | None = None, secret: Callable[[], bytes] | None = None) -> None:
        chosen = options or MaskOptions()
        unknown = [name for name in chosen.columns if name not in TREATMENTS]
        if unknown:
            raise ValueError(f"nothing is known about masking {unknown[0]!r}")
        own = secrets.token_bytes(32)
        self._secret = secret or (lambda: own)
        self._treated: dict[str, Treatment] = {
            name: TREATMENTS[name] for name in TREATMENTS if name in chosen.columns
        }
        spelled = ("[_-]?".join(map(re.escape, _WORD.split(key.lower()))) for key in chosen.keys)
        self._hidden = re.compile(f"(?i:(?:.*[^a-z0-9])?(?:{'|'.join(spelled) or '(?!)'}))")
        self._hide_text = chosen.hide_text
        self._lock = threading.Lock()
        self._values: OrderedDict[str, str] = OrderedDict()  # pseudonym → value
        self._persons: OrderedDict[str, str] = OrderedDict()  # name in lower case → pseudonym
        self._numbers: OrderedDict[str, str] = (
            OrderedDict()
        )  # the same for ids that are numbers: for paths alone
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
            value = self._values.get(term.value)
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
        return kept

    def value(self, column: str, value: str | None, *, entity_type: str | None = None) -> str | None:
        """Return one value of a column, as figures and lists of values show it."""
        treatment = self._treated.get(column)
        if treatment is None or value is None:
            return value
        result = self._treat(column, treatment, value, {"entity_type": entity_type}, _Own())
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
        own = _Own()
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

    def _collect(self, value: Any, own: _Own, path: str, depth: int) -> None:
        """Find the personal values of a line, so that they can be replaced wherever they occur again."""
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            persons = _persons(value)
            for key, inner in value.items():
                if key in persons and isinstance(inner, str | int):
                    own.note(str(inner), self.pseudonym("person", str(inner)))
                self._collect(inner, own, f"{path}.{key}" if path else str(key), depth + 1)
        elif isinstance(value, list) and depth < MAX_DEPTH:
            for item in value:
                self._collect(item, own, path, depth + 1)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            treatment = self._treatment_of(path)
            if treatment in {"person", "session"}:
                own.note(str(value), self._simple(treatment, str(value)))

    def text(self, text: str, own: _Own | None = None) -> str:
        """Return free text with the given values, mail and network addresses replaced."""
        result = own.replaced(text) if own else text
        if self._persons:
            result = _TOKEN.sub(self._person_in, result)
        if "@" in result:
            result = _MAIL.sub(lambda match: self.pseudonym("person", match[0]), result)
        return _ADDRESS.sub(lambda match: _network(match[0]), result) if _DIGIT.search(result) else result

    def path(self, path: str, own: _Own) -> str:
        """Return an HTTP path with persons replaced: known ones, and whoever stands behind a folder of persons."""
        found = own.replaced(path, shortest=1)
        found = _OF_FOLDER.sub(self._behind, found)
        segments = [self._numbers.get(segment, segment) for segment in found.split("/")]
        return self.text("/".join(segments), own)

    def _behind(self, match: re.Match[str]) -> str:
        value = match[2]
        if PSEUDONYM.fullmatch(value) or value.lower() in _NOBODY_PATHS:
            return match[0]
        return match[1] + self.pseudonym("person", unquote(value))

    def pseudonym(self, kind: str, value: str) -> str:
        """Return the pseudonym of a value; it is remembered, so that it can be asked for."""
        digest = hmac.digest(
            self._secret(), f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256
        )
        name = f"{kind}-{b32encode(digest).decode().lower()[:PSEUDONYM_CHARS]}"
        with self._lock:
            _remember(self._values, name, value)
            if kind == "person" and value.isdigit():
                _remember(self._numbers, value, name)
            elif kind == "person" and len(value) >= SHORTEST_TOKEN:
                _remember(self._persons, value.lower(), name)
        return name

    def _person_in(self, match: re.Match[str]) -> str:
        """Return what stands for a word of a text, if it is a person's name that another event gave."""
        word = match[0]
        known = self._persons.get(word.lower())
        if known is not None:
            return known
        if _PART.fullmatch(word):
            return word
        return _PART.sub(lambda part: self._persons.get(part[0].lower(), part[0]), word)

    # How each kind of value is treated

    def _own(self, found: Mapping[str, Any]) -> _Own:
        """Return the personal values of an event with what stands for each, the longest first."""
        own = _Own()
        for column, treatment in self._treated.items():
            value = found.get(column)
            if value is not None and treatment in {"person", "session"}:
                own.note(str(value), self._simple(treatment, str(value)))
        if _is_person(found.get("entity_type")):
            for column in ("entity_id", "entity_name"):
                value = found.get(column)
                if value is not None and column in self._treated:
                    own.note(str(value), self.pseudonym("person", str(value)))
        return own

    def _simple(self, treatment: Treatment, value: str) -> str:
        match treatment:
            case "person" | "session":
                return self.pseudonym(treatment, value)
            case "network":
                return _network(value, otherwise=HIDDEN)
            case _:
                return HIDDEN

    def _treat(
        self, column: str, treatment: Treatment, value: Any, found: Mapping[str, Any], own: _Own
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
                    return self.pseudonym("person", str(value))
                if isinstance(value, list):
                    return [self.text(str(item), own) for item in value]
                return (
                    self.path(str(value), own) if str(value).startswith("/") else self.text(str(value), own)
                )

    def _walk(self, value: Any, own: _Own, path: str, depth: int) -> Any:
        """Return JSON with its personal members replaced. What lies too deep is hidden whole."""
        if depth > MAX_DEPTH:
            return HIDDEN
        if isinstance(value, Mapping):
            persons = _persons(value)
            return {
                self.text(str(key), own): self._scalars(inner, "person", own, str(key), depth)
                if key in persons
                else self._member(f"{path}.{key}" if path else str(key), inner, own, depth)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._walk(item, own, path, depth + 1) for item in value]
        if isinstance(value, str):
            return self.text(value, own)
        if isinstance(value, int) and not isinstance(value, bool) and str(value) in own.values:
            return own.values[str(value)]
        return value

    def _member(self, path: str, value: Any, own: _Own, depth: int) -> Any:
        treatment = self._treatment_of(path)
        if isinstance(value, str) and value.startswith("/"):
            return self.path(value, own)
        if treatment in {"person", "session", "network", "hidden"}:
            return self._scalars(value, treatment, own, path, depth)
        return self._walk(value, own, path, depth + 1)

    def _scalars(self, value: Any, treatment: Treatment, own: _Own, path: str, depth: int) -> Any:
        """Return a member that means a person: its texts and numbers replaced, also in a list or as old and new."""
        if value is None or isinstance(value, bool):
            return value
        if treatment == "hidden" or depth > MAX_DEPTH:
            return HIDDEN
        if isinstance(value, Mapping):
            return {
                self.text(str(key), own): (
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


def _remember(held: OrderedDict[str, str], key: str, value: str) -> None:
    held[key] = value
    held.move_to_end(key)
    if len(held) > REMEMBERED:
        held.popitem(last=False)


def _persons(value: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of an object that name a person because another key says that it is one."""
    kinds = (value.get(key) for key in ("type", "entity_type", "entity.type"))
    return _OF_ENTITY if any(_is_person(kind) for kind in kinds) else frozenset()


_OF_ENTITY = frozenset({"id", "name", "entity_id", "entity_name", "entity.id", "entity.name"})


def _is_person(entity_type: Any) -> bool:
    return isinstance(entity_type, str) and entity_type.lower() in PERSON_TYPES


def _network(text: str, *, otherwise: str | None = None) -> str:
    """Return the network of an address; what is none stays as it is, or becomes ``otherwise``."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text if otherwise is None else otherwise
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    prefix = IPV4_PREFIX if address.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network((address, prefix), strict=False))


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
