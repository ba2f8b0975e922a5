"""The section `[rules]`: Sigma rules, and which events those for other products are about."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from daemon.marks import FilePath, Names, Section, as_tuple


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


class Rules(Section):
    """Sigma rules."""

    pack: bool = Field(default=True, description="Whether the rules that come with Watchkeep are among them.")
    directories: Annotated[Names, FilePath()] = Field(
        default=("rules",), description="Folders, or files, of rules in Sigma's YAML, at any depth."
    )
    enabled: bool = Field(
        default=True,
        description="Whether rules look at events as they come, and make alerts of what they find.",
    )
    interval_seconds: float = Field(
        default=0.5,
        ge=0.1,
        le=60,
        description="Between two looks at new events. It rests longer when a look takes long.",
    )
    update_seconds: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="Between two events that say that an alert grows.",
    )
    test_seconds: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="How long trying one rule over the archive may take (`POST /rules/test`).",
    )
    batch_rows: int = Field(
        default=50_000,
        ge=1000,
        le=1_000_000,
        description="The most events of one look, when detection is behind.",
    )
    match_memory_mb: int = Field(
        default=96,
        ge=1,
        le=4096,
        description="Memory for what rules matched lately. Windows that need more are read from the archive again.",
    )
    most_alerts: int = Field(
        default=10_000,
        ge=100,
        le=1_000_000,
        description="Alerts in memory; of more, those over for the longest time stay only in the archive.",
    )
    sources: RuleSources = Field(
        default=(),
        examples=[{"product": "github", "service": "audit", "events": "source:github-audit.jsonl"}],
        description="Which events rules for other products are about. Rules for the product `watchkeep`, for the category `application` and for `webserver` need none.",
    )
