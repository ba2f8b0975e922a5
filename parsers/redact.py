"""Secrets out: values that a key's name or their own shape gives away become `[redacted]`, before anything is stored.

| rule | finds |
|---|---|
| `key` | the value of a key named like a password, token, secret, cookie, API key …, at any depth of JSON |
| `assignment` | `password=…`, `?access_token=…` in text and addresses |
| `bearer` | `Bearer …` and `Basic …` credentials |
| `jwt` | JSON Web Tokens |
| `aws` | AWS access key ids |
| `github` | GitHub tokens |
| `slack` | Slack tokens |
| `pem` | private keys in PEM form |
| `url` | the password in `scheme://user:password@host` |
| `card` | payment card numbers of known issuers with a right check digit, in text (numbers are left alone) |

A key counts when its name *ends* like one of `DEFAULT_KEYS`, so that `tokenCount` and `passwordChanged` stay; `true`,
`false` and `null` are no secrets. Names, session ids and e-mail addresses are kept: they are what a log is for.
Clean rows cost one search; only rows that may hold something are looked at closely.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from parsers.arrow import Array, Mask, buffer, mask, numbers, pc, rows, strings, texts, true, valid, whole
from parsers.columns import COLUMNS
from parsers.jsontext import JsonError, Pairs, read, write

REDACTED: Final = "[redacted]"

# Words as they are joined in camelCase, snake_case, kebab-case or with dots; a space stands for any of these.
DEFAULT_KEYS: Final = (
    "password",
    "passwd",
    "pass word",
    "pwd",
    "pass phrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "cookies",
    "api key",
    "private key",
    "access key",
    "secret key",
    "encryption key",
    "credential",
    "credentials",
    "card number",
    "cvv",
    "cvc",
)
_ENDINGS = r"(?:[-_. ]?(?:hash|value|plain|text|confirm|confirmation|again|old|new))?[0-9]{0,2}"
_STRING = r'"(?:[^"\\]|\\.)*"'

# Text columns in which people and URLs leak secrets, and those whose few distinct values are cheaper to search.
TEXTS: Final = ("description", "path", "entity_name")
FEW_TEXTS: Final = ("user_agent",)
JSON_TEXTS: Final = (*(column.name for column in COLUMNS if column.json),)


@dataclass(frozen=True, slots=True)
class Rule:
    """A shape of secret: what it looks like, what stands in its place (RE2 syntax), and letters it cannot lack."""

    name: str
    pattern: str
    replacement: str
    anchor: str


SHAPES: Final = (
    Rule(
        "pem",
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
        REDACTED,
        "-----BEGIN",
    ),
    Rule(
        "jwt",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
        REDACTED,
        "eyJ[A-Za-z0-9_-]{8}",
    ),
    Rule("aws", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", REDACTED, "A[KS]IA[0-9A-Z]"),
    Rule(
        "github",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})",
        REDACTED,
        "gh[pousr]_|github_pat_",
    ),
    Rule("slack", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", REDACTED, "xox[abeoprs]-"),
    Rule(
        "bearer", r"\b((?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", rf"\1{REDACTED}", "(?i:bearer|basic)[ ]"
    ),
    Rule(
        "url",
        r"([A-Za-z][A-Za-z0-9+.-]{1,20}://[^/\s:@\"]{0,64}):[^/\s@\"]+@",
        rf"\1:{REDACTED}@",
        r"://[^/\s@]*:[^/\s@]*@",
    ),
)
CARD: Final = "card"
KEY: Final = "key"
ASSIGNMENT: Final = "assignment"
RULES: Final = (KEY, ASSIGNMENT, *(rule.name for rule in SHAPES), CARD)

# Known issuers: Visa, Mastercard (two ranges), American Express, Discover, Diners, JCB.
_CARD = r"\b(?:4|5[1-5]|2[2-7]|3[47]|6(?:011|5)|3[068]|35)[0-9](?:[ -]?[0-9]){11,16}\b"
_CARDS = re.compile(_CARD)
_ROWS_TOGETHER = 128
_CARD_LENGTHS = range(13, 20)


@dataclass(frozen=True, slots=True)
class RedactionOptions:
    """What is redacted: names of keys (words apart by spaces) and names of rules (see `RULES`)."""

    enabled: bool = True
    keys: tuple[str, ...] = DEFAULT_KEYS
    rules: tuple[str, ...] = RULES


class Redactor:
    """Redacts tables, single texts and raw bytes by the same rules. Counts are per rule."""

    def __init__(self, options: RedactionOptions) -> None:
        unknown = set(options.rules) - set(RULES)
        if unknown:
            raise ValueError(
                f"no such redaction rule: {', '.join(sorted(unknown))}; there are {', '.join(RULES)}"
            )
        self._rules = options.rules if options.enabled else ()
        names = "|".join(re.escape(key).replace(r"\ ", "[-_. ]?") for key in options.keys)
        self._names = re.compile(rf"(?i).*(?:{names}){_ENDINGS}", re.DOTALL)
        shapes = [rule for rule in SHAPES if rule.name in self._rules]
        ending = rf"(?i:{names}){_ENDINGS}"
        keyed = KEY in self._rules and bool(options.keys)
        self._json_keys = rf'("[^"\\]{{0,100}}?{ending}"\s*:\s*){_STRING}' if keyed else ""
        self._json_others = rf'"[^"\\]{{0,100}}?{ending}"\s*:\s*[\[{{0-9-]' if keyed else ""
        self._strings = re.compile(self._json_keys)
        self._others = re.compile(self._json_others)
        self._numbers = re.compile(rf'("[^"\\]{{0,100}}?{ending}"\s*:\s*)-?[0-9][0-9.eE+-]*')
        # The same inside a JSON text that is itself a string of the JSON text.
        embedded = rf'(\\"[^"\\]{{0,100}}?{ending}\\"\s*:\s*\\")[^"\\]*'
        assigned = rf"(?:\b|[?&;_]){ending}\s?=\s?)[^\s&;,\"'<>\\]+"
        self._shapes = [
            *shapes,
            *([Rule(KEY, embedded, rf"\1{REDACTED}", "")] if keyed else []),
            *(
                [Rule(ASSIGNMENT, f"({assigned}", rf"\1{REDACTED}", "")]
                if ASSIGNMENT in self._rules and options.keys
                else []
            ),
        ]
        self._compiled = [(rule.name, re.compile(rule.pattern), rule.replacement) for rule in self._shapes]
        anchors = [rule.anchor for rule in shapes]
        if CARD in self._rules:
            anchors.append(_CARD.replace(r"\b", ""))
        self._text_anchor = "|".join([*anchors, *([f"(?:{ending})[^A-Za-z]"] if keyed else [])])

    def table(self, events: pa.Table, hits: Counter[str]) -> pa.Table:
        """Return the table with secrets replaced in its text and JSON columns; counts go to ``hits``."""
        if not self._text_anchor or not events.num_rows:
            return events
        names = [
            n for n in (*TEXTS, *FEW_TEXTS, *JSON_TEXTS) if events.column(n).null_count < events.num_rows
        ]
        columns = {name: whole(events.column(name)) for name in names}
        encoded: dict[str, Any] = {
            name: columns[name].dictionary_encode() for name in names if name in FEW_TEXTS
        }
        searched = [encoded[name].dictionary if name in encoded else columns[name] for name in names]
        for name, found in zip(names, self._suspects(searched), strict=True):
            if found is None:
                continue
            distinct = name in encoded
            suspect = found[numbers(encoded[name].indices, 0)] & valid(columns[name]) if distinct else found
            before = columns[name].take(rows(np.flatnonzero(suspect)))
            after = self._replaced(before, json=name in JSON_TEXTS, hits=hits)
            if not after.equals(before):
                new = pc.replace_with_mask(columns[name], mask(suspect), after)
                at = events.schema.get_field_index(name)
                events = events.set_column(at, events.schema.field(at), new)
        return events

    def text(self, text: str, hits: Counter[str] | None = None) -> str:
        """Return one text with secrets replaced: a line of a log as well as a value."""
        found = Counter[str]() if hits is None else hits
        if self._json_keys:
            text, count = self._strings.subn(rf'\1"{REDACTED}"', text)
            found[KEY] += count
            text, count = self._numbers.subn(rf'\1"{REDACTED}"', text)
            found[KEY] += count
            if self._others.search(text) and text.lstrip()[:1] in {"{", "["}:
                text = self._walked(text, found)
        for name, pattern, replacement in self._compiled:
            text, count = pattern.subn(replacement, text)
            found[name] += count
        return self._cards(text, found)

    def raw(self, raw: bytes, hits: Counter[str]) -> bytes:
        """Return a rejected line's bytes with secrets replaced; bytes that are no text are kept."""
        text = raw.decode("utf-8", "surrogateescape")
        return self.text(text, hits).encode("utf-8", "surrogateescape")

    def _suspects(self, columns: list[Array]) -> list[Mask | None]:
        """Per column the rows that may hold a secret, None when there are none.

        A search has its price per call and per text, so all columns are searched in one call, and many rows of a
        column as one text; only where something is found is it looked for row by row.
        """
        if not columns:
            return []
        joined = [_joined(values) for values in columns]
        found = true(pc.match_substring_regex(pa.chunked_array(joined), self._text_anchor))
        ends = np.cumsum([len(texts_of_column) for texts_of_column in joined])
        masks: list[Mask | None] = []
        for values, blocks in zip(columns, np.split(found, ends[:-1]), strict=True):
            suspect = np.zeros(len(values), bool)
            for block in np.flatnonzero(blocks).tolist():
                at = slice(block * _ROWS_TOGETHER, (block + 1) * _ROWS_TOGETHER)
                suspect[at] = true(pc.match_substring_regex(values[at], self._text_anchor))
            masks.append(suspect if suspect.any() else None)
        return masks

    def _replaced(self, values: Array, *, json: bool, hits: Counter[str]) -> Array:
        if self._json_keys:
            values = _replace(values, KEY, self._json_keys, rf'\1"{REDACTED}"', hits)
            others = true(pc.match_substring_regex(values, self._json_others))
            if json and others.any():  # objects, arrays and numbers under such a key: walked one by one
                texts = strings(values)
                for row in np.flatnonzero(others).tolist():
                    texts[row] = self._walked(texts[row], hits)
                values = pa.array(texts, pa.string())
        for rule in self._shapes:
            values = _replace(values, rule.name, rule.pattern, rule.replacement, hits)
        if CARD in self._rules:
            cards = true(pc.match_substring_regex(values, _CARD))
            if cards.any():
                texts = strings(values)
                for row in np.flatnonzero(cards).tolist():
                    texts[row] = self._cards(texts[row], hits, quoted=json)
                values = pa.array(texts, pa.string())
        return values

    def _walked(self, text: str, hits: Counter[str]) -> str:
        try:
            return write(self._walk(read(text.encode(), max_depth=1000), hits))
        except JsonError:
            return text

    def _walk(self, value: Any, hits: Counter[str]) -> Any:
        if isinstance(value, dict):
            pairs = value.pairs if isinstance(value, Pairs) else value.items()
            return Pairs([(key, self._member(key, item, hits)) for key, item in pairs])
        return [self._walk(item, hits) for item in value] if isinstance(value, list) else value

    def _member(self, key: str, item: Any, hits: Counter[str]) -> Any:
        if item is None or isinstance(item, bool) or item == REDACTED or not self._names.fullmatch(key):
            return self._walk(item, hits)
        hits[KEY] += 1
        return REDACTED

    def _cards(self, text: str, hits: Counter[str], *, quoted: bool = False) -> str:
        if CARD not in self._rules:
            return text

        def replace(match: re.Match[str]) -> str:
            number = re.sub(r"[ -]", "", match[0])
            bare = quoted and _is_bare(text, match)
            if bare or len(number) not in _CARD_LENGTHS or not luhn(number):
                return match[0]
            hits[CARD] += 1
            return REDACTED

        return _CARDS.sub(replace, text)


