"""The section `[redaction]`: which values are replaced before anything is stored or shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from daemon.marks import Names, Section
from parsers.redact import DEFAULT_KEYS, RULES


def _known_rules(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in value if name not in RULES]
    if unknown:
        raise ValueError(f"no rule is called {unknown[0]!r}: there are {', '.join(RULES)}")
    return value


class Redaction(Section):
    """Which values are replaced by `[redacted]` before anything is stored or shown."""

    enabled: bool = Field(default=True, description="Whether values are replaced at all.")
    keys: Names = Field(
        default=DEFAULT_KEYS,
        description="Fields whose value is replaced, wherever they stand: those whose name ends so, in any case; a space stands for `_`, `-`, `.` or nothing.",
    )
    rules: Annotated[Names, AfterValidator(_known_rules)] = Field(
        default=RULES,
        description="What is looked for: `key` by the names above, the others by shape in any text.",
    )
