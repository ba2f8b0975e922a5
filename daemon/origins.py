"""Reads the settings: file, environment, command line; says of every value where it came from, and all that is wrong.

Later ones win: default, file, the original system's variables, ``WATCHKEEP__SECTION__KEY``, command line.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from daemon.marks import FilePath
from daemon.recipients import contradictions
from daemon.settings import Key, Settings, keys, sections

PREFIX = "WATCHKEEP__"
CONFIG_VARIABLE = "WATCHKEEP_CONFIG"
# Where the file is looked for when nobody names one. The shipped file equals the defaults, so having none is fine.
PLACES = ("config.toml", "/etc/watchkeep/config.toml")
DEFAULT = "default"

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_FILE_SUFFIX = "_file"

M = TypeVar("M", bound=BaseModel)


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


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """Settings, the file they were read from (None: defaults), and the origin of each dotted key."""

    settings: M
    file: str | None
    origins: Mapping[str, str]


@dataclass(slots=True)
class _Draft:
    """Values by section, as far as they were collected, and where each came from."""

    known: dict[str, Key]
    tables: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)  # what a relative path of the key counts from
    problems: list[ConfigProblem] = field(default_factory=list)

    def set(self, key: Key, value: Any, origin: str, folder: str) -> None:
        self.tables.setdefault(key.section, {})[key.name] = value
        self.origins[key.dotted] = origin
        self.folders[key.dotted] = folder

    def problem(self, where: str, key: str, what: str, hint: str = "") -> None:
        self.problems.append(ConfigProblem(where, key, what, hint))


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
    draft = _Draft({key.dotted: key for key in keys(model)})
    file = _find(path, environ)
    if file is not None:
        _read_file(file, environ, draft, model)
    _read_originals(environ, draft)
    _read_environment(environ, draft)
    for dotted, value in (overrides or {}).items():
        draft.set(draft.known[dotted], value, "command line", os.getcwd())
    settings = _validated(draft, model)
    if settings is not None and isinstance(settings, Settings):
        draft.problems.extend(_contradictions(settings, draft.origins))
    if draft.problems or settings is None:
        raise ConfigError(tuple(draft.problems))
    return Loaded(settings, file, {dotted: draft.origins.get(dotted, DEFAULT) for dotted in draft.known})


def _find(path: str | None, environ: Mapping[str, str]) -> str | None:
    named = path or environ.get(CONFIG_VARIABLE)
    if named:
        return named
    return next((place for place in PLACES if os.path.isfile(place)), None)


# The file


def _read_file(file: str, environ: Mapping[str, str], draft: _Draft, model: type[BaseModel]) -> None:
    try:
        with open(file, "rb") as stream:
            text = stream.read().decode("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        draft.problem(file, "", f"cannot be read: {error.strerror}", "name another with --config")
        return
    except UnicodeDecodeError as error:
        draft.problem(file, "", f"is not UTF-8 at byte {error.start}", "save it as UTF-8")
        return
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{file}:{line.group(1)}" if line else file
        draft.problem(where, "", f"is no valid TOML: {error}", "strings need quotes, lists need [ ]")
        return
    lines = positions(text)
    folder = os.path.dirname(os.path.abspath(file))
    known_sections = sections(model)
    for section, table in document.items():
        where = f"{file}:{lines.get(section, 1)}"
        if section not in known_sections:
            draft.problem(where, section, "there is no such section", _did_you_mean(section, known_sections))
        elif not isinstance(table, dict):
            draft.problem(where, section, "should be a section", f"write [{section}] and the keys below it")
        else:
            for name, value in table.items():
                where = f"{file}:{lines.get(f'{section}.{name}', 1)}"
                _file_value(_Spot(section, name, where, folder), value, environ, draft)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a value of the file stands."""

    section: str
    name: str
    where: str
    folder: str

    @property
    def dotted(self) -> str:
        return f"{self.section}.{self.name}"


