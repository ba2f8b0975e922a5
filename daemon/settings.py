"""All settings, and what can be asked of each: its section, its variable, whether a change takes effect at once.

The models of the sections are in `daemon.sections`, each in the module of its name. `daemon.origins` reads them from a
file and the environment, `daemon.options` turns them into the options of each part, `daemon.reference` writes
`config.toml` and `docs/configuration.md` from them. Nothing else lists settings.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from daemon.marks import FilePath, Live, Original, Section
from daemon.sections.alerts import Alerts
from daemon.sections.archive import Archive
from daemon.sections.daemon import Daemon
from daemon.sections.logs import Logs
from daemon.sections.places import Places
from daemon.sections.query import Query
from daemon.sections.redaction import Redaction
from daemon.sections.retention import Retention
from daemon.sections.risk import Risk
from daemon.sections.rules import Rules
from daemon.sections.sql import Sql
from daemon.sections.web import Web


class Settings(Section):
    """All settings."""

    logs: Logs = Logs()
    archive: Archive = Archive()
    query: Query = Query()
    sql: Sql = Sql()
    web: Web = Web()
    retention: Retention = Retention()
    redaction: Redaction = Redaction()
    places: Places = Places()
    risk: Risk = Risk()
    rules: Rules = Rules()
    alerts: Alerts = Alerts()
    daemon: Daemon = Daemon()


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its section, name and field."""

    section: str
    name: str
    info: FieldInfo

    @property
    def dotted(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"WATCHKEEP__{self.section}__{self.name}".upper()

    @property
    def live(self) -> bool:
        """Whether a change takes effect on SIGHUP."""
        return any(isinstance(mark, Live) for mark in self.info.metadata)

    @property
    def table(self) -> type[BaseModel] | None:
        """The model of each table, for a key that is a list of tables (`[[section.name]]`)."""
        inner = typing.get_args(self.info.annotation)
        first = inner[0] if typing.get_origin(self.info.annotation) is tuple else None
        return first if isinstance(first, type) and issubclass(first, BaseModel) else None

    @property
    def is_path(self) -> bool:
        """Whether the value is a path, or paths."""
        return any(isinstance(mark, FilePath) for mark in self.info.metadata)

    @property
    def is_secret(self) -> bool:
        """Whether the value is shown to nobody and may not stand in the file."""
        annotation = self.info.annotation
        return annotation is SecretStr or SecretStr in typing.get_args(annotation)

    @property
    def original(self) -> str | None:
        """The original system's variable, if it had one."""
        return next((mark.name for mark in self.info.metadata if isinstance(mark, Original)), None)


def sections(model: type[BaseModel] = Settings) -> dict[str, type[BaseModel]]:
    """Return the sections of a settings model, in order."""
    return {
        name: info.annotation
        for name, info in model.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }


def keys(model: type[BaseModel] = Settings) -> Iterator[Key]:
    """Yield every setting of a model, in the order of the file."""
    for section, table in sections(model).items():
        own = table.__annotations__  # what a section has of its own stands before what it inherits
        for name in sorted(table.model_fields, key=lambda name: name not in own):
            yield Key(section, name, table.model_fields[name])


@dataclass(frozen=True, slots=True)
class Reload:
    """What a new reading of the settings means for a running daemon."""

    settings: Settings  # the running ones with every live key renewed
    applied: tuple[str, ...]  # dotted keys that changed and took effect
    restart: tuple[str, ...]  # dotted keys that changed and wait for a restart


def reloadable(old: Settings, new: Settings) -> Reload:
    """Return what of ``new`` a daemon that runs with ``old`` can take over at once."""
    renewed: dict[str, dict[str, Any]] = {}
    restart: list[str] = []
    for key in keys():
        before = getattr(getattr(old, key.section), key.name)
        after = getattr(getattr(new, key.section), key.name)
        if before == after:
            continue
        if key.live:
            renewed.setdefault(key.section, {})[key.name] = after
        else:
            restart.append(key.dotted)
    tables = {name: getattr(old, name).model_copy(update=changes) for name, changes in renewed.items()}
    applied = tuple(f"{section}.{name}" for section, changes in renewed.items() for name in changes)
    return Reload(old.model_copy(update=tables), applied, tuple(restart))
