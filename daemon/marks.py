"""What a setting's field is made of: the base of every table of the file, marks, and values as people write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

MEBIBYTE = 1 << 20
NAME = r"^[a-z0-9][a-z0-9_-]{0,30}$"  # of a table of a list, such as a channel


@dataclass(frozen=True, slots=True)
class Live:
    """Marks a key whose change takes effect on SIGHUP; all others need a restart."""


@dataclass(frozen=True, slots=True)
class FilePath:
    """Marks a path (or paths): a relative one counts from the folder of the file that sets it."""


@dataclass(frozen=True, slots=True)
class Original:
    """The variable of the original system that sets the key too."""

    name: str


def as_tuple(value: Any) -> Any:
    """Return a list of the file as the tuple that a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


def once(names: Sequence[str], what: str) -> None:
    """Raise ValueError with the words of ``what`` if one of the names is there twice."""
    twice = [name for name, amount in Counter(names).items() if amount > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r}")


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=False)