def _file_value(spot: _Spot, value: Any, environ: Mapping[str, str], draft: _Draft) -> None:
    """Take one value of the file; a secret only as a reference, or from the file that ``<key>_file`` names."""
    key = draft.known.get(spot.dotted)
    secret = draft.known.get(spot.dotted.removesuffix(_FILE_SUFFIX)) if key is None else None
    if secret is not None and spot.name.endswith(_FILE_SUFFIX) and _is_secret(secret):
        _secret_file(secret, str(value), spot.where, spot.folder, draft)
        return
    if key is None:
        names = [known.name for known in draft.known.values() if known.section == spot.section]
        draft.problem(spot.where, spot.dotted, "there is no such key", _did_you_mean(spot.name, names))
        return
    missing: list[str] = []
    resolved = _resolved(value, environ, missing)
    for name in missing:
        draft.problem(
            spot.where, spot.dotted, f"the variable {name} is not set", f"set {name}, or write the value"
        )
    if missing:
        return
    if _is_secret(key) and resolved == value:
        draft.problem(
            spot.where,
            spot.dotted,
            "a secret may not stand in the file",
            f"write ${{NAME}} for a variable, or {spot.name}{_FILE_SUFFIX} = a file that holds it",
        )
        return
    draft.set(key, resolved, spot.where, spot.folder)


def _resolved(value: Any, environ: Mapping[str, str], missing: list[str]) -> Any:
    """Return a value with every ``${NAME}`` in its text replaced; names that are not set go to ``missing``."""
    if isinstance(value, str):
        missing.extend(name for name in _REFERENCE.findall(value) if name not in environ)
        return _REFERENCE.sub(lambda match: environ.get(match.group(1), ""), value)
    if isinstance(value, list):
        return [_resolved(item, environ, missing) for item in value]
    if isinstance(value, dict):
        return {name: _resolved(item, environ, missing) for name, item in value.items()}
    return value


def _secret_file(key: Key, named: str, where: str, folder: str, draft: _Draft) -> None:
    path = os.path.join(folder, named)
    try:
        with open(path, encoding="utf-8") as stream:
            draft.set(key, stream.read().strip(), f"{where}, {path}", folder)
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        draft.problem(where, key.dotted + _FILE_SUFFIX, f"{path} cannot be read: {what}")


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


# The environment


def _read_originals(environ: Mapping[str, str], draft: _Draft) -> None:
    for key in draft.known.values():
        if key.original and environ.get(key.original):
            _variable(key, key.original, environ[key.original], draft)


def _read_environment(environ: Mapping[str, str], draft: _Draft) -> None:
    by_variable = {key.variable: key for key in draft.known.values()}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        key = by_variable.get(name)
        secret = by_variable.get(name.removesuffix(_FILE_SUFFIX.upper()))
        if key is not None:
            _variable(key, name, environ[name], draft)
        elif secret is not None and _is_secret(secret):
            _secret_file(secret, environ[name], f"environment {name}", os.getcwd(), draft)
        else:
            where = f"environment {name}"
            draft.problem(where, "", "there is no such setting", _did_you_mean(name, by_variable))


def _variable(key: Key, name: str, text: str, draft: _Draft) -> None:
    draft.set(key, _from_text(key.info.annotation, text), f"environment {name}", os.getcwd())


def _from_text(annotation: Any, text: str) -> Any:
    """Return the value that a variable's text means; what does not fit is left to the validation to report."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if type(None) in options and not text:
        return None
    wanted = next((option for option in options if option is not type(None)), str)
    if wanted is bool:
        lowered = text.strip().lower()
        return True if lowered in _TRUE else False if lowered in _FALSE else text
    if wanted in {int, float}:
        try:
            return wanted(text)
        except ValueError:
            return text
    origin = typing.get_origin(wanted)
    if origin is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if origin in {tuple, dict}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    return text


# Judging


def _validated(draft: _Draft, model: type[BaseModel]) -> BaseModel | None:
    try:
        settings = model.model_validate(draft.tables)
    except ValidationError as error:
        for item in error.errors():
            section, name = (*map(str, item["loc"][:2]), "")[:2]
            dotted = f"{section}.{name}" if name else section
            key = draft.known.get(dotted)
            if key is not None and key.table is not None:
                where = draft.origins.get(dotted, DEFAULT)
                draft.problem(where, *_said_of_table(dotted, item))
                continue
            if item["type"] == "missing":
                draft.problem("settings", dotted, "is needed and not set")
                continue
            secret = key is not None and _is_secret(key)
            draft.problem(draft.origins.get(dotted, DEFAULT), dotted, _said(item, secret=secret), _hint(key))
        return None
    return _placed(settings, draft)


def _said(item: Any, *, secret: bool) -> str:
    """Return pydantic's finding in the words of the other messages."""
    message = str(item["msg"]).removeprefix("Value error, ").replace("Input should", "should")
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


