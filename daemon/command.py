"""What a command is made of: its options as a table, what it is given when it runs, and how it may end.

Each command is one file in `daemon.commands`; `daemon.cli` builds the parser from these tables and
`daemon.reference` writes `docs/cli.md` from them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from daemon.terminal import Output

if TYPE_CHECKING:  # reading settings takes longer than `--help` may
    from daemon.origins import Loaded
    from daemon.settings import Settings


class Exit(IntEnum):
    """Exit codes of every command; part of the contract."""

    OK = 0
    FOUND = 1
    USAGE = 2
    CONFIG = 3
    ARCHIVE = 4
    UNREACHABLE = 5
    DEADLINE = 6
    INTERRUPTED = 130
    PIPE = 141


EXIT_MEANING: dict[Exit, str] = {
    Exit.OK: "done, and nothing is wrong",
    Exit.FOUND: "the command ran and found something wrong: a check failed, a file was left out",
    Exit.USAGE: "the command line is not understood",
    Exit.CONFIG: "the settings cannot be used; `watchkeep check-config` says why",
    Exit.ARCHIVE: "the archive or a file cannot be used: missing, locked by another process, damaged, disk full",
    Exit.UNREACHABLE: "the running daemon does not answer, or something needed is not there",
    Exit.DEADLINE: "the answer took longer than its deadline, or needed more memory than it may use",
    Exit.INTERRUPTED: "stopped with Ctrl-C",
    Exit.PIPE: "the reader of the output went away",
}


class CommandError(Exception):
    """A command cannot go on: what, the exit code, and what to do about it."""

    def __init__(self, what: str, code: Exit, *, hint: str = "") -> None:
        super().__init__(f"{what}: {hint}" if hint else what)
        self.code = code


@dataclass(frozen=True, slots=True)
class Option:
    """One option or argument. ``value`` names its value in the help; an option without one is a switch.

    A name without dashes is an argument; ``many`` lets it be given more than once.
    """

    names: tuple[str, ...]
    help: str
    value: str | None = None
    kind: Callable[[str], Any] = str
    default: Any = None
    choices: tuple[str, ...] | None = None
    many: bool = False
    needed: bool = True  # arguments only

    @property
    def positional(self) -> bool:
        """Whether it is an argument."""
        return not self.names[0].startswith("-")

    @property
    def valued(self) -> bool:
        """Whether it is an option that a value follows."""
        return not self.positional and (self.value is not None or self.choices is not None)

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Teach a parser this option."""
        given: dict[str, Any] = {"help": self.help.replace("%", "%%"), "default": self.default}
        if self.positional:
            given |= {"type": self.kind, "metavar": self.value, "choices": self.choices}
            if self.many:
                given["nargs"] = "+" if self.needed else "*"
            elif not self.needed:
                given["nargs"] = "?"
        elif not self.valued:
            given["action"] = "store_true"
            given["default"] = self.default if self.default is not None else False
        else:
            given |= {"type": self.kind, "metavar": self.value, "choices": self.choices}
            if self.many:
                given |= {"action": "append", "default": self.default or []}
        parser.add_argument(*self.names, **given)


# Every command has these, before or behind its name.
COMMON: tuple[Option, ...] = (
    Option(("--config",), "file with the settings (default: see docs/configuration.md)", "FILE"),
    Option(("--archive",), "folder of the archive, instead of the one in the settings", "FOLDER"),
    Option(("--json",), "print JSON: one object a line for lists, one object otherwise"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``text`` says what it does, ``run`` does it and returns an exit code."""

    name: str
    text: str
    options: tuple[Option, ...]
    run: Callable[[Context], int]
    examples: tuple[str, ...] = ()


@dataclass
class Context:
    """What a command is given. Settings are read when first asked for."""

    arguments: argparse.Namespace
    environ: Mapping[str, str]
    output: Output
    overrides: dict[str, Any] = field(default_factory=dict)  # dotted keys that options of the command set

    def load(self) -> Loaded[Settings]:
        """Read the settings now; ConfigError says everything that is wrong."""
        from daemon.origins import load

        given = dict(self.overrides)
        if self.arguments.archive:
            given["archive.path"] = self.arguments.archive
        return load(self.arguments.config, self.environ, overrides=given)

    @cached_property
    def loaded(self) -> Loaded[Settings]:
        """The settings with their origins."""
        return self.load()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    @property
    def control_socket(self) -> str:
        """Where a running daemon of this archive listens for commands."""
        from storage.layout import Layout

        return Layout(self.settings.archive.path, self.settings.archive.node).control_socket


def folder(text: str) -> str:
    """Return an existing folder's path, for options; argparse reports the message."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return text


def positive(text: str) -> int:
    """Return a whole number of at least 1, for options."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return number


def seconds(text: str) -> float:
    """Return a number of seconds above 0, for options."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number
