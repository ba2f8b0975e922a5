"""The escape corpus: each statement in the real process, over a real archive with traps in it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.adhoc import Ask, Limits
from storage.committed import committed_views
from storage.errors import ArchiveError, ChildError, DeadlineError, MemoryCapError
from storage.spares import SpareOptions, Spares
from tests.storage.escapes import RUNNING_AWAY, STATEMENTS, Fate
from tests.storage.made import lines, seen
from tests.storage.stock import opened, stock

DEADLINE_SECONDS = 30.0  # nothing that is refused needs it, also where the machine is busy
RUNAWAY_SECONDS = 1.0  # time is what ends them: more would be waited for in vain
MEMORY_MB = 96
AT_A_TIME = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one statement: the kind of error, if any, and everything it said."""

    error: type[Exception] | None
    said: str


@dataclass(frozen=True)
class Trap:
    """An archive and what lies beside it."""

    archive: Path
    outside: Path
    sealed: str
    live: str

    def statement(self, template: str) -> str:
        """Fill the places of a statement in."""
        places = {
            "{archive}": self.archive,
            "{outside}": self.outside,
            "{sealed}": self.sealed,
            "{live}": self.live,
        }
        for place, value in places.items():
            template = template.replace(place, str(value))
        return template

    def fingerprint(self) -> dict[str, str]:
        """Return what every file of archive and neighbourhood holds, and which there are."""
        found = {}
        for path in [*self.archive.rglob("*"), *self.outside.rglob("*")]:
            if path.is_symlink():
                found[str(path)] = f"link to {os.readlink(path)}"
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "folder"
        return found


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Trap:
    """Sealed and live files, the view files, keys, the daemon's own log, and links that lead outside."""
    root = tmp_path_factory.mktemp("escapes")
    outside = root / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("LOOT outside")
    pq.write_table(pa.table({"loot": ["LOOT in parquet"]}), outside / "loot.parquet")
    archive = opened(root / "archive")
    stock(archive, [{"day": "2026-05-30"}, {"day": "2026-05-31"}])
    parsed, chunk = lines(archive.register(seen("later")), 0, 3)
    archive.append(parsed, [chunk])
    archive.commit()
    archive.publish()
    files = archive.snapshot.events
    archive.close()
    home = root / "archive" / "nodes" / "main"
    (home / "keys.json").write_text(json.dumps({"key": "LOOT key"}))
    (home / "self").mkdir(exist_ok=True)
    (home / "self" / "self.jsonl").write_text('{"description": "LOOT of the own log"}\n')
    events = root / "archive" / "events"
    (events / "passwd").symlink_to("/etc/passwd")
    (events / "elsewhere").symlink_to(outside)
    return Trap(
        root / "archive",
        outside,
        sealed=next(file.path for file in files if file.day is not None),
        live=next(file.path for file in files if file.day is None),
    )


@dataclass(frozen=True)
class Run:
    """All outcomes, and what the archive was before and after."""

    outcomes: dict[str, Outcome]
    before: dict[str, str]
    after: dict[str, str]
    left: list[int]


@pytest.fixture(scope="module")
def run(trap: Trap) -> Run:
    """Run every statement once, some at a time."""
    outcomes: dict[str, Outcome] = {}
    views = committed_views(str(trap.archive))
    limits = Limits(MEMORY_MB, 1)
    used: set[int] = set()

    async def all_of_them(statements: Sequence[str], seconds: float) -> None:
        options = SpareOptions(AT_A_TIME, len(statements), seconds, max_rows=1000, limits=limits)
        spares = Spares(str(trap.archive), lambda: views, options)
        turn = asyncio.Semaphore(AT_A_TIME)

        async def one(template: str) -> None:
            async with turn:
                try:
                    ask = Ask(trap.statement(template), form="json", whole=True, max_rows=1000)
                    async with spares.answer(ask) as reply:
                        used.update(spares.pids)
                        said = b"".join([piece async for piece in reply.pieces]).decode()
                    outcomes[template] = Outcome(None, said)
                except ArchiveError as error:
                    outcomes[template] = Outcome(type(error), str(error))

        try:
            await asyncio.gather(*(one(template) for template in statements))
        finally:
            used.update(spares.pids)
            await spares.close()

    before = trap.fingerprint()
    asyncio.run(all_of_them(RUNNING_AWAY, RUNAWAY_SECONDS))
    others = [statement for statement, _ in STATEMENTS if statement not in RUNNING_AWAY]
    asyncio.run(all_of_them(others, DEADLINE_SECONDS))
    left = [pid for pid in used if Path(f"/proc/{pid}").exists()]
    return Run(outcomes, before, trap.fingerprint(), left)


def test_the_corpus_is_large() -> None:
    """And no statement is in it twice."""
    statements = [statement for statement, _ in STATEMENTS]
    assert len(statements) == len(set(statements)) >= 80


def test_nothing_was_written_anywhere(run: Run) -> None:
    """Every file of the archive and beside it is as it was, and there is no new one; no process is left."""
    assert run.after == run.before
    assert not Path("/dev/shm/loot.csv").exists()
    assert run.left == []


@pytest.mark.parametrize("fate", ["refused", "harmless", "stopped"])
def test_each_statement_ends_as_it_must(run: Run, fate: Fate) -> None:
    """Refused, or harmless, or stopped; and never because its process could not start."""
    wrong = {}
    for statement, wanted in STATEMENTS:
        found = run.outcomes[statement]
        stopped = found.error in {DeadlineError, MemoryCapError}
        right = {
            "refused": found.error is not None and not stopped,
            "harmless": True,
            "stopped": stopped,
        }[wanted]
        if wanted == fate and (not right or found.error is ChildError):
            wrong[statement[:200]] = (found.error, found.said[:300])
    assert wrong == {}


def test_no_secret_is_in_any_answer(run: Run, trap: Trap) -> None:
    """Neither of a file outside, nor of the keys, the own log or the machine."""
    loot = ["LOOT", "root:x:0", "root:*:0", "PATH=", "storage.confined"]
    told = {
        statement[:200]: found.said[:300]
        for statement, found in run.outcomes.items()
        if any(word in found.said.replace(statement, "") for word in loot)
    }
    assert told == {}


def test_no_message_names_the_folder_of_the_archive(run: Run, trap: Trap) -> None:
    """Unless the statement named it; `duckdb_settings()` is the one known place that shows it."""
    told = {
        statement[:200]: found.said[:300]
        for statement, found in run.outcomes.items()
        if "{" not in statement and "setting" not in statement and str(trap.archive) in found.said
    }
    assert told == {}


def test_the_statements_that_run_away_are_few(run: Run) -> None:
    """They are what takes the time of this file, and both kinds of end are among them."""
    ends = {run.outcomes[statement].error for statement in RUNNING_AWAY}
    assert ends == {DeadlineError, MemoryCapError}
