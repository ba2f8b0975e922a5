"""The lists of tables in the file: `[[retention.classes]]`, `[[archive.exports]]`, `[[risk.base]]` and `[[rules.sources]]`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daemon.marks import FilePath, Names, Section, as_tuple

# Spelled here as well as in `storage.retention`, which would bring pyarrow with it; a test holds them equal.
BUILT_IN_CLASSES = ("default", "internal", "rejects")
_NAME = r"^[a-z0-9][a-z0-9_-]{0,30}$"
MOST_DAYS = 36_500


class RetentionClass(Section):
    """How long events of some categories stay."""

    name: str = Field(
        pattern=_NAME,
        description="Name of the class: lower-case letters, digits, `-`, `_`; part of file names. `default`, `internal` (the daemon's own events) and `rejects` exist without being written down; write them to change their ages.",
    )
    categories: Names = Field(
        default=(),
        description="Categories whose events belong to it, exactly as they are in the archive. None for the three names above.",
    )
    minimum_days: int = Field(
        default=0,
        ge=0,
        le=MOST_DAYS,
        description="Age in days below which nothing removes an event: a lock that `watchkeep retention lower` alone opens.",
    )
    maximum_days: int | None = Field(
        default=None,
        ge=0,
        le=MOST_DAYS,
        description="Age in days above which whole days are removed; 0 keeps them all. Not set: `event_days`, or the minimum if that is more.",
    )

    @model_validator(mode="after")
    def _agrees(self) -> RetentionClass:
        if self.name in BUILT_IN_CLASSES and self.categories:
            raise ValueError(
                f"{self.name!r} has its events by itself and takes no categories: choose another name for these"
            )
        if self.name not in BUILT_IN_CLASSES and not self.categories:
            raise ValueError(f"{self.name!r} names no categories: no event would belong to it")
        if self.maximum_days and self.maximum_days < self.minimum_days:
            raise ValueError(
                f"{self.name!r} must keep {self.minimum_days} days and may keep only {self.maximum_days}: "
                "raise maximum_days or lower minimum_days"
            )
        return self


def _apart(classes: tuple[RetentionClass, ...]) -> tuple[RetentionClass, ...]:
    _once([item.name for item in classes], "two classes are called")
    _once(
        [category for item in classes for category in item.categories],
        "an event belongs to one class, and two of them name the category",
    )
    return classes


def _once(names: list[str], what: str) -> None:
    twice = [name for name, amount in Counter(names).items() if amount > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r}")


def _texts(value: Any) -> Any:
    """Accept one value as a list of one, and numbers as they are written."""
    if not isinstance(value, dict):
        return value
    lists = {name: given if isinstance(given, list) else [given] for name, given in value.items()}
    return {name: tuple(_text(item) for item in given) for name, given in lists.items()}


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


class DailyExport(Section):
    """A copy of each finished day, written once."""

    name: str = Field(
        pattern=_NAME,
        description="Name of the export; its files and the ledger's records carry it. An export under another name begins anew.",
    )
    folder: Annotated[str, FilePath()] = Field(
        min_length=1, description="Folder to write to; it is made if it is missing."
    )
    format: Literal["json", "ndjson", "csv", "parquet", "arrow"] = Field(
        default="ndjson", description="`json`, `ndjson`, `csv`, `parquet` or `arrow` (its stream format)."
    )
    filter: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_texts)] = Field(
        default={},
        description="Which events: names and values as in the API's filters, without dates. Not set: all but the daemon's own.",
    )
    hour: int = Field(default=2, ge=0, le=23, description="Hour of the day (UTC) from which it is written.")
    after_days: int = Field(
        default=1, ge=1, le=365, description="How many days after its beginning a day counts as finished."
    )


def _distinct(exports: tuple[DailyExport, ...]) -> tuple[DailyExport, ...]:
    _once([item.name for item in exports], "two exports are called")
    return exports


class BaseRow(Section):
    """Points for events of one kind."""

    points: float = Field(ge=0, le=100, description="Chance in percent that something is wrong.")
    category: str | None = Field(default=None, description="Category of the event; not set: any.")
    action: str | None = Field(default=None, description="Action of the event; not set: any.")
    outcome: str | None = Field(default=None, description="Outcome of the event; not set: any.")
    level: str | None = Field(default=None, description="Level of the event; not set: any.")


def _search(value: str) -> str:
    """Accept a search, without times that move."""
    from parsers.grammar import parse

    if parse(value).moving:  # GrammarError is a ValueError and says where
        raise ValueError(f"{value!r} means something else later: leave relative times out")
    return value


class RuleSource(Section):
    """Which events are of a log source that rules name."""

    product: str | None = Field(default=None, description="`product` of the rules meant; not set: any.")
    category: str | None = Field(default=None, description="`category` of the rules meant; not set: any.")
    service: str | None = Field(default=None, description="`service` of the rules meant; not set: any.")
    events: Annotated[str, AfterValidator(_search)] = Field(
        default="", description="The events, as a search (`q` of the API). Not set: all."
    )


RuleSources = Annotated[tuple[RuleSource, ...], BeforeValidator(as_tuple)]
BaseRows = Annotated[tuple[BaseRow, ...], BeforeValidator(as_tuple)]
Classes = Annotated[tuple[RetentionClass, ...], BeforeValidator(as_tuple), AfterValidator(_apart)]
Exports = Annotated[tuple[DailyExport, ...], BeforeValidator(as_tuple), AfterValidator(_distinct)]
