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

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from parsers.expression import (
    JOINING,
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
    NAMES,
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
from parsers.moments import is_relative
from parsers.regexes import MAX_WEIGHT, weight
from parsers.values import ValueProblem, compare

MAX_CHARS = 8_000  # of a search; as many as the whole query string of a request may have
MAX_TERMS = 200  # comparisons, each value of a list counted
MAX_DEPTH = 32  # brackets in brackets
MAX_KEYS = 16  # names between dots
SUGGESTED_CHARS = 40  # a longer name resembles none of ours, and comparing it would cost
SPACE = " \t\r\n\f\v\u00a0\u3000"
_ENDS = frozenset(SPACE + '()"')
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
class Limits:
    """How long, how many terms and how deep a search may be."""

    chars: int
    terms: int
    depth: int


PEOPLE = Limits(MAX_CHARS, MAX_TERMS, MAX_DEPTH)
# What was accepted once and printed by ourselves: longer names, backslashes and brackets that its writer did not need.
OURS = Limits(8 * MAX_CHARS, 2 * MAX_TERMS, 3 * MAX_DEPTH)


class GrammarError(ValueError):
    """A search that cannot be read: where (a character, counted from 0), what is wrong, and what to write."""

    def __init__(self, what: str, position: int, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.position = position
        self.hint = hint


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


@dataclass(slots=True)
class _Word:
    """A value as it stands: its text, the same as a pattern, and how it was written."""

    text: str
    pattern: str
    starred: bool
    quoted: bool
    start: int


class _Parser:
    """Reads one text from left to right."""

    def __init__(self, text: str, now_us: int, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._now_us = now_us
        self._at = 0
        self._steps = 0
        self._terms = 0
        self._weight = 0
        self._moving = False

    def run(self) -> Search:
        """Read everything."""
        groups = [_Group(0)]
        negate = False
        waiting: str | None = None  # the word that needs something behind it
        waiting_at = 0
        while self._skip():
            start, char = self._at, self._text[self._at]
            if char == "(":
                if len(groups) > self._limits.depth:
                    raise GrammarError(
                        f"more than {self._limits.depth} brackets inside one another",
                        start,
                        "write it flatter",
                    )
                groups.append(_Group(start, negate))
                self._at += 1
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
                self._at += 1
                continue
            if char in "-!":
                negate = not negate
                waiting, waiting_at = char, start
                self._at += 1
                continue
            joining = self._joining()
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
            self._steps + len(self._text),
        )

    def _skip(self) -> bool:
        """Go to the next character that is no space; False at the end."""
        while self._at < len(self._text) and self._text[self._at] in SPACE:
            self._at += 1
        return self._at < len(self._text)

    @staticmethod
    def _nothing_waits(waiting: str | None, position: int, *, since: int | None = None) -> None:
        if waiting is not None:
            hint = f'to search for it, quote it: "{waiting}"'
            raise GrammarError(f"expected a term after {waiting}", position if since is None else since, hint)

    def _joining(self) -> str | None:
        """Step over AND, OR or NOT, if one stands here as a word."""
        for word in JOINING:
            end = self._at + len(word)
            if self._text.startswith(word, self._at) and (end == len(self._text) or self._text[end] in _ENDS):
                self._at = end
                return word
        return None

    def _term(self) -> Expression:
        """Read a word, a phrase, or a field with its value."""
        start = self._at
        if self._text[start] == '"':
            return self._compared(TEXT_SEARCH, (), "", self._phrase(), start)
        name = self._name()
        if name is None:
            self._at = start
            return self._compared(TEXT_SEARCH, (), "", self._word(bare=True), start)
        known, path = self._resolved(*name, start)
        after = self._at
        if after == len(self._text) or self._text[after] in SPACE + ")":
            raise GrammarError(
                f"expected a value after {self._text[start:after]}",
                after,
                f"for example {known.kind.example}",
            )
        if self._text[after] == "(":
            return self._list(known, path, start)
        return self._item(known, path, start)

    def _name(self) -> tuple[list[str], int] | None:
        """Read names up to a colon and return them, and how many before the first quoted one; None if there is none.

        Leaves the place behind the colon.
        """
        segments: list[str] = [""]
        plain: int | None = None
        at = self._at
        while at < len(self._text):
            char = self._text[at]
            self._steps += 1
            if char == ":":
                self._at = at + 1
                return segments, len(segments) if plain is None else plain
            if char == '"' and not segments[-1] and len(segments) > 1:
                self._at = at
                plain = len(segments) - 1 if plain is None else plain
                segments[-1] = self._phrase().text
                at = self._at
                if at < len(self._text) and self._text[at] not in ".:":
                    break
                continue
            if char == ".":
                segments.append("")
            elif char in _ENDS or char in "\\*":
                break
            else:
                segments[-1] += char
            at += 1
        if plain is not None:
            raise GrammarError(
                "expected : and a value after a quoted name", at, 'for example metadata."odd key":1'
            )
        return None

    def _resolved(self, segments: list[str], plain: int, start: int) -> tuple[Field, tuple[str, ...]]:
        if len(segments) > MAX_KEYS:
            raise GrammarError(
                f"more than {MAX_KEYS} names between dots", start, "quote a name that has dots in it"
            )
        found = resolve(segments, plain)
        if found is not None:
            return found
        raise GrammarError(f"there is no field {_shown('.'.join(segments))}", start, suggestion(segments))

    def _list(self, known: Field, path: tuple[str, ...], start: int) -> Expression:
        opened = self._at
        self._at += 1
        found: list[Expression] = []
        expecting = True
        while self._skip():
            at, char = self._at, self._text[self._at]
            if char == ")":
                if expecting:
                    raise GrammarError("expected a value in the list", at, "for example (error OR critical)")
                self._at += 1
                whole = either(found)
                assert whole is not None
                return whole
            joining = self._joining()
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
        at = self._at
        sign = next((sign for sign in SIGNS if self._text.startswith(sign, at)), "")
        self._at += len(sign)
        after = self._at
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
        word = self._phrase() if self._text[after] == '"' else self._word()
        return self._compared(known.name, path, sign, word, start, known)

    def _compared(
        self, name: str, path: tuple[str, ...], sign: str, word: _Word, start: int, known: Field | None = None
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
        known: Field | None, member: bool, path: tuple[str, ...], sign: str, word: _Word
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

    def _phrase(self) -> _Word:
        """Read a text between quotes; a backslash takes only a quote or a backslash behind it as they are."""
        start = self._at
        found: list[str] = []
        at = start + 1
        while at < len(self._text):
            char = self._text[at]
            if char == "\\" and self._text[at + 1 : at + 2] in {'"', "\\"}:
                found.append(self._text[at + 1])
                at += 2
            elif char == '"':
                self._at = at + 1
                self._steps += at - start
                self._ends_here()
                text = "".join(found)
                return _Word(text, text, False, True, start)
            else:
                found.append(char)
                at += 1
        raise GrammarError(
            "this quote is never closed", start, 'add " at its end, or write \\" for a quote in a word'
        )

    def _ends_here(self) -> None:
        """A closed quote ends a value; inside a name a dot or a colon may follow."""
        if self._at < len(self._text) and self._text[self._at] not in SPACE + ").:":
            raise GrammarError(
                "expected a space after the closing quote", self._at, 'write \\" for a quote in the text'
            )

    def _word(self, *, bare: bool = False) -> _Word:
        """Read up to a space, a bracket or a quote; a backslash takes what is no letter or digit as it is."""
        start = self._at
        text: list[str] = []
        pattern: list[str] = []
        starred = False
        at = start
        while at < len(self._text) and self._text[at] not in _ENDS:
            char = self._text[at]
            if char == "\\" and at + 1 < len(self._text) and not self._text[at + 1].isalnum():
                char = self._text[at + 1]
                at += 2
                text.append(char)
                pattern.append(f"\\{char}" if char in "*\\" else char)
                continue
            at += 1
            text.append(char)
            starred = starred or char == "*"
            pattern.append("\\\\" if char == "\\" else char)
        self._at = at
        self._steps += at - start
        if at < len(self._text) and self._text[at] == '"':
            raise GrammarError(
                "expected a space before the quote",
                at,
                'put all of it between quotes, or write \\" for a quote',
            )
        if at < len(self._text) and self._text[at] == "(":
            raise GrammarError(
                "expected a space before the bracket",
                at,
                "put the value between quotes, or write \\( for a bracket",
            )
        if bare and not text:
            raise GrammarError("expected a term", start)
        return _Word("".join(text), "".join(pattern), starred, False, start)


def _is_range(low: str, high: str) -> bool:
    """Say whether a member of JSON is compared with a range of numbers: else dots are just text."""
    ends = [end for end in (low, high) if end]
    return bool(ends) and all(_PLAIN_NUMBER.fullmatch(end) for end in ends)


def _shown(name: str) -> str:
    return f"{name[:SUGGESTED_CHARS]}…" if len(name) > SUGGESTED_CHARS else name or "without a name"


def suggestion(segments: list[str]) -> str:
    """Return what somebody who wrote an unknown name may have meant."""
    name = ".".join(segments)
    if name.lower() == "internal":
        return "the parameter internal=true or internal=only says whether the daemon's own events count"
    if len(name) <= SUGGESTED_CHARS:
        folded = name.lower().replace("_", "")
        close = difflib.get_close_matches(folded, NAMES, n=1, cutoff=0.7)
        if close:
            return f"did you mean {NAMES[close[0]].name}? An application's own field is metadata.{name}"
        if name.isidentifier() or "." in name:
            return f"an application's own field is metadata.{name}; to search for the text, quote it"
    return "to search for a text with a colon in it, quote it"
