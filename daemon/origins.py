"""Reads the settings: file, environment, command line; says of every value where it came from, and all that is wrong.

Later ones win: default, file, the original system's variables, ``WATCHKEEP__SECTION__KEY``, command line.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from daemon.configerror import ConfigError
from daemon.configfile import read_file
from daemon.contradictions import contradictions
from daemon.draft import Draft
from daemon.marks import FilePath
from daemon.settings import Key, Settings, keys
from daemon.toml import spelled
from daemon.variables import read_originals, read_variables

CONFIG_VARIABLE = "WATCHKEEP_CONFIG"
# Where the file is looked for when nobody names one. The shipped file equals the defaults, so having none is fine.
PLACES = ("config.toml", "/etc/watchkeep/config.toml")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """Settings, the file they were read from (None: defaults), and the origin of each dotted key."""

    settings: M
    file: str | None
    origins: Mapping[str, str]


@typing.overload
def load(
    path: str | None, environ: Mapping[str, str], *, overrides: Mapping[str, Any] | None = None
) -> Loaded[Settings]: ...
@typing.overload
def load(
    path: str | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, Any] | None = None,
    model: type[M],
) -> Loaded[M]: ...
def load(
    path: str | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, Any] | None = None,
    model: type[Any] = Settings,
) -> Loaded[Any]:
    """Return the settings in force; ``path`` None looks in the usual places, ``overrides`` are by dotted key.

    Raises ConfigError with every problem at once.
    """
    draft = Draft({key.dotted: key for key in keys(model)})
    file = _find(path, environ)
    if file is not None:
        read_file(file, environ, draft, model)
    read_originals(environ, draft)
    read_variables(environ, draft)
    for dotted, value in (overrides or {}).items():
        draft.set(draft.known[dotted], value, "command line", os.getcwd())
    settings = _validated(draft, model)
    if settings is not None and isinstance(settings, Settings):
        draft.problems.extend(contradictions(settings, draft.origin))
    if draft.problems or settings is None:
        raise ConfigError(tuple(draft.problems))
    return Loaded(settings, file, {dotted: draft.origin(dotted) for dotted in draft.known})


def _find(path: str | None, environ: Mapping[str, str]) -> str | None:
    named = path or environ.get(CONFIG_VARIABLE)
    if named:
        return named
    return next((place for place in PLACES if os.path.isfile(place)), None)


def _validated(draft: Draft, model: type[BaseModel]) -> BaseModel | None:
    try:
        settings = model.model_validate(draft.tables)
    except ValidationError as error:
        for item in error.errors():
            section, name = (*map(str, item["loc"][:2]), "")[:2]
            dotted = f"{section}.{name}" if name else section
            key = draft.known.get(dotted)
            if key is not None and key.table is not None:
                where = draft.origin(dotted)
                draft.problem(where, *_said_of_table(dotted, item))
                continue
            if item["type"] == "missing":
                draft.problem("settings", dotted, "is needed and not set")
                continue
            secret = key is not None and key.is_secret
            draft.problem(draft.origin(dotted), dotted, _said(item, secret=secret), _hint(key))
        return None
    return _placed(settings, draft)


# Pydantic names Python's types; the file has lists and tables.
_WORDS = (
    (r"Tuple should have (at least \d+ item)s? after validation, not \d+", r"should have \1"),
    (r"a valid tuple", "a list"),
    (r"a valid dictionary(?: or instance of \w+)?", "a table"),
)


def _said(item: Any, *, secret: bool) -> str:
    """Return pydantic's finding in the words of the other messages."""
    message = str(item["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    for pythons, ours in _WORDS:
        message = re.sub(pythons, ours, message)
    given = "" if secret or item["type"] == "value_error" else f", not {item['input']!r}"
    return message + given


def _said_of_table(dotted: str, item: Any) -> tuple[str, str]:
    """Return where in a list of tables something is wrong, counted from 1, and what."""
    place = "".join(f" #{part + 1}" if isinstance(part, int) else f" {part}" for part in item["loc"][2:])
    match item["type"]:
        case "missing":
            said = "is needed and not set"
        case "extra_forbidden":
            said = "there is no such key"
        case "string_pattern_mismatch":
            said = f"{item['input']!r} should be lower-case letters, digits, '-' and '_', at most 31, a letter or digit first"
        case _:
            said = _said(item, secret=False)
    return f"{dotted}{place}", said


def _hint(key: Key | None) -> str:
    if key is None:
        return ""
    default = key.info.get_default()
    return f"default {spelled(default)}" if default is not None else "leave it out to turn it off"


def _placed(settings: BaseModel, draft: Draft) -> BaseModel:
    """Return the settings with absolute paths; a relative one counts from the folder of the file that sets it."""
    update: dict[str, dict[str, Any]] = {}
    for key in draft.known.values():
        value = getattr(getattr(settings, key.section), key.name)
        folder = draft.folders.get(key.dotted, os.getcwd())
        if key.table is not None:
            update.setdefault(key.section, {})[key.name] = tuple(
                _placed_table(item, folder) for item in value
            )
        if not key.is_path or value is None:
            continue
        update.setdefault(key.section, {})[key.name] = _placed_value(value, folder)
    tables = {name: getattr(settings, name).model_copy(update=values) for name, values in update.items()}
    return settings.model_copy(update=tables)


def _placed_value(value: Any, folder: str) -> Any:
    """Return a path, or a list of them, or a table whose keys are paths, absolute."""
    if isinstance(value, dict):
        return {_absolute(folder, name): item for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_absolute(folder, item) for item in value)
    return _absolute(folder, value)


def _placed_table(table: BaseModel, folder: str) -> BaseModel:
    """Return one table of a list with its paths absolute."""
    update = {
        name: _absolute(folder, getattr(table, name))
        for name, info in type(table).model_fields.items()
        if any(isinstance(mark, FilePath) for mark in info.metadata) and getattr(table, name) is not None
    }
    return table.model_copy(update=update)


def _absolute(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
