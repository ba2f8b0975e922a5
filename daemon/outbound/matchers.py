"""Which alerts are meant: matchers as Alertmanager writes them, and silences and inhibitions made of them.

Regular expressions are RE2's and match the whole value, so nobody can write one that takes for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from parsers.fields import NAMES, folded
from parsers.moments import rfc3339
from parsers.sigma.alert import Alert

_MATCHER = re.compile(r'\s*([A-Za-z_][\w.\-]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|(.*?))\s*', re.DOTALL)
OPERATORS = ("=", "!=", "=~", "!~")
OWN_LABELS = ("level", "rule", "title")  # an alert's own, whatever events call so
MOST_PATTERNS = 1000  # compiled expressions kept; there are as many as matchers in the file and in silences


@lru_cache(MOST_PATTERNS)
def _compiled(pattern: str) -> Any:
    import re2  # comes with pySigma; only those who use =~ wait for it

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def label(name: str) -> str:
    """Return the one name of a label: the fields of a group have as many as in a search, so `user_id` is `user.id`."""
    known = NAMES.get(folded(name)) if name not in OWN_LABELS else None
    return known.name if known is not None else name


def labels(alert: Alert) -> dict[str, str]:
    """Return what matchers see of an alert: its group's fields, `level`, `rule` (its id) and `title`."""
    group = {label(name): value for name, value in alert.group}
    return {**group, "level": alert.level, "rule": alert.rule_id, "title": alert.title}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one field; a field that is missing is empty."""

    field: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Read ``field="value"`` (quotes may be left out). Raises ValueError."""
        found = _MATCHER.fullmatch(text)
        if found is None:
            raise ValueError(f'{text!r} is no matcher: write field="value", with =, !=, =~ or !~')
        field, operator, quoted, bare = found.groups()
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None and operator in {"=", "!="} else quoted
        value = bare if value is None else value
        if "~" in operator:
            import re2

            try:
                _compiled(value)
            except re2.error as error:
                raise ValueError(f"{value!r} is no regular expression of RE2: {error}") from None
        return cls(label(field), operator, value)

    def matches(self, given: Mapping[str, str]) -> bool:
        """Whether the labels meet it."""
        value = given.get(self.field, "")
        hit = bool(_compiled(self.value).fullmatch(value)) if "~" in self.operator else value == self.value
        return hit != self.operator.startswith("!")

    def __str__(self) -> str:
        # A backslash belongs to an expression as it is; RE2 takes an escaped quote for a quote.
        value = self.value if "~" in self.operator else self.value.replace("\\", "\\\\")
        return '{}{}"{}"'.format(self.field, self.operator, re.sub(r'(?<!\\)"', r"\"", value))


def matched(matchers: Iterable[Matcher], given: Mapping[str, str]) -> bool:
    """Whether the labels meet all of them."""
    return all(matcher.matches(given) for matcher in matchers)


def parsed(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """Read several. Raises ValueError."""
    return tuple(Matcher.parse(text) for text in texts)


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that nobody is told of for a while. Times are microseconds since 1970, UTC."""

    id: str
    matchers: tuple[Matcher, ...]
    author: str
    comment: str
    starts_us: int
    ends_us: int

    def mutes(self, given: Mapping[str, str], now_us: int) -> bool:
        """Whether it is in force and means these labels."""
        return self.starts_us <= now_us < self.ends_us and matched(self.matchers, given)

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal and for those who ask."""
        return {
            "id": self.id,
            "matchers": [str(matcher) for matcher in self.matchers],
            "author": self.author,
            "comment": self.comment,
            "starts_us": self.starts_us,
            "ends_us": self.ends_us,
            "starts": rfc3339(self.starts_us),
            "ends": rfc3339(self.ends_us),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Silence:
        """Return what `to_json` wrote."""
        return cls(
            given["id"],
            parsed(given["matchers"]),
            given["author"],
            given["comment"],
            given["starts_us"],
            given["ends_us"],
        )


@dataclass(frozen=True, slots=True)
class Inhibition:
    """Open alerts (``source``) that mute others (``target``) which agree with them in the fields ``equal``."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]

    def muting(self, firing: Iterable[Mapping[str, str]]) -> frozenset[tuple[str, ...]]:
        """Return the values of the equal fields for which one of the open alerts mutes others."""
        return frozenset(
            tuple(other[name] for name in self.equal)
            for other in firing
            if all(name in other for name in self.equal) and matched(self.source, other)
        )

    def mutes(self, given: Mapping[str, str], values: frozenset[tuple[str, ...]]) -> bool:
        """Whether these labels are muted; ``values`` are `muting`'s. None mutes what could mute it: both would vanish."""
        if not matched(self.target, given) or matched(self.source, given):
            return False
        return all(name in given for name in self.equal) and tuple(given[n] for n in self.equal) in values
