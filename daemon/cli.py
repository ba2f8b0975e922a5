"""The command line: finds the command, reads its options, runs it, turns what goes wrong into a message and a code."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from daemon.command import COMMON, EXIT_MEANING, Command, CommandError, Context, Exit
from daemon.terminal import Output, quiet_pipe, safe

# Name and one line each; the rest is in `daemon.commands`, read only when the command is used.
COMMANDS: dict[str, str] = {
    "serve": "follow the log folders, archive every line, answer over HTTP",
    "ingest": "read log files once, straight into sealed files",
    "query": "print events, newest first",
    "export": "write every event that matches as JSON, NDJSON or CSV",
    "sql": "run a SQL statement over the archive, confined",
    "stats": "print the figures of the last hours",
    "tail": "print new events as they appear",
    "seal": "turn what is committed into final files now",
    "verify": "check the archive against its ledger",
    "cleanup": "list, or remove, days of old events",
    "retention": "show how long each class is kept, or lower a minimum age",
    "holds": "keep what matches a filter, whatever its age, until the hold is released",
    "keys": "make, list and revoke the keys that the HTTP side asks for",
    "rules": "say which Sigma rules work here, and how often each would have fired",
    "alerts": "list what rules found and look after it, test a channel, silence alerts, see what waits to be told",
    "exports": "list the daily exports, or write what waits",
    "doctor": "check machine, folders and archive, and say what to do",
    "check-config": "say what is wrong with the settings, or what is in force and why",
    "demo": "see it at work: the daemon and a small application that logs to it",
}

FAILPOINTS_VARIABLE = "WATCHKEEP_FAILPOINTS"  # a test aid: see daemon.failpoints
# The allocators that Arrow brings keep what it frees: `mimalloc` 80 MiB more after a start and up to 140 while Parquet is
# exported, `jemalloc` some 100 more than the system's behind a backlog and in a daemon that exports one form after another.
# The system's costs exports a twentieth more CPU. Arrow reads the variable when it is loaded.
_ALLOCATOR_VARIABLE, _ALLOCATOR = "ARROW_DEFAULT_MEMORY_POOL", "system"
_HEAD = "Watchkeep: an event log that a small team can trust."


class _Parser(argparse.ArgumentParser):
    """Reports mistakes in the words of the other messages."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message, Exit.USAGE, hint=f"see {self.prog} --help")


def main(argv: Sequence[str]) -> int:
    """Run ``watchkeep`` with these arguments and return the exit code."""
    try:
        return _run(list(argv))
    except CommandError as error:
        return _failed(str(error), error.code)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        quiet_pipe()
        return Exit.PIPE
    except Exception as error:
        found = _expected(error)
        if found is None:
            raise
        return _failed(*found)


def _run(argv: list[str]) -> int:
    top = _top()
    given = top.parse_args(argv)
    if given.command is None:
        top.print_help()
        return Exit.USAGE
    if given.command not in COMMANDS:
        close = difflib.get_close_matches(given.command, COMMANDS, n=1)
        meant = f"did you mean {close[0]}?" if close else "see watchkeep --help"
        raise CommandError(f"there is no command {given.command!r}", Exit.USAGE, hint=meant)
    os.environ.setdefault(_ALLOCATOR_VARIABLE, _ALLOCATOR)
    command = command_of(given.command)
    arguments = parser_of(command).parse_args(_joined(command, given.arguments))
    for option in COMMON:
        name = option.names[0].removeprefix("--")
        if not getattr(arguments, name):
            setattr(arguments, name, getattr(given, name))
    output = Output(as_json=arguments.json)
    if plan := os.environ.get(FAILPOINTS_VARIABLE):
        from daemon.failpoints import plant

        plant(plan)
    try:
        return command.run(Context(arguments, os.environ, output))
    finally:
        output.flush()


def command_of(name: str) -> Command:
    """Return a command by its name; its module is imported now."""
    module = importlib.import_module(f"daemon.commands.{name.replace('-', '_')}")
    command: Command = module.COMMAND
    return command


def parser_of(command: Command) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    epilog = (
        "\n".join(["examples:", *(f"  {line}" for line in command.examples)]) if command.examples else None
    )
    parser = _Parser(
        prog=f"watchkeep {command.name}",
        description=command.text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in (*command.options, *COMMON):
        option.add_to(parser)
    return parser


def _joined(command: Command, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with each value that begins with a dash joined to its option: `--since -24h`, `--q -level:info`.

    By itself argparse takes such a value for an option that it does not know.
    """
    options = (*command.options, *COMMON)
    names = {"-h", "--help", "--", *(name for option in options for name in option.names)}
    valued = {name for option in options if option.valued for name in option.names}
    joined: list[str] = []
    for position, word in enumerate(arguments):
        if word == "--":
            return [*joined, *arguments[position:]]
        if joined and joined[-1] in valued and word.startswith("-") and word not in names:
            joined[-1] += f"={word}" if joined[-1].startswith("--") else word
        else:
            joined.append(word)
    return joined


def _top() -> argparse.ArgumentParser:
    longest = max(map(len, COMMANDS))
    lines = ["commands:", *(f"  {name:<{longest}}  {text}" for name, text in COMMANDS.items())]
    lines += ["", "exit codes:", *(f"  {code:<{longest}}  {text}" for code, text in EXIT_MEANING.items())]
    parser = _Parser(
        prog="watchkeep",
        description=_HEAD,
        usage="watchkeep COMMAND [options]   (watchkeep COMMAND --help says more)",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"watchkeep {_Version()}")
    for option in COMMON:
        option.add_to(parser)
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="what to do")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="its options and arguments")
    return parser


class _Version:
    """The version, looked up only when somebody asks."""

    def __format__(self, _spec: str) -> str:
        return version()


def version() -> str:
    """Return the version of this installation."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("watchkeep")
    except PackageNotFoundError:
        return "unknown"


def _expected(error: Exception) -> tuple[str, Exit] | None:
    """Return message and code for what may go wrong without a mistake in the program; None for the rest."""
    from daemon.configerror import ConfigError

    if isinstance(error, ConfigError):
        return str(error), Exit.CONFIG
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}", Exit.ARCHIVE
    from storage.errors import ArchiveError, BusyError, DeadlineError

    if isinstance(error, (DeadlineError, BusyError)):
        return str(error), Exit.DEADLINE
    if isinstance(error, ArchiveError):
        return str(error), Exit.ARCHIVE
    return None


def _failed(message: str, code: Exit) -> int:
    for line in message.splitlines():
        sys.stderr.write(f"watchkeep: {safe(line)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