def _placed(settings: BaseModel, draft: _Draft) -> BaseModel:
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
        update.setdefault(key.section, {})[key.name] = (
            tuple(_absolute(folder, item) for item in value)
            if isinstance(value, tuple)
            else _absolute(folder, value)
        )
    tables = {name: getattr(settings, name).model_copy(update=values) for name, values in update.items()}
    return settings.model_copy(update=tables)


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


def _contradictions(settings: Settings, origins: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """Yield what is wrong between keys that are each right alone."""
    archive, log_file = settings.archive.path, settings.daemon.log_file
    at = {name: origins.get(name, DEFAULT) for name in ("archive.path", "daemon.log_file")}
    for folder in settings.logs.directories:
        if _inside(archive, folder):
            yield ConfigProblem(
                at["archive.path"],
                "archive.path",
                f"{archive} lies inside the followed folder {folder}",
                "the daemon would read what it writes: put the archive elsewhere",
            )
        if log_file is not None and _inside(log_file, folder):
            yield ConfigProblem(
                at["daemon.log_file"],
                "daemon.log_file",
                f"{log_file} lies inside the followed folder {folder}",
                "the daemon would read its own log: put it elsewhere",
            )
    yield from _reach_contradictions(settings, origins)
    told = settings.alerts
    for key, what, hint in contradictions(told.channels, told.routes, told.receivers, told.heartbeat):
        origin = origins.get(key.split(" ")[0], DEFAULT)
        yield ConfigProblem(origin, key, what, hint)
    yield from _export_contradictions(settings, origins.get("archive.exports", DEFAULT))


def _reach_contradictions(settings: Settings, origins: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """Yield what is wrong with a proxy that names users."""
    web = settings.web
    if web.trusted_header is not None:
        at = origins.get("web.trusted_header", DEFAULT)
        if not web.trusted_proxies:
            hint = "name the proxy in trusted_proxies: from anybody else the header must not count"
            yield ConfigProblem(at, "web.trusted_header", "no proxy is trusted", hint)
        if not web.trusted_roles:
            hint = 'give trusted_roles, for example { "*" = "viewer", "@ops" = "admin" }'
            yield ConfigProblem(at, "web.trusted_header", "nobody that it names has a role", hint)
    for name in ("trusted_groups_header", "trusted_roles"):
        if getattr(web, name) and web.trusted_header is None:
            at = origins.get(f"web.{name}", DEFAULT)
            yield ConfigProblem(
                at, f"web.{name}", "it needs trusted_header", "name the header that names the user"
            )


def _export_contradictions(settings: Settings, origin: str) -> Iterator[ConfigProblem]:
    """Yield what is wrong with exports: a filter that cannot be used, a folder that the daemon reads or manages."""
    for number, export in enumerate(settings.archive.exports, 1):
        key = f"archive.exports #{number}"
        if _inside(export.folder, settings.archive.path):
            yield ConfigProblem(
                origin, f"{key} folder", f"{export.folder} lies inside the archive", "put it elsewhere"
            )
        for folder in settings.logs.directories:
            if _inside(export.folder, folder):
                what = f"{export.folder} lies inside the followed folder {folder}"
                yield ConfigProblem(
                    origin, f"{key} folder", what, "the daemon would read what it exports: put it elsewhere"
                )
        # Filters know the columns, which take a quarter of a second to import: only for those who have exports.
        from daemon.wanted import wanted
        from parsers.fields import TIMESTAMP
        from storage.filters import FilterError

        for name in ("start_date", "end_date"):
            if name in export.filter:
                yield ConfigProblem(
                    origin, f"{key} filter", f"{name} is not for exports", "each day is one export"
                )
        try:
            found, _scope = wanted(export.filter, now_us=0)
        except FilterError as error:
            yield ConfigProblem(origin, f"{key} filter {error.field}", error.what, error.hint)
        else:
            # A time in a search would be a range, or hide somewhere in the expression.
            timed = TIMESTAMP in found.names or found.start_us is not None or found.end_us is not None
            if "q" in export.filter and timed:
                yield ConfigProblem(
                    origin, f"{key} filter q", "a time is not for exports", "each day is one export"
                )


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), os.path.realpath(folder)]) == os.path.realpath(folder)


def _is_secret(key: Key) -> bool:
    annotation = key.info.annotation
    return annotation is SecretStr or SecretStr in typing.get_args(annotation)


def _did_you_mean(name: str, names: Any) -> str:
    candidates = list(names)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(candidates)}"


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
