"""The words of a search: goes over its text from left to right, and says what stands there.

What a name, a value or a bracket means, and which may stand where, is `parsers.grammar`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from parsers.expression import JOINING
from parsers.grammarerror import GrammarError

SPACE = " \t\r\n\f\v\u00a0\u3000"
_ENDS = frozenset(SPACE + '()"')


@dataclass(slots=True)
class Word:
    """A value as it stands: its text, the same as a pattern, and how it was written."""

    text: str
    pattern: str
    starred: bool
    quoted: bool
    start: int


class Scanner:
    """One text. ``at`` is the next character; ``steps`` counts those looked at, some of them twice."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.steps = 0

    def skip(self) -> bool:
        """Go to the next character that is no space; False at the end."""
        while self.at < len(self.text) and self.text[self.at] in SPACE:
            self.at += 1
        return self.at < len(self.text)

    def joining(self) -> str | None:
        """Step over AND, OR or NOT, if one stands here as a word."""
        for word in JOINING:
            end = self.at + len(word)
            if self.text.startswith(word, self.at) and (end == len(self.text) or self.text[end] in _ENDS):
                self.at = end
                return word
        return None

    def name(self) -> tuple[list[str], int] | None:
        """Read names up to a colon and return them, and how many before the first quoted one; None if there is none.

        Leaves the place behind the colon.
        """
        segments: list[str] = [""]
        plain: int | None = None
        at = self.at
        while at < len(self.text):
            char = self.text[at]
            self.steps += 1
            if char == ":":
                self.at = at + 1
                return segments, len(segments) if plain is None else plain
            if char == '"' and not segments[-1] and len(segments) > 1:
                self.at = at
                plain = len(segments) - 1 if plain is None else plain
                segments[-1] = self.phrase().text
                at = self.at
                if at < len(self.text) and self.text[at] not in ".:":
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

    def phrase(self) -> Word:
        """Read a text between quotes; a backslash takes only a quote or a backslash behind it as they are."""
        start = self.at
        found: list[str] = []
        at = start + 1
        while at < len(self.text):
            char = self.text[at]
            if char == "\\" and self.text[at + 1 : at + 2] in {'"', "\\"}:
                found.append(self.text[at + 1])
                at += 2
            elif char == '"':
                self.at = at + 1
                self.steps += at - start
                self._ends_here()
                text = "".join(found)
                return Word(text, text, False, True, start)
            else:
                found.append(char)
                at += 1
        raise GrammarError(
            "this quote is never closed", start, 'add " at its end, or write \\" for a quote in a word'
        )

    def _ends_here(self) -> None:
        """A closed quote ends a value; inside a name a dot or a colon may follow."""
        if self.at < len(self.text) and self.text[self.at] not in SPACE + ").:":
            raise GrammarError(
                "expected a space after the closing quote", self.at, 'write \\" for a quote in the text'
            )

    def word(self, *, bare: bool = False) -> Word:
        """Read up to a space, a bracket or a quote; a backslash takes what is no letter or digit as it is."""
        start = self.at
        text: list[str] = []
        pattern: list[str] = []
        starred = False
        at = start
        while at < len(self.text) and self.text[at] not in _ENDS:
            char = self.text[at]
            if char == "\\" and at + 1 < len(self.text) and not self.text[at + 1].isalnum():
                char = self.text[at + 1]
                at += 2
                text.append(char)
                pattern.append(f"\\{char}" if char in "*\\" else char)
                continue
            at += 1
            text.append(char)
            starred = starred or char == "*"
            pattern.append("\\\\" if char == "\\" else char)
        self.at = at
        self.steps += at - start
        if at < len(self.text) and self.text[at] == '"':
            raise GrammarError(
                "expected a space before the quote",
                at,
                'put all of it between quotes, or write \\" for a quote',
            )
        if at < len(self.text) and self.text[at] == "(":
            raise GrammarError(
                "expected a space before the bracket",
                at,
                "put the value between quotes, or write \\( for a bracket",
            )
        if bare and not text:
            raise GrammarError("expected a term", start)
        return Word("".join(text), "".join(pattern), starred, False, start)
