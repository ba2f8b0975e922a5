"""Power cuts, kills and failing operations at every step of the archive, also inside recovery: nothing lost, nothing twice.

What the simulated disk does is in `tests.storage.power`, what must hold in `tests.storage.promises`. Numbers of states
are counted and asserted; `make soak` runs a million.
"""

from __future__ import annotations

import errno
import functools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import storage.ledger
from parsers.batch import Source
from storage.errors import ArchiveError
from tests.storage.made import LINE, lines
from tests.storage.power import ROOT, PowerCut, PowerDisk
from tests.storage.promises import (
    Promise,
    Writer,
    a_busy_day,
    a_short_day,
    check,
    check_chain,
    recover,
    survives,
)

# Crash states of the suite's sweep, and of the long one.
STATES = 20_000
SOAK_STATES = int(os.environ.get("WATCHKEEP_POWER_STATES", "1_000_000"))
PATIENCE = 6  # how often a step is tried again before a disk that works again counts as not recovered from


def sweep(day: Callable[[PowerDisk], Writer], states: int, seed: int) -> int:
    """Crash one day at each of its operations, in many ways; return how many states were recovered and checked."""
    decode = storage.ledger.decode
    storage.ledger.decode = functools.lru_cache(maxsize=4096)(decode)  # the same few records, in every state
    try:
        return _sweep(day, states, seed)
    finally:
        storage.ledger.decode = decode


