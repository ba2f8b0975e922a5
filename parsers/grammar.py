"""The search grammar: from a text to an expression, in one pass, without recursion, in time linear in its length.

    search  = or
    or      = and { "OR" and }                      and binds tighter
    and     = not { [ "AND" ] not }
    not     = { "-" | "!" | "NOT" } term
    term    = "(" or ")" | phrase | word | name ":" value
    value   = "(" item { "OR" item } ")" | item
    item    = [ ">=" | "<=" | ">" | "<" | "~" | "=" ] ( phrase | word )

A `GrammarError` says at which character something is wrong, what was expected there, and what to write instead.
docs/search.md is the page for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from parsers.expression import (
    Expression,
    both,
    either,
    looks_inside,
    negated,
    spelled,
)
from parsers.fields import (
    ABOVE,
    BELOW,
    BETWEEN,
    CONTAINS,
    EQUALS,
    EXISTS,
    JSON,
    LEVEL,
    MATCHES,
    REAL,
    REGEX,
    RISK,
    SEARCH,
    TEXT_SEARCH,
    TIME,
    WHOLE,
    Field,
    resolve,
)
from parsers.grammarerror import GrammarError
from parsers.moments import is_relative
from parsers.regexes import MAX_WEIGHT, weight
from parsers.scanner import SPACE, Scanner, Word
from parsers.searchlimits import MAX_KEYS, PEOPLE, Limits
from parsers.unknownnames import shown, suggestion
from parsers.values import ValueProblem, compare

_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_MEANINGS: dict[str, Callable[[str], tuple[str, tuple[str, ...]]]] = {
    ">=": lambda text: (BETWEEN, (text, "")),
    "<=": lambda text: (BETWEEN, ("", text)),
    ">": lambda text: (ABOVE, (text,)),
    "<": lambda text: (BELOW, (text,)),
    "~": lambda text: (REGEX, (text,)),
    "=": lambda text: (EQUALS, (text,)),
}
SIGNS = tuple(_MEANINGS)  # the longer ones first
_ORDERED_KINDS = (WHOLE, REAL, RISK, TIME, LEVEL)


@dataclass(frozen=True, slots=True)
class Search:
    """What a text means. ``moving``: it has times such as `-1h`, so it means something else later.

    ``steps`` counts the characters looked at, some of them twice: the work that was done.
    """

    expression: Expression | None
    moving: bool = False
    steps: int = 0


def parse(text: str, *, now_us: int = 0, limits: Limits = PEOPLE) -> Search:
    """Return what a search means at a moment. Raises GrammarError."""
    if len(text) > limits.chars:
        raise GrammarError(
            f"a search may have at most {limits.chars} characters", limits.chars, "narrow it by parameters"
        )
    for position, char in enumerate(text):
        if "\ud800" <= char <= "\udfff":
            raise GrammarError("this character is no text", position, "leave it out")
    return _Parser(text, now_us, limits).run()


@dataclass(slots=True)
class _Group:
    """An open bracket (or the whole search): alternatives, each of parts that must all hold."""

    opened: int
    negate: bool = False
    alternatives: list[list[Expression]] = field(default_factory=lambda: [[]])

    def closed(self) -> Expression:
        found = either(part for parts in self.alternatives if (part := both(parts)) is not None)
        assert found is not None  # a group is never closed empty
        return negated(found) if self.negate else found


class _Parser:
    """Reads one text from left to right."""

    def __init__(self, text: str, now_us: int, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._now_us = now_us
        self._scanner = Scanner(text)
        self._terms = 0
        self._weight = 0
        self._moving = False

    def run(self) -> Search:
        """Read everything."""
        groups = [_Group(0)]
        negate = False
        waiting: str | None = None  # the word that needs something behind it
        waiting_at = 0
        while self._scanner.skip():
            start, char = self._scanner.at, self._text[self._scanner.at]
            if char == "(":
                if len(groups) > self._limits.depth:
                    raise GrammarError(
                        f"more than {self._limits.depth} brackets inside one another",
                        start,
                        "write it flatter",
                    )
                groups.append(_Group(start, negate))
                self._scanner.at += 1
                negate, waiting = False, None
                continue
            if char == ")":
                group = groups.pop()
                if not groups:
                    raise GrammarError(
                        "there is no bracket to close", start, 'leave it out, or quote the text: ")"'
                    )
                self._nothing_waits(waiting, start)
                if not group.alternatives[-1]:
                    raise GrammarError(
                        "there is nothing between the brackets", group.opened, "leave them out"
                    )
                groups[-1].alternatives[-1].append(group.closed())
                self._scanner.at += 1
                continue
            if char in "-!":
                negate = not negate
                waiting, waiting_at = char, start
                self._scanner.at += 1
                continue
            joining = self._scanner.joining()
            if joining == "NOT":
                negate = not negate
                waiting, waiting_at = joining, start
                continue
            if joining is not None:
                self._nothing_waits(waiting, start)
                if not groups[-1].alternatives[-1]:
                    raise GrammarError(
                        f"expected a term before {joining}",
                        start,
                        f'to search for the word, quote it: "{joining}"',
                    )
                if joining == "OR":
                    groups[-1].alternatives.append([])
                waiting, waiting_at = joining, start
                continue
            part = self._term()
            groups[-1].alternatives[-1].append(negated(part) if negate else part)
            negate, waiting = False, None
        self._nothing_waits(waiting, len(self._text), since=waiting_at)
        if len(groups) > 1:
            raise GrammarError("this bracket is never closed", groups[-1].opened, "add ) at its end")
        return Search(
            groups[0].closed() if groups[0].alternatives[-1] else None,
            self._moving,
            self._scanner.steps + len(self._text),
        )

    @staticmethod
    def _nothing_waits(waiting: str | None, position: int, *, since: int | None = None) -> None:
        if waiting is not None:
            hint = f'to search for it, quote it: "{waiting}"'
            raise GrammarError(f"expected a term after {waiting}", position if since is None else since, hint)

    def _term(self) -> Expression:
        """Read a word, a phrase, or a field with its value."""
        start = self._scanner.at
        if self._text[start] == '"':
            return self._compared(TEXT_SEARCH, (), "", self._scanner.phrase(), start)
        name = self._scanner.name()
        if name is None:
            self._scanner.at = start
            return self._compared(TEXT_SEARCH, (), "", self._scanner.word(bare=True), start)
        known, path = self._resolved(*name, start)
        after = self._scanner.at
        if after == len(self._text) or self._text[after] in SPACE + ")":
            raise GrammarError(
                f"expected a value after {self._text[start:after]}",
                after,
                f"for example {known.kind.example}",
            )
        if self._text[after] == "(":
            return self._list(known, path, start)
        return self._item(known, path, start)

    def _resolved(self, segments: list[str], plain: int, start: int) -> tuple[Field, tuple[str, ...]]:
        if len(segments) > MAX_KEYS:
            raise GrammarError(
                f"more than {MAX_KEYS} names between dots", start, "quote a name that has dots in it"
            )
        found = resolve(segments, plain)
        if found is not None:
            return found
        raise GrammarError(f"there is no field {shown('.'.join(segments))}", start, suggestion(segments))

    def _list(self, known: Field, path: tuple[str, ...], start: int) -> Expression:
        opened = self._scanner.at
        self._scanner.at += 1
        found: list[Expression] = []
        expecting = True
        while self._scanner.skip():
            at, char = self._scanner.at, self._text[self._scanner.at]
            if char == ")":
                if expecting:
                    raise GrammarError("expected a value in the list", at, "for example (error OR critical)")
                self._scanner.at += 1
                whole = either(found)
                assert whole is not None
                return whole
            joining = self._scanner.joining()
            if joining == "OR" and not expecting:
                expecting = True
                continue
            if joining is not None or not expecting or char == "(":
                name = spelled(known.name, path)
                raise GrammarError(
                    "expected OR or ) in the list" if not expecting else "expected a value in the list",
                    at,
                    f"values of a list are alternatives: {name}:(a OR b); write {name}:a {name}:b for both",
                )
            if char in "-!" and not self._text[at + 1 : at + 2].isdigit():
                raise GrammarError(
                    "a list cannot leave out single values",
                    at,
                    f"write -{known.name}:(a OR b), or quote the value",
                )
            found.append(self._item(known, path, start))
            expecting = False
        raise GrammarError("this list is never closed", opened, "add ) at its end")

    def _item(self, known: Field, path: tuple[str, ...], start: int) -> Expression:
        """Read one sign and value."""
        at = self._scanner.at
        sign = next((sign for sign in SIGNS if self._text.startswith(sign, at)), "")
        self._scanner.at += len(sign)
        after = self._scanner.at
        if after == len(self._text) or self._text[after] in SPACE + "()":
            raise GrammarError(
                f"expected a value after {sign or ':'}", after, f"for example {known.kind.example}"
            )
        if self._text[after] == "!" and not sign:
            raise GrammarError(
                "expected a value",
                after,
                f"to leave it out, write -{spelled(known.name, path)}:…; or quote the value",
            )
        word = self._scanner.phrase() if self._text[after] == '"' else self._scanner.word()
        return self._compared(known.name, path, sign, word, start, known)

    def _compared(
        self, name: str, path: tuple[str, ...], sign: str, word: Word, start: int, known: Field | None = None
    ) -> Expression:
        """Return the comparison of a field with a value as it was written."""
        self._terms += 1
        if self._terms > self._limits.terms:
            raise GrammarError(
                f"more than {self._limits.terms} terms", start, "search for fewer things at a time"
            )
        kind = known.kind if known is not None else SEARCH
        operator, values = self._meant(known, kind is JSON and bool(path), path, sign, word)
        if kind is TIME:
            self._moving = self._moving or any(is_relative(value) for value in values)
        try:
            found = compare(name, path, operator, values, now_us=self._now_us)
        except ValueProblem as problem:
            raise GrammarError(problem.what, word.start, problem.hint) from None
        if operator == REGEX:
            self._weight += weight(word.text)
            if self._weight > MAX_WEIGHT:
                raise GrammarError(
                    "the expressions are too large together", word.start, "use fewer or simpler ones"
                )
        return found

    @staticmethod
    def _meant(
        known: Field | None, member: bool, path: tuple[str, ...], sign: str, word: Word
    ) -> tuple[str, tuple[str, ...]]:
        """Return the operator and the values that a sign and a word stand for."""
        if sign in _MEANINGS:
            return _MEANINGS[sign](word.text)
        if word.starred:
            return (
                (EXISTS, ())
                if not word.pattern.strip("*") and known is not None
                else (MATCHES, (word.pattern,))
            )
        if known is None or looks_inside(known, path):
            return CONTAINS, (word.text,)
        if ".." in word.text and not word.quoted and (member or known.kind in _ORDERED_KINDS):
            low, _, high = word.text.partition("..")
            if not member or _is_range(low, high):
                return BETWEEN, (low, high)
        return EQUALS, (word.text,)


def _is_range(low: str, high: str) -> bool:
    """Say whether a member of JSON is compared with a range of numbers: else dots are just text."""
    ends = [end for end in (low, high) if end]
    return bool(ends) and all(_PLAIN_NUMBER.fullmatch(end) for end in ends)
