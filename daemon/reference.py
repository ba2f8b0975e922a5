"""Writes what documents the settings and the command line: `config.toml`, `docs/configuration.md`, `docs/cli.md`.

`python -m daemon.reference` writes them again; with ``--check`` it only says which of them are out of date.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt

from daemon.cli import COMMANDS, command_of
from daemon.command import COMMON, EXIT_MEANING, Option
from daemon.settings import Key, keys, sections
from daemon.toml import spelled

ROOT = Path(__file__).resolve().parent.parent
_WIDTH = 110

_INTRODUCTION = """\
# Configuration

This page and `config.toml` are written by `python -m daemon.reference` from the models in `daemon/sections/`.

A value comes from the last of these that sets it:

1. the default below;
2. the file: the one that `--config FILE` or the variable `WATCHKEEP_CONFIG` names, else `config.toml` in the working
   folder, else `/etc/watchkeep/config.toml`, else none;
3. the variables of the original system (`LOG_LEVEL`, `LOG_FILE_RETENTION_DAYS`, `EVENT_CLEANUP_DAYS`,
   `EVENT_PAGINATION_LIMIT`, `STATISTICS_CACHE_SECONDS`), where the tables name one;
4. the variable `WATCHKEEP__SECTION__KEY`: `WATCHKEEP__WEB__PORT=8080` sets `port` of `[web]`. Lists are separated by
   commas, or written as in TOML;
5. the command line, where a command has an option for it (`--archive`).

`watchkeep check-config` prints everything that is wrong, with file, line, key and what to do, or every value with its
origin.

- Relative paths count from the folder of the file that sets them; those of variables and defaults from the working folder.
- `${NAME}` in a text of the file stands for the environment variable of that name; it is an error if that is not set.
- A secret never stands in the file: it is given as `${NAME}`, or as `<key>_file`, the name of a file that holds it.
  (No setting of this release is a secret.)
- On SIGHUP the daemon reads the file again. Keys marked *live* take effect at once. Of others it says in its log that
  they wait for a restart. A file with an error changes nothing.
"""

_HEAD = (
    "# Watchkeep's settings, with their defaults: deleting any line of this file changes nothing.\n"
    "# The environment variable WATCHKEEP__SECTION__KEY overrides a key; `watchkeep check-config` shows what is in force.\n"
    "# Relative paths count from the folder of this file. docs/configuration.md has the limits of each key.\n"
)


def config_toml() -> str:
    """Return the text of the shipped `config.toml`: every key with its default and its meaning."""
    parts = [_HEAD]
    for section, table in sections().items():
        parts.append(f"\n# {table.__doc__}\n[{section}]\n")
        parts.extend(_entry(key) for key in keys() if key.section == section)
    return "".join(parts)


def _entry(key: Key) -> str:
    comment = textwrap.fill(
        key.info.description or "",
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
    if key.table is not None:
        return f"{comment}\n{_example(key)}"
    default = key.info.get_default()
    example = f"# {key.name} = {spelled((key.info.examples or [''])[0])}"
    line = example if default is None else f"{key.name} = {spelled(default)}"
    return f"{comment}\n{line}\n"


def _example(key: Key, mark: str = "# ") -> str:
    """Return an example of a list of tables as it stands in the file."""
    lines = [f"[[{key.dotted}]]"]
    lines += [f"{name} = {spelled(value)}" for name, value in (key.info.examples or [{}])[0].items()]
    return "".join(f"{mark}{line}\n" for line in lines)


def configuration_markdown() -> str:
    """Return the text of `docs/configuration.md`."""
    parts = [_INTRODUCTION]
    for section, table in sections().items():
        parts.append(f"\n## [{section}]\n\n{table.__doc__}\n")
        parts.extend(
            f"\n### `{key.name}`\n\n{key.info.description}\n\n{_facts(key)}\n{_tables(key)}"
            for key in keys()
            if key.section == section
        )
    return "".join(parts)


def _facts(key: Key) -> str:
    default = key.info.get_default()
    facts = ["Not set by default" if default is None else f"Default `{spelled(default)}`", *_limits(key)]
    facts.append(f"variable `{key.variable}`")
    if key.original:
        facts.append(f"also `{key.original}`")
    facts.append("*live*" if key.live else "needs a restart")
    return "; ".join(facts) + "."


def _tables(key: Key) -> str:
    """Return the keys of each table, for a list of tables, and an example."""
    if key.table is None:
        return ""
    rows = [
        f"| `{name}` | {'needed' if info.is_required() else f'`{spelled(info.get_default())}`'} | {info.description} |\n"
        for name, info in key.table.model_fields.items()
    ]
    head = "\n| key | default | meaning |\n|---|---|---|\n"
    return f"{head}{''.join(rows)}\n```toml\n{_example(key, '')}```\n"


_BOUNDS: tuple[tuple[type, str, str], ...] = (
    (Ge, "ge", "at least {}"),
    (Gt, "gt", "above {}"),
    (Le, "le", "at most {}"),
    (Lt, "lt", "below {}"),
)


def _limits(key: Key) -> list[str]:
    return [
        words.format(spelled(getattr(mark, name)))
        for kind, name, words in _BOUNDS
        for mark in key.info.metadata
        if isinstance(mark, kind)
    ]


_CLI_INTRODUCTION = """\
# The command line

