"""The section `[query]`: what one question may cost."""

from __future__ import annotations

from pydantic import Field

from daemon.marks import Section


class Query(Section):
    """What one question may cost."""

    threads: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Threads that answer questions; exports and back-tests have one each.",
    )
    memory_limit_mb: int = Field(
        default=256,
        ge=64,
        le=1_048_576,
        description="Memory of all questions together, MiB; exports and back-tests have as much again.",
    )
    deadline_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="A question that takes longer is cancelled. Exports have no deadline.",
    )
    count_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Longest time that counting the whole of a list may take; its total is an estimate as soon as it is plain that it will take longer.",
    )
    suggest_seconds: float = Field(
        default=0.3,
        gt=0,
        le=60,
        description="Longest time that finding values for the completion of a search may take; after that it goes without.",
    )
    facet_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="Longest time that `/events/facets` reads rows; fields that are not done then say `timed_out`.",
    )
    rollup_cache_mb: int = Field(
        default=48,
        ge=0,
        le=65_536,
        description="Memory for roll-ups kept decoded, MiB. More of it answers long ranges from memory; 0 reads them each time.",
    )
