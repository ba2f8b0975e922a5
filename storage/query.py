"""What can be asked of the archive, as frozen values: who asks (`Scope`), which events (`Filter`), and in which form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from parsers.expression import And, Comparison, Expression, Not, Or, both, comparisons, conjuncts, text_of
from parsers.fields import EQUALS
from parsers.grammar import Search, parse
from parsers.grammarerror import GrammarError
from parsers.mending import mended
from parsers.searchlimits import OURS, PEOPLE, Limits
from storage.comparing import bands_between, key_of
from storage.filters import EXCLUDE, FIELDS, FilterError, Term, term
from storage.lifting import Plain, lift, lower, ordered

Internal = Literal["exclude", "include", "only"]

DEFAULT_LIMIT = 50  # rows on a page, as in the original
_PLAIN = ("terms", "min_risk", "max_risk", "start_us", "end_us", "search", "subject")
_FILTER_KEYS = ("values", *_PLAIN[1:], "q")  # of the JSON in records; old records lack the later ones
DEFAULT_PARTS = ("counts", "users", "countries", "addresses", "entities", "critical", "previous", "series")
STATISTICS_PARTS = (
    *DEFAULT_PARTS,
    "risk",
)  # the last only for who asks: the original's figures have no such thing


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks, and therefore what may be seen. Every query carries one.

    ``internal``: the daemon's own events are left out ("exclude"), counted in ("include") or the only ones ("only").
    ``role`` is one of `storage.roles`; below auditor, the columns of ``masked`` (None: all that can be) are shown
    masked (`storage.masking`) and may not be asked for, but for the ``granted`` terms: pseudonyms that were shown, and
    the caller itself.
    """

    tenant: str | None = None
    role: str = "admin"
    internal: Internal = "exclude"
    granted: tuple[Term, ...] = ()
    masked: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: all terms of different fields must hold; of the same field, one included and no excluded one.

    Times are microseconds since 1970 UTC, both inclusive. ``search`` is looked for in any case inside description,
    entity name and username. ``subject`` is a person: events by or about them (`storage.subjects`). ``expression`` is
    what a search (`q`) says beyond that, and must hold as well. Values are data: they reach SQL as bound parameters
    only.
    """

    terms: tuple[Term, ...] = ()
    min_risk: float | None = None
    max_risk: float | None = None
    start_us: int | None = None
    end_us: int | None = None
    search: str | None = None
    subject: str | None = None
    expression: Expression | None = None

    @classmethod
    def of(
        cls,
        values: Mapping[str, Sequence[str]] | None = None,
        *,
        min_risk: float | None = None,
        max_risk: float | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        search: str | None = None,
        subject: str | None = None,
        q: str | None = None,
        now_us: int = 0,
    ) -> Filter:
        """Build a filter from texts by field name, as a query string or a command line has them.

        ``values`` maps a name of `storage.filters.FIELDS` to its texts; a leading ``!`` excludes. ``q`` is a search
        (`parsers.grammar`), whose relative times count from ``now_us``; what it says must hold as well, and whatever
        of it the other arguments could have said ends up in their places. Raises `storage.filters.FilterError`, which
        names the field, when a text does not fit its field.
        """
        terms = ordered(term(name, text) for name, texts in (values or {}).items() for text in texts)
        wanted = cls(
            terms=terms,
            min_risk=min_risk,
            max_risk=max_risk,
            start_us=start_us,
            end_us=end_us,
            search=search or None,
            subject=subject or None,
        )
        return wanted.narrowed(searched(q, now_us=now_us).expression) if q is not None else wanted

    def narrowed(self, expression: Expression | None) -> Filter:
        """Return the filter of events for which an expression holds as well."""
        together = both(part for part in (self.expression, expression) if part is not None)
        plain = lift(Plain(**{name: getattr(self, name) for name in _PLAIN}, expression=together))
        return Filter(**{name: getattr(plain, name) for name in (*_PLAIN, "expression")})

    @property
    def parts(self) -> tuple[Expression, ...]:
        """Everything the filter says, as expressions that must all hold."""
        return lower(Plain(**{name: getattr(self, name) for name in (*_PLAIN, "expression")}))

    @property
    def q(self) -> str:
        """The whole filter as a search; `Filter.of` with it alone gives an equal filter."""
        whole = both(self.parts)
        return "" if whole is None else text_of(whole)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Filter:
        """Read back what `to_json` gave. Raises FilterError for a field that this release does not know."""
        for name in body:
            if name not in _FILTER_KEYS:
                raise FilterError(name, f"there is no filter {name!r} in this release")
        wanted = cls.of(
            body.get("values"),
            min_risk=body.get("min_risk"),
            max_risk=body.get("max_risk"),
            start_us=body.get("start_us"),
            end_us=body.get("end_us"),
            search=body.get("search"),
            subject=body.get("subject"),
        )
        q = body.get("q")
        return wanted if q is None else wanted.narrowed(searched(q, now_us=0, limits=OURS).expression)

    def to_json(self) -> dict[str, Any]:
        """Return the filter as records and manifests have it: what was given and nothing else."""
        values: dict[str, list[str]] = {}
        for item in self.terms:
            values.setdefault(item.field, []).append(f"{EXCLUDE if item.exclude else ''}{item.value}")
        given = {name: getattr(self, name) for name in _PLAIN if name != "terms"}
        given["q"] = text_of(self.expression) if self.expression is not None else None
        return {
            **({"values": values} if values else {}),
            **{name: value for name, value in given.items() if value is not None},
        }

    @property
    def names(self) -> frozenset[str]:
        """The fields this filter looks at, time aside; a planner decides by them."""
        found = {item.field for item in self.terms}
        if self.min_risk is not None or self.max_risk is not None:
            found.add("risk_score" if bands_between(self.min_risk, self.max_risk) is None else "risk")
        if self.search:
            found.add("search_query")
        if self.subject:
            found.add("subject")
        found.update(key_of(item) for item in comparisons(self.expression))
        return frozenset(found)

    @property
    def selective(self) -> bool:
        """True when it names an id that few events share, so that reading slice by slice would only cost more."""
        if any(FIELDS[item.field].rare and not item.exclude for item in self.terms):
            return True
        return any(_names_rare(part) for part in conjuncts(self.expression))


def _names_rare(part: Expression) -> bool:
    """Say whether an expression holds for few events only, because it names ids."""
    match part:
        case Comparison():
            return part.operator == EQUALS and part.known.rare
        case And(parts):
            return any(_names_rare(inner) for inner in parts)
        case Or(parts):
            return all(_names_rare(inner) for inner in parts)
        case Not():
            return False


def searched(q: str, *, now_us: int, limits: Limits = PEOPLE) -> Search:
    """Return what a search means at a moment. Raises FilterError, which says where in it something is wrong."""
    try:
        return parse(q, now_us=now_us, limits=limits)
    except GrammarError as error:
        raise FilterError(
            "q",
            f"at character {error.position}: {error.what}",
            error.hint,
            position=error.position,
            suggestions=mended(q, error.position, now_us=now_us),
        ) from None


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of events, newest first: by ``cursor`` (from the page before), or by ``page`` (from 1), or the first.

    ``snapshot`` is a seq: nothing above it is seen, so that pages by number never shift. A cursor carries its own.
    """

    filter: Filter = field(default_factory=Filter)
    scope: Scope = field(default_factory=Scope)
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    page: int | None = None
    snapshot: int | None = None
    count: bool = True


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    """What the dashboard asks: totals and rankings of the filter's time range, which must have both ends.

    ``parts`` names what to compute (`STATISTICS_PARTS`); the answer lacks the rest. ``timezone`` (an IANA name) sets
    the grid of the series.
    """

    filter: Filter
    scope: Scope = field(default_factory=Scope)
    parts: frozenset[str] = frozenset(DEFAULT_PARTS)
    top: int = 10
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """Every event that matches, newest first, without a cap unless ``limit`` says so.

    ``columns``: only these columns of the archive, in this order; all of them if there are none.
    """

    filter: Filter = field(default_factory=Filter)
    scope: Scope = field(default_factory=Scope)
    limit: int | None = None
    snapshot: int | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RejectQuery:
    """A page of lines that could not be parsed, newest first."""

    scope: Scope = field(default_factory=Scope)
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    snapshot: int | None = None
    source: str | None = None


def fingerprint(*values: object) -> str:
    """Return 16 hex digits that differ when any of the frozen values differs; the same in every process."""
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