def _sweep(day: Callable[[PowerDisk], Writer], states: int, seed: int) -> int:
    disk = PowerDisk()
    day(disk)
    points = sum(1 for _ in disk.crash_points())
    outcomes = -(-states // points)
    done = 0
    for count, before, promise in disk.crash_points():
        for outcome in range(outcomes):
            survives(before.clone(), promise, random.Random(f"{seed}/{count}/{outcome}"))
            done += 1
    return done


@pytest.mark.timeout(900)
def test_a_crash_at_every_operation_keeps_every_committed_line_exactly_once() -> None:
    """20,000 crash states of one busy day recover to exactly what was acknowledged."""
    states = sweep(a_busy_day, STATES, seed=1)

    print(f"{states} crash states, 0 lost, 0 duplicated")
    assert states >= STATES


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_a_million_crash_states_lose_nothing() -> None:
    """The long form: other seeds, both days, until the number is reached."""
    done = seed = 0
    while done < SOAK_STATES:
        seed += 1
        done += sweep(
            a_busy_day if seed % 4 else a_short_day, min(25_000, SOAK_STATES - done), seed=seed * 1009
        )
        print(f"\r{done} crash states", end="", flush=True)
    print(f"\n{done} crash states, 0 lost, 0 duplicated")
    assert done >= SOAK_STATES


def test_a_crash_at_every_operation_of_every_recovery_loses_nothing() -> None:
    """Recovery is cut short after each of its operations in turn, by a kill and then by the power, and again."""
    disk = PowerDisk()
    a_short_day(disk)
    states = 0
    for count, before, promise in disk.crash_points():
        if count % 3:
            continue
        for fuse in range(0, 40, 2):
            chance = random.Random(f"{count}/{fuse}")
            again = before.clone()
            again.kill()
            again.fuse = fuse
            try:
                recover(again)
            except PowerCut:
                again.cut(chance)
            else:
                break  # recovery has no more operations than that
            survives(again, promise, chance, recoveries=1)
            states += 1
    assert states > 200


def failing_days(day: Callable[[PowerDisk], Writer]) -> Iterator[tuple[int, PowerDisk, Promise]]:
    """Yield days in each of which another operation failed once, and the work went on when the disk did."""
    disk = PowerDisk()
    day(disk)
    assert disk.journal is not None
    for fail_at in range(2, len(disk.journal), 2):
        troubled = PowerDisk()
        writer = _StubbornWriter(troubled)
        troubled.will_fail(fail_at, errno.EIO if fail_at % 4 else errno.ENOSPC)
        _a_troubled_day(writer)
        troubled.fault = None
        yield fail_at, troubled, writer.promise


class _StubbornWriter(Writer):
    """Tries every step again until the disk lets it, as the daemon does."""

    failed = False

    def persist(self, step: Callable[[], object]) -> None:
        for _ in range(PATIENCE):
            try:
                self.archive.recover() if self.failed else None
                step()
            except (ArchiveError, OSError):
                self.failed = True
                self.read_on()
                continue
            self.failed = False
            return
        raise AssertionError("the disk works again and the archive does not")

    def read_on(self) -> None:
        """What readers see must be there, also when superseded files are collected while the archive is in trouble."""
        with suppress(ArchiveError, OSError):
            self.archive.collect()
        for file in self.archive.snapshot.events:
            self.disk.read(f"{ROOT}/{file.path}")


def killed_first_starts() -> Iterator[tuple[PowerDisk, Promise]]:
    """Yield days of archives whose first start was killed after another operation each."""
    for fuse in range(60):
        disk = PowerDisk()
        disk.fuse = fuse
        try:
            recover(disk)
        except PowerCut:
            disk.kill()
            yield disk, a_short_day(disk).promise
        else:
            return


def test_a_kill_in_the_first_start_leaves_nothing_that_a_later_power_cut_could_take() -> None:
    """Folders that a killed process made are in the system's memory alone until somebody syncs their names."""
    starts = 0
    for disk, promise in killed_first_starts():
        for outcome in range(6):
            survives(disk.clone(), promise, random.Random(outcome), recoveries=0)
        starts += 1
    assert starts > 10


def _a_troubled_day(writer: _StubbornWriter) -> None:
    """`a_short_day`, each step of it until it succeeds."""
    writer.persist(lambda: writer.register("a.jsonl", "b.jsonl"))
    a = len(writer.sources) - 2  # registered twice if the first attempt reached the disk
    writer.append(a, 3)
    writer.persist(writer.commit)
    writer.append(a + 1, 2)
    writer.snapshot_due()
    writer.persist(writer.commit)
    writer.persist(writer.seal)
    writer.append(a, 1)
    writer.persist(writer.commit)
    writer.persist(lambda: writer.bulk(a + 1, 4))
    assert writer.archive.snapshot.hot == ()


def test_an_operation_that_fails_stalls_the_work_and_nothing_is_lost() -> None:
    """Whatever fails, the same lines are committed once; and what a failed sync did not write is not trusted later."""
    days = states = 0
    for fail_at, disk, promise in failing_days(a_short_day):
        days += 1
        for count, before, held in disk.crash_points(first=fail_at):
            if (count + fail_at) % 12:
                continue
            survives(before.clone(), held, random.Random(f"{fail_at}/{count}"))
            states += 1
        killed = disk.clone()
        killed.kill()
        archive = recover(killed)
        check(archive, killed, promise)
        check_chain(killed)
        survives(disk.clone(), promise, random.Random(fail_at))
    assert days > 40
    assert states > 200


def test_work_goes_on_after_a_crash_as_if_nothing_had_been() -> None:
    """After a crash and recovery the rest of the lines is read again from the committed offset, and all is there."""
    disk = PowerDisk()
    a_busy_day(disk)
    chance = random.Random(7)
    for _, before, promise in disk.crash_points():
        if chance.random() > 0.05:
            continue
        again = before.clone()
        again.cut(chance)
        archive = recover(again)
        offsets = {}
        for state in list(archive.sources.values()):
            source = Source(state.sid, state.file, 0, None, "native", internal=False)
            parsed, chunk = lines(source, state.offset, 5)
            archive.append(parsed, [chunk])
            offsets[state.sid] = state.offset + 5 * LINE
        archive.commit()
        archive.seal()
        again.cut(chance)
        recovered = recover(again)
        check(recovered, again, Promise(offsets, going=promise.going, gone=promise.gone))
        assert {sid: recovered.sources[sid].offset for sid in offsets} == offsets
        check_chain(again)


def test_a_second_recovery_changes_nothing() -> None:
    """Recovery twice in a row gives the same state: it is idempotent."""
    disk = PowerDisk()
    a_busy_day(disk)
    first = recover(disk)
    files = dict(first.state.files)
    sources = dict(first.sources)

    second = recover(disk)

    assert second.state.files == files
    assert dict(second.sources) == sources
