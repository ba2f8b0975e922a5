"""The section `[retention]`: what is removed, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daemon.marks import NAME, Live, Names, Original, Section, as_tuple, once

# Spelled here as well as in `storage.retention`, which would bring pyarrow with it; a test holds them equal.
BUILT_IN_CLASSES = ("default", "internal", "rejects")
MOST_DAYS = 36_500


class RetentionClass(Section):
    """How long events of some categories stay."""

    name: str = Field(
        pattern=NAME,
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
    once([item.name for item in classes], "two classes are called")
    once(
        [category for item in classes for category in item.categories],
        "an event belongs to one class, and two of them name the category",
    )
    return classes


Classes = Annotated[tuple[RetentionClass, ...], BeforeValidator(as_tuple), AfterValidator(_apart)]


class Retention(Section):
    """What is removed, and when."""

    event_days: Annotated[int, Live(), Original("EVENT_CLEANUP_DAYS")] = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Age in days above which whole days of events are removed; 0 keeps them all.",
    )
    cleanup_hour: Annotated[int, Live()] = Field(
        default=3, ge=0, le=23, description="Hour of the day (UTC) of the removal."
    )
    log_file_days: Annotated[int | None, Live(), Original("LOG_FILE_RETENTION_DAYS")] = Field(
        default=None,
        ge=1,
        le=36_500,
        examples=[30],
        description="Age in days above which log files are removed or compressed, once every line in them is committed. Not set: never.",
    )
    log_files: Annotated[Literal["delete", "compress"], Live()] = Field(
        default="delete",
        description="What becomes of log files of that age: `delete`, or `compress` beside the original, which goes when the copy is verified.",
    )
    log_file_compression: Annotated[Literal["gz", "zst"], Live()] = Field(
        default="gz", description="How log files are compressed: `gz` or `zst`."
    )
    max_bytes: Annotated[int | None, Live()] = Field(
        default=None,
        ge=10_000_000,
        examples=[50_000_000_000],
        description="Bytes that committed files may take. Above it the oldest days are removed, never those that a minimum age, a hold or an outstanding export keeps.",
    )
    min_free_bytes: Annotated[int | None, Live()] = Field(
        default=None,
        ge=10_000_000,
        examples=[5_000_000_000],
        description="Bytes that stay free where the archive lies. Below it the oldest days are removed, as for `max_bytes`.",
    )
    clock_jump_days: Annotated[int, Live()] = Field(
        default=7,
        ge=1,
        le=36_500,
        description="Days by which the clock may be ahead of when it was last believed. Further ahead nothing is removed until it is right again, or `watchkeep retention confirm clock` says that it is.",
    )
    classes: Classes = Field(
        default=(),
        examples=[
            {
                "name": "audit",
                "categories": ["authentication", "authorization", "security"],
                "minimum_days": 365,
                "maximum_days": 2555,
            }
        ],
        description="Categories that are kept for another time. Events of other categories are of the class `default`, with `event_days`.",
    )