def _joined(values: Array) -> Array:
    """The column's texts, many at a time as one; a view of the same bytes."""
    offsets, _ = texts(values)
    edges = np.append(offsets[:-1:_ROWS_TOGETHER], offsets[-1])
    buffers: list[Any] = [None, buffer(edges), values.buffers()[2]]
    joined: Array = pa.Array.from_buffers(pa.binary(), len(edges) - 1, buffers)
    return joined


def _is_bare(text: str, match: re.Match[str]) -> bool:
    """True for a JSON number: replacing it would leave no JSON."""
    before, after = text[: match.start()].rstrip()[-1:], text[match.end() :].lstrip()[:1]
    return before in {":", ",", "["} and after in {",", "}", "]"} and text[match.start() - 1] != " "


def luhn(number: str) -> bool:
    """True when the check digit of a card number is right."""
    total = 0
    for at, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _replace(values: Array, name: str, pattern: str, replacement: str, hits: Counter[str]) -> Array:
    count = pc.sum(pc.count_substring_regex(values, pattern)).as_py() or 0
    if not count:
        return values
    hits[name] += count
    replaced: Array = pc.replace_substring_regex(values, pattern, replacement)
    return replaced


_DEFAULT: Final = Redactor(RedactionOptions())


def redact_text(text: str) -> str:
    """Return a text with secrets replaced by the default rules."""
    return _DEFAULT.text(text)
