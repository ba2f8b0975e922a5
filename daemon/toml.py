"""What the standard library does not tell of TOML: on which line something stands, and how a value is spelled."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr


def positions(text: str) -> dict[str, int]:
    """Return the line, from 1, of every dotted section and key of a valid TOML text."""
    found: dict[str, int] = {}
    prefix: tuple[str, ...] = ()
    pending, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first if pending else number
        pending += line + "\n"
        try:
            # Alone, a statement is valid as soon as it is complete: that is how lists over several lines end.
            statement = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        header = pending.lstrip().startswith("[")
        pending = ""
        for path in _paths(statement):
            found.setdefault(".".join(path if header else (*prefix, *path)), first)
            if header:
                prefix = path
    return found


def _paths(statement: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(statement, list):
        statement = statement[0] if statement else None
    if not isinstance(statement, dict):
        return
    for name, value in statement.items():
        yield (name,)
        yield from ((name, *rest) for rest in _paths(value))


def spelled(value: Any) -> str:
    """Return a value as TOML spells it; a secret is not shown, None is ``not set``."""
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return '"[secret]"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(spelled(item) for item in value)}]"
    if isinstance(value, BaseModel):
        return spelled(value.model_dump(exclude_none=True))
    if isinstance(value, dict):
        inner = ", ".join(f"{spelled(name)} = {spelled(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    escaped = "".join(
        f"\\{char}" if char in '"\\' else char if char.isprintable() else f"\\u{ord(char):04X}"
        for char in str(value)
    )
    return f'"{escaped}"'
