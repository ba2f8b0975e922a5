"""Settings from the file: its sections and keys, ``${NAME}`` in its texts, and secrets, which may not stand in it."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from daemon.configerror import did_you_mean
from daemon.draft import FILE_SUFFIX, Draft
from daemon.settings import sections
from daemon.toml import positions

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read_file(file: str, environ: Mapping[str, str], draft: Draft, model: type[BaseModel]) -> None:
    """Collect what a file sets, and all that is wrong with it."""
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
            draft.problem(where, section, "there is no such section", did_you_mean(section, known_sections))
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


def _file_value(spot: _Spot, value: Any, environ: Mapping[str, str], draft: Draft) -> None:
    """Take one value of the file; a secret only as a reference, or from the file that ``<key>_file`` names."""
    key = draft.known.get(spot.dotted)
    secret = draft.known.get(spot.dotted.removesuffix(FILE_SUFFIX)) if key is None else None
    if secret is not None and spot.name.endswith(FILE_SUFFIX) and secret.is_secret:
        draft.set_from_file(secret, str(value), spot.where, spot.folder)
        return
    if key is None:
        names = [known.name for known in draft.known.values() if known.section == spot.section]
        draft.problem(spot.where, spot.dotted, "there is no such key", did_you_mean(spot.name, names))
        return
    missing: list[str] = []
    resolved = _resolved(value, environ, missing)
    for name in missing:
        draft.problem(
            spot.where, spot.dotted, f"the variable {name} is not set", f"set {name}, or write the value"
        )
    if missing:
        return
    if key.is_secret and resolved == value:
        draft.problem(
            spot.where,
            spot.dotted,
            "a secret may not stand in the file",
            f"write ${{NAME}} for a variable, or {spot.name}{FILE_SUFFIX} = a file that holds it",
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
