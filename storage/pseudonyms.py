"""What stands in place of personal values: a keyed hash for persons and sessions, a network for an address.

The same person has the same pseudonym everywhere, so that viewers can follow and count, and nobody can try out names
without the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import threading
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import unquote

from storage.subjects import PERSON_TYPES
from storage.treatments import HIDDEN

PSEUDONYM = re.compile(r"(?:person|session)-[a-z2-7]{10}")
PSEUDONYM_CHARS = 10  # 50 bits: among a million persons two share one with a chance of 1 in 2,000
IPV4_PREFIX, IPV6_PREFIX = 24, 48
SHORTEST_TOKEN = 3  # characters: shorter values of an event are replaced in paths only, not in every sentence
REMEMBERED = 100_000  # pseudonyms whose value is known, so that viewers can ask for what they were shown

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


class Own:
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


class Pseudonyms:
    """What stands for persons, sessions and addresses, alone and inside texts. Thread-safe.

    What it remembers may be lost, never wrong.
    """

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._values: OrderedDict[str, str] = OrderedDict()  # pseudonym → value
        self._persons: OrderedDict[str, str] = OrderedDict()  # name in lower case → pseudonym
        # The same for ids that are numbers: for paths alone.
        self._numbers: OrderedDict[str, str] = OrderedDict()

    def value_of(self, pseudonym: str) -> str | None:
        """Return what a pseudonym stands for, if that is remembered."""
        return self._values.get(pseudonym)

    def text(self, text: str, own: Own | None = None) -> str:
        """Return free text with the given values, mail and network addresses replaced."""
        result = own.replaced(text) if own else text
        if self._persons:
            result = _TOKEN.sub(self._person_in, result)
        if "@" in result:
            result = _MAIL.sub(lambda match: self.of("person", match[0]), result)
        return _ADDRESS.sub(lambda match: network(match[0]), result) if _DIGIT.search(result) else result

    def path(self, path: str, own: Own) -> str:
        """Return an HTTP path with persons replaced: known ones, and whoever stands behind a folder of persons."""
        found = own.replaced(path, shortest=1)
        found = _OF_FOLDER.sub(self._behind, found)
        segments = [self._numbers.get(segment, segment) for segment in found.split("/")]
        return self.text("/".join(segments), own)

    def _behind(self, match: re.Match[str]) -> str:
        value = match[2]
        if PSEUDONYM.fullmatch(value) or value.lower() in _NOBODY_PATHS:
            return match[0]
        return match[1] + self.of("person", unquote(value))

    def of(self, kind: str, value: str) -> str:
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


def network(text: str, *, otherwise: str | None = None) -> str:
    """Return the network of an address; what is none stays as it is, or becomes ``otherwise``."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text if otherwise is None else otherwise
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    prefix = IPV4_PREFIX if address.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network((address, prefix), strict=False))


def _remember(held: OrderedDict[str, str], key: str, value: str) -> None:
    held[key] = value
    held.move_to_end(key)
    if len(held) > REMEMBERED:
        held.popitem(last=False)
