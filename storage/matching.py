"""Matches of Sigma rules as SQL conditions over event rows; every value is bound, and no condition is ever null."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from parsers.columns import BY_NAME
from parsers.fields import BY_NAME as FIELD_BY_NAME
from parsers.sigma.matching import ANY, All, Keyword, Match, Pattern, Some, Target, Test, Without
from storage.comparing import ANYWHERE_COLUMNS, NUMBER, elements, pointer
from storage.filters import Bind, address_range, quote

# Where a word without a field is looked for: every text of an event.
KEYWORD_COLUMNS = tuple(
    dict.fromkeys((*ANYWHERE_COLUMNS, "category", "action", "entity_type", "server", "ip", "method"))
)
_TEXTS = frozenset(name for name, column in BY_NAME.items() if column.sql == "VARCHAR")
# Columns that hold several texts, and the expression for these.
_LISTS = {
    **{name: quote(name) for name, column in BY_NAME.items() if column.sql == "VARCHAR[]"},
    "risk_reasons": elements(FIELD_BY_NAME["riskReasons.reason"]),
}
_FLAGS = frozenset("ims")


def match_sql(match: Match, bind: Bind) -> str:
    """Return the condition that an event is matched."""
    match match:
        case All(parts):
            return _joined(" AND ", (match_sql(part, bind) for part in parts), "TRUE")
        case Some(parts):
            return _joined(" OR ", (match_sql(part, bind) for part in parts), "FALSE")
        case Without(part):
            return f"NOT {match_sql(part, bind)}"
        case Keyword(pattern):
            found = (_like(quote(name), pattern, bind, cased=False, around=True) for name in KEYWORD_COLUMNS)
            return _joined(" OR ", found, "FALSE")
        case Test():
            return _test(match, bind)


def word_sql(test: Test, bind: Bind) -> str:
    """Return the condition that one element of a list, in a column of the list's name, is what the test wants."""
    return _like(quote(test.target.column or ""), cast("Pattern", test.value), bind, cased=test.cased)


def text_of(target: Target, bind: Bind) -> str:
    """Return an expression for a field's value as text, null where there is none."""
    texts = [_place(column, path, bind) for column, path in target.places]
    return texts[0] if len(texts) == 1 else f"coalesce({', '.join(texts)})"


def number_of(target: Target, bind: Bind) -> str:
    """Return an expression for a field's value as a number, null where it is none."""
    column = target.column
    if column is not None and BY_NAME[column].sql in {"INTEGER", "BIGINT", "DOUBLE"}:
        return f"CAST({quote(column)} AS DOUBLE)"
    text = text_of(target, bind)
    found = f"TRY_CAST(regexp_extract({text}, '{NUMBER}') AS DOUBLE)"
    return f"CASE WHEN isfinite({found}) THEN {found} END"


def _place(column: str, path: tuple[str, ...], bind: Bind) -> str:
    name = quote(column)
    if path:
        whole = f"TRY(json_extract_string({name}, {bind(pointer(path))}))"
        if len(path) == 1:
            return whole
        # A key may hold the dots itself, as writers of flat JSON have it.
        flat = f"TRY(json_extract_string({name}, {bind(pointer(('.'.join(path),)))}))"
        return f"coalesce({whole}, {flat})"
    if column in _TEXTS:
        return name
    if column in _LISTS:
        return f"array_to_string({_LISTS[column]}, chr(10))"
    if BY_NAME[column].sql == "TIMESTAMPTZ":
        return f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"CAST({name} AS VARCHAR)"


def _test(test: Test, bind: Bind) -> str:
    return _TESTS[test.kind](test, bind)


def _text(test: Test, bind: Bind) -> str:
    pattern = cast("Pattern", test.value)
    column = test.target.column
    if column in _LISTS:
        inner = _like("word", pattern, bind, cased=test.cased)
        return f"coalesce(len(list_filter({_LISTS[column]}, lambda word: {inner})) > 0, FALSE)"
    return _like(text_of(test.target, bind), pattern, bind, cased=test.cased)


def _like(text: str, pattern: Pattern, bind: Bind, *, cased: bool, around: bool = False) -> str:
    """Return the condition that a text is like a pattern; ``around``: somewhere in it."""
    if around:
        pattern = ((ANY, True), *pattern, (ANY, True))
    pieces: list[tuple[str, bool]] = []
    for piece in pattern:
        if piece != (ANY, True) or not pieces or pieces[-1] != piece:
            pieces.append(piece)
    fold: Callable[[str], str] = (lambda sql: sql) if cased else (lambda sql: f"lower({sql})")
    value: Callable[[str], str] = lambda word: bind(word if cased else word.lower())  # noqa: E731 - a pair with the line above
    words = [piece for piece, wild in pieces if not wild]
    shape = "".join("*" if piece == ANY else "?" if wild else "w" for piece, wild in _marked(pieces))
    if shape == "":
        return f"coalesce({text} = '', FALSE)"
    if shape == "*":
        return f"({text} IS NOT NULL)"
    simple = {
        "w": "coalesce({text} = {word}, FALSE)",
        "w*": "coalesce(starts_with({text}, {word}), FALSE)",
        "*w": "coalesce(ends_with({text}, {word}), FALSE)",
        "*w*": "coalesce(contains({text}, {word}), FALSE)",
    }.get(shape)
    if simple is not None:
        return simple.format(text=fold(text), word=value(words[0]))
    like = "".join(
        "%" if wild and piece == ANY else "_" if wild else _escaped(piece) for piece, wild in pieces
    )
    return f"coalesce({fold(text)} LIKE {value(like)} ESCAPE '\\', FALSE)"


