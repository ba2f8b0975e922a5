"""The section `[archive]`: where events are kept, when they become durable, and the copies that are made of days."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from daemon.marks import MEBIBYTE, NAME, FilePath, Section, as_tuple, once
from storage.layout import valid_node


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
        pattern=NAME,
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
    once([item.name for item in exports], "two exports are called")
    return exports


Exports = Annotated[tuple[DailyExport, ...], BeforeValidator(as_tuple), AfterValidator(_distinct)]


def _node_name(value: str) -> str:
    if not valid_node(value):
        raise ValueError(
            f"{value!r} cannot name a node: use lower-case letters, digits, '-' and '_', at most 63"
        )
    return value


class Archive(Section):
    """Where events are kept, and when they become durable."""

    path: Annotated[str, FilePath()] = Field(
        default="archive", min_length=1, description="Folder of the archive."
    )
    node: Annotated[str, AfterValidator(_node_name)] = Field(
        default="main",
        description="Name of this daemon in the archive; part of every file's name. Under another name it begins anew, and reads every log file that is there.",
    )
    commit_seconds: float = Field(
        default=5.0, gt=0, le=60, description="Longest time a visible event waits for its commit."
    )
    commit_bytes: int = Field(
        default=32 * MEBIBYTE,
        ge=MEBIBYTE,
        le=1024 * MEBIBYTE,
        description="Bytes of visible events that force a commit.",
    )
    seal_seconds: float = Field(
        default=3600.0,
        ge=10,
        le=86_400,
        description="Length of the intervals, by the clock, after which committed events are sealed: with 3600 at each full hour.",
    )
    seal_bytes: int = Field(
        default=64_000_000,
        ge=1_000_000,
        le=1_000_000_000,
        description="Bytes of committed files that force sealing, and so about the size of a full sealed file.",
    )
    late_seconds: float = Field(
        default=3600.0,
        ge=0,
        le=30 * 86_400,
        description="How long events wait for a sealed file that came when their day was over: the first time so long, then twice, then four times. Every query shows them meanwhile, only the plain glob does not.",
    )
    late_files: int = Field(
        default=16,
        ge=1,
        le=64,
        description="Most files a day gains that way. What comes later waits until it fills a quarter of `seal_bytes`, or for `watchkeep seal`.",
    )
    fold_files: int = Field(
        default=32, ge=4, le=256, description="Committed files above which some are folded into one."
    )
    grace_seconds: float = Field(
        default=900.0,
        ge=60,
        le=86_400,
        description="How long a superseded file stays for those who still read it.",
    )
    pause_free_bytes: int = Field(
        default=128 * MEBIBYTE,
        ge=0,
        description="Bytes that must be free where the archive lies; below it reading pauses, and goes on by itself when there is room again. 0 never pauses.",
    )
    memory_limit_mb: int = Field(default=128, ge=32, le=65_536, description="Memory for writing, MiB.")
    exports: Exports = Field(
        default=(),
        examples=[
            {
                "name": "security",
                "folder": "/srv/handover/security",
                "format": "parquet",
                "filter": {"category": ["security", "authentication"], "min_risk": 30},
            }
        ],
        description="Copies of each finished day, written once with a manifest. Retention removes no day that an export has not written.",
    )