This page is written by `python -m daemon.reference` from the tables in `daemon/commands/`.

`watchkeep COMMAND --help` says the same. Options stand before or behind the command. What a command prints as data
(`query`, `tail`, `stats`, `sql`) is a table or text on a terminal, and JSON, one object a line, in a pipe or file.
Reports (`check-config`, `doctor`, `verify`, `ingest`, `seal`, `cleanup`) are text unless `--json` is given. Control
characters in event data are shown as escapes on a terminal and never reach it.

A running daemon is asked by `query`, `export`, `stats` and `tail` over HTTP, so its newest lines are among the answers,
and by `seal` and `cleanup` over its control socket. Without one these commands read the committed files, or take the
archive's lock for what they change.
"""


def cli_markdown() -> str:
    """Return the text of `docs/cli.md`."""
    parts = [_CLI_INTRODUCTION, "\n## Exit codes\n\n| code | meaning |\n|---|---|\n"]
    parts.extend(f"| {int(code)} | {meaning} |\n" for code, meaning in EXIT_MEANING.items())
    parts.append("\n## Options of every command\n\n" + _options_table(COMMON))
    for name in COMMANDS:
        command = command_of(name)
        parts.append(f"\n## `{name}`\n\n{command.text}\n\n")
        if command.options:
            parts.append(_options_table(command.options) + "\n")
        parts.append("```\n" + "".join(f"{line}\n" for line in command.examples) + "```\n")
    return "".join(parts)


def _options_table(options: Sequence[Option]) -> str:
    rows = [f"| {_spelling(option)} | {_cell(option.help)} |\n" for option in options]
    return "| option | meaning |\n|---|---|\n" + "".join(rows)


def _spelling(option: Option) -> str:
    if option.positional:
        return f"`{option.value}`{' …' if option.many else ''}"
    names = ", ".join(f"`{name}`" for name in option.names)
    return f"{names} {option.value}" if option.value else names


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


DOCUMENTS: dict[str, Callable[[], str]] = {
    "config.toml": config_toml,
    "docs/configuration.md": configuration_markdown,
    "docs/cli.md": cli_markdown,
}


def outdated() -> list[str]:
    """Return the documents that do not say what the code says."""
    return [
        name
        for name, text in DOCUMENTS.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text(encoding="utf-8") != text()
    ]


def main(arguments: list[str]) -> int:
    """Write the documents, or with ``--check`` name those that are out of date and return 1."""
    parser = argparse.ArgumentParser(prog="python -m daemon.reference", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a document is out of date"
    )
    options: Any = parser.parse_args(arguments)
    names = outdated()
    for name in names:
        if options.check:
            sys.stderr.write(f"{name} is out of date: run python -m daemon.reference\n")
        else:
            (ROOT / name).write_text(DOCUMENTS[name](), encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
    return 1 if options.check and names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