def _marked(pieces: Iterable[tuple[str, bool]]) -> Iterable[tuple[str, bool]]:
    """Return the pieces with plain texts that look like wildcards told apart."""
    return ((piece if wild else "w", wild) for piece, wild in pieces)


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _number(test: Test, bind: Bind) -> str:
    value = cast("float", test.value)
    return f"coalesce({number_of(test.target, bind)} = {bind(float(value))}, FALSE)"


def _compare(test: Test, bind: Bind) -> str:
    sign, value = cast("tuple[str, float]", test.value)
    return f"coalesce({number_of(test.target, bind)} {sign} {bind(value)}, FALSE)"


def _regex(test: Test, bind: Bind) -> str:
    pattern, flags = cast("tuple[str, str]", test.value)
    options = "".join(flag for flag in flags if flag in _FLAGS)
    prefix = f"(?{options})" if options else ""
    return f"coalesce(regexp_matches({text_of(test.target, bind)}, {bind(prefix + pattern)}), FALSE)"


def _network(test: Test, bind: Bind) -> str:
    low, high = address_range(cast("str", test.value))
    if test.target.column != "ip":
        return _network_of_text(test, bind)
    name = quote("ip_bytes")
    return f"({name} IS NOT NULL AND {name} BETWEEN {bind(low)} AND {bind(high)})"


def _network_of_text(test: Test, bind: Bind) -> str:
    """Return the condition that a text, which is no column of addresses, is an IPv4 address of a network."""
    import ipaddress

    network = ipaddress.ip_network(cast("str", test.value), strict=False)
    text = text_of(test.target, bind)
    if network.version != 4:
        # Written in one way only, which is what programs log; a shorter form of the same address is not found.
        prefix = str(network.network_address.exploded)[: network.prefixlen // 4 + network.prefixlen // 16]
        return f"coalesce(starts_with(lower({text}), {bind(prefix)}), FALSE)"
    octet = r"(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
    valid = rf"^{octet}\.{octet}\.{octet}\.{octet}$"
    parts = [f"TRY_CAST(split_part({text}, '.', {n}) AS BIGINT)" for n in (1, 2, 3, 4)]
    number = f"({parts[0]} * 16777216 + {parts[1]} * 65536 + {parts[2]} * 256 + {parts[3]})"
    first, last = int(network.network_address), int(network.broadcast_address)
    return f"coalesce(regexp_matches({text}, {bind(valid)}) AND {number} BETWEEN {bind(first)} AND {bind(last)}, FALSE)"


def _null(test: Test, bind: Bind) -> str:
    return f"({text_of(test.target, bind)} IS NULL)"


def _exists(test: Test, bind: Bind) -> str:
    return f"({text_of(test.target, bind)} IS {'NOT ' if test.value else ''}NULL)"


def _field(test: Test, bind: Bind) -> str:
    other, where = cast("tuple[Target, str]", test.value)
    left, right = f"lower({text_of(test.target, bind)})", f"lower({text_of(other, bind)})"
    made = {
        "": f"{left} = {right}",
        "starts": f"starts_with({left}, {right})",
        "ends": f"ends_with({left}, {right})",
        "contains": f"contains({left}, {right})",
    }[where]
    return f"coalesce({made}, FALSE)"


def _part(test: Test, bind: Bind) -> str:
    part, number = cast("tuple[str, float]", test.value)
    column = test.target.column
    is_time = column is not None and BY_NAME[column].sql == "TIMESTAMPTZ"
    time = quote(column or "") if is_time else f"TRY_CAST({text_of(test.target, bind)} AS TIMESTAMPTZ)"
    return f"coalesce(date_part('{part}', {time}) = {bind(int(number))}, FALSE)"


_TESTS: dict[str, Callable[[Test, Bind], str]] = {
    "text": _text,
    "number": _number,
    "compare": _compare,
    "regex": _regex,
    "network": _network,
    "null": _null,
    "exists": _exists,
    "field": _field,
    "part": _part,
}


def _joined(word: str, parts: Iterable[str], empty: str) -> str:
    found = list(parts)
    return f"({word.join(found)})" if found else empty
