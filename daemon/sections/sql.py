"""The section `[sql]`: statements that people write, over HTTP."""

from __future__ import annotations

from pydantic import Field

from daemon.marks import MEBIBYTE, Section


class Sql(Section):
    """SQL written by people, over HTTP. `watchkeep sql` works without it."""

    enabled: bool = Field(
        default=False,
        description="Whether `POST /sql` answers. It needs Linux with Landlock: without, statements are refused.",
    )
    children: int = Field(
        default=2,
        ge=1,
        le=32,
        description="Processes that are kept ready, and so statements that run at a time. A ready one takes about 35 MB of its own.",
    )
    waiting: int = Field(
        default=8,
        ge=0,
        le=1000,
        description="Statements that may wait for a process; the next is refused with 429.",
    )
    deadline_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="A statement whose answer is not read to its end by then is killed. Half of `[archive] grace_seconds` is the most that counts, because superseded files stay no longer.",
    )
    memory_limit_mb: int = Field(
        default=256,
        ge=32,
        le=1_048_576,
        description="Memory of one statement, MiB. A process that grows by 192 MiB more is killed.",
    )
    threads: int = Field(default=2, ge=1, le=256, description="Threads of one statement.")
    max_rows: int = Field(
        default=100_000,
        ge=1,
        description="Rows of one answer; what is behind them is left out, and that is said.",
    )
    max_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=1024,
        le=4096 * MEBIBYTE,
        description="Bytes of one answer's columns, before they become JSON or CSV; likewise.",
    )
