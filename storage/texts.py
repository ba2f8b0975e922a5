"""A row becomes a line of text in SQL: the API's Event as JSON, or a row of CSV. Exports are made of these.

The expressions leave out columns that are null in every row of the files at hand (`storage.shapes` knows them): half
of the columns usually are, and each costs DuckDB as much as a full one.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import lru_cache

from parsers.columns import BY_NAME, Column
from storage.filters import quote
from storage.render import (
    DEFAULTS,
    EXACT_BELOW,
    ID_AS_TEXT,
    NULL,
    NULL_WHEN_EMPTY,
    RENDERED,
    TREE,
    Tree,
    columns_of,
)

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a cell that begins so
ALL = frozenset(RENDERED)
_BARE = frozenset({"BIGINT", "INTEGER", "BOOLEAN", "DOUBLE"})  # their text holds no quote


@lru_cache(maxsize=64)
def tree_of(columns: tuple[str, ...]) -> Tree:
    """Return the Event with some columns only, in their order; with all of them for none."""
    if not columns:
        return TREE
    root: Tree = {}
    for name in columns:
        node, at = root, TREE
        *parents, last = BY_NAME[name].api.split(".")
        for parent in parents:
            child, there = node.setdefault(parent, {}), at[parent]
            assert isinstance(child, dict)
            assert isinstance(there, dict)
            node, at = child, there
        node[last] = at[last]
    return root


@lru_cache(maxsize=64)
def event_json(used: frozenset[str] = ALL, columns: tuple[str, ...] = ()) -> str:
    """Return an expression for a row's Event as one line of JSON. Columns not in ``used`` are taken as null."""
    return _concat(_object(tree_of(columns), used))


@lru_cache(maxsize=64)
def csv_row(used: frozenset[str] = ALL, columns: tuple[str, ...] = ()) -> str:
    """Return an expression for a row of CSV: one cell for each key of `tree_of`, no end of line."""
    parts: list[str] = []
    for index, child in enumerate(tree_of(columns).values()):
        if index:
            parts.append("','")
        cell = _cell(child, used)
        if cell:
            parts.append(f"coalesce({cell}, '')")
    return _concat(parts)


def _concat(parts: list[str]) -> str:
    """Return the concatenation of expressions, neighbouring literals joined."""
    joined: list[str] = []
    for part in parts:
        if joined and _is_literal(part) and _is_literal(joined[-1]):
            joined[-1] = joined[-1][:-1] + part[1:]
        else:
            joined.append(part)
    return f"concat({', '.join(joined)})"


def _is_literal(part: str) -> bool:
    return part[0] == part[-1] == "'" and part.count("'") == 2


def _present(tree: Tree, used: AbstractSet[str]) -> str:
    """Return the condition that anything in an object is not null; empty when nothing can be."""
    names = (column.name for column in columns_of(tree) if column.name in used)
    return " OR ".join(f"{quote(name)} IS NOT NULL" for name in names)


def _object(tree: Tree, used: AbstractSet[str], *, quote_mark: str = '"') -> list[str]:
    """Return expressions whose concatenation is the JSON text of an object.

    With another ``quote_mark`` every quote is spelled so. Doubling the quotes value by value, for a cell of CSV, is
    twice as fast as doubling them in the whole text: most values repeat, and DuckDB looks at each only once.
    """
    pieces: list[str] = []
    for index, (name, child) in enumerate(tree.items()):
        pieces.append(f"'{',' if index else '{'}{quote_mark}{name}{quote_mark}:'")
        if isinstance(child, Column):
            default = DEFAULTS.get(name, NULL)
            text = f"'{default}'"
            if child.name in used:
                value = _text(child, used)
                if quote_mark != '"' and child.sql not in _BARE:
                    value = f"""replace({value}, '"', '{quote_mark}')"""
                text = f"coalesce({value}, '{default}')"
            pieces.append(text)
        elif name in NULL_WHEN_EMPTY:
            present = _present(child, used)
            inner = _concat(_object(child, used, quote_mark=quote_mark))
            pieces.append(f"CASE WHEN {present} THEN {inner} ELSE '{NULL}' END" if present else f"'{NULL}'")
        else:
            pieces += _object(child, used, quote_mark=quote_mark)
    return [*pieces, "'}'"]


def _text(column: Column, used: AbstractSet[str]) -> str:
    """Return an expression for the JSON text of a column; null when the column is."""
    name = quote(column.name)
    if column.name == "user_id":
        number = f"CAST(TRY_CAST({name} AS HUGEINT) AS VARCHAR) = {name}"
        if "flags" in used:
            number += f" AND NOT coalesce(list_contains({quote('flags')}, '{ID_AS_TEXT}'), FALSE)"
        return f"CASE WHEN {number} THEN {name} ELSE CAST(to_json({name}) AS VARCHAR) END"
    if column.json:
        return name
    match column.sql:
        case "TIMESTAMPTZ":
            return f"""'"' || {_moment(name)} || '"'"""
        case "BIGINT" | "INTEGER" | "BOOLEAN":
            return f"CAST({name} AS VARCHAR)"
        case "DOUBLE":  # JSON has no word for infinity or not-a-number
            whole = f"{name} = trunc({name}) AND abs({name}) < {EXACT_BELOW}"
            return (
                f"CASE WHEN {whole} THEN CAST(CAST({name} AS BIGINT) AS VARCHAR) "
                f"WHEN isfinite({name}) THEN CAST(to_json({name}) AS VARCHAR) END"
            )
        case _:
            return f"CAST(to_json({name}) AS VARCHAR)"


def _moment(name: str) -> str:
    """Return an expression for a time as RFC 3339 in UTC, with as many digits of the second as it needs."""
    return f"replace(CAST(make_timestamp(epoch_us({name})) AS VARCHAR), ' ', 'T') || 'Z'"


def _cell(child: Column | Tree, used: AbstractSet[str]) -> str:
    """Return an expression for a CSV cell: numbers bare, text quoted and never a formula; empty when always null."""
    if not isinstance(child, Column):
        present = _present(child, used)
        if not present:
            return ""
        # An object begins with a brace: never a formula.
        inner = _concat(["'\"'", *_object(child, used, quote_mark='""'), "'\"'"])
        return f"CASE WHEN {present} THEN {inner} END"
    if child.name not in used:
        return ""
    name = quote(child.name)
    if child.sql == "VARCHAR":
        starts = ", ".join(str(ord(start)) for start in FORMULA_STARTS)
        return _quoted(f"CASE WHEN ascii({name}) IN ({starts}) THEN chr(39) || {name} ELSE {name} END")
    if child.sql == "TIMESTAMPTZ":
        return _moment(name)
    if child.sql in _BARE:
        return _text(child, used)
    return _quoted(_text(child, used))


def _quoted(text: str) -> str:
    return f"""'"' || replace({text}, '"', '""') || '"'"""
