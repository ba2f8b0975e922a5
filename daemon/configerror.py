"""What is wrong with the settings, all of it at once, each with where it stands and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong: where (``file:line`` or a variable), which key, what, and what to do about it."""

    where: str
    key: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.where}:{key} {self.what}{hint}"


class ConfigError(Exception):
    """The settings cannot be used; ``problems`` holds everything that is wrong, not only the first."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the hint for a name that there is not: the one it resembles, or else all there are."""
    candidates = list(names)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(candidates)}"
