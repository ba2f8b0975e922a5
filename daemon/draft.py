"""Settings while they are collected: the last value of each key so far, where it came from, and what is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from daemon.configerror import ConfigProblem
from daemon.settings import Key

DEFAULT = "default"
FILE_SUFFIX = "_file"  # behind a secret's key: the name of a file that holds it


@dataclass(slots=True)
class Draft:
    """Values by section, as far as they were collected, and where each came from."""

    known: dict[str, Key]
    tables: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)  # what a relative path of the key counts from
    problems: list[ConfigProblem] = field(default_factory=list)

    def set(self, key: Key, value: Any, origin: str, folder: str) -> None:
        """Take a value; a later one takes its place."""
        self.tables.setdefault(key.section, {})[key.name] = value
        self.origins[key.dotted] = origin
        self.folders[key.dotted] = folder

    def problem(self, where: str, key: str, what: str, hint: str = "") -> None:
        """Note something that is wrong."""
        self.problems.append(ConfigProblem(where, key, what, hint))

    def set_from_file(self, key: Key, named: str, where: str, folder: str) -> None:
        """Take a secret from the file that holds it."""
        path = os.path.join(folder, named)
        try:
            with open(path, encoding="utf-8") as stream:
                self.set(key, stream.read().strip(), f"{where}, {path}", folder)
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            self.problem(where, key.dotted + FILE_SUFFIX, f"{path} cannot be read: {what}")

    def origin(self, dotted: str) -> str:
        """Return where the value of a key came from."""
        return self.origins.get(dotted, DEFAULT)
