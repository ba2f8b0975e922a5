"""Storage bugs, planted one at a time into the real modules: the harness must find every one of them.

A row says what is wrong, how it is planted, and which search finds it: ``sweep`` (a crash at every operation), ``failing``
(every operation fails once, then a crash), ``starting`` (a kill in the first start, then a day, then a crash) or
``machine`` (Hypothesis). `docs/track-record.md` shows the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
import pytest

import storage.archive
import storage.books
import storage.ledger
import storage.recovery
from storage.archive import Archive
from storage.atrisk import AT_RISK
from storage.books import Books
from storage.commit import Cut
from storage.fs import Fs, makedirs
from storage.layout import Layout
from storage.ledger import Ledger, Tail
from storage.snapshot import File
from storage.state import State
from storage.visible import Visible
from tests.storage.power import PowerDisk

Search = Literal["sweep", "failing", "starting", "machine"]
Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug. ``real``: the change that mended it, when this code really had it."""

    name: str
    how: str
    found_by: Search
    plant: Callable[[Patch], None]
    real: str = ""


BUGS: list[Planted] = []


def bug(
    how: str, found_by: Search = "sweep", *, real: str = ""
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Add a function that plants a bug to the table; its name is the bug's."""

    def add(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS.append(Planted(plant.__name__.replace("_", " "), how, found_by, plant, real))
        return plant

    return add


def _no_sync(patch: Patch, operation: str, forgotten: Callable[[str], bool]) -> None:
    """Let one kind of sync do nothing for some paths."""
    real = getattr(PowerDisk, operation)

    def lazy(self: PowerDisk, path: str) -> None:
        if not forgotten(path):
            real(self, path)

    patch.setattr(PowerDisk, operation, lazy)


# Syncs that are missing


@bug("`ParquetFile.finish` does not sync")
def data_files_are_not_synced(patch: Patch) -> None:
    _no_sync(patch, "on_sync", lambda path: path.endswith(".parquet"))


@bug("`Ledger.append` does not sync")
def the_ledger_is_not_synced(patch: Patch) -> None:
    _no_sync(patch, "on_sync", lambda path: path.endswith(".ledger"))


@bug("`stage` does not sync the folder `staging`")
def staging_is_not_synced_before_the_record(patch: Patch) -> None:
    _no_sync(patch, "on_sync_dir", lambda path: path.endswith("/staging"))


@bug("`roll_forward` does not sync the folder `live`")
def live_is_not_synced_after_the_moves(patch: Patch) -> None:
    _no_sync(patch, "on_sync_dir", lambda path: path.endswith("/live"))


@bug("`roll_forward` does not sync the folders of days")
def days_are_not_synced_after_the_moves(patch: Patch) -> None:
    _no_sync(patch, "on_sync_dir", lambda path: "/date=" in path)


@bug("`Ledger` does not sync its folder after beginning a segment")
def a_new_segments_name_is_not_synced(patch: Patch) -> None:
    _no_sync(patch, "on_sync_dir", lambda path: path.endswith("/ledger"))


@bug("`makedirs` does not sync the parent")
def a_new_folders_name_is_not_synced(patch: Patch) -> None:
    def lazy(fs: Fs, path: str) -> None:
        if not fs.isdir(path):
            lazy(fs, os.path.dirname(path))
            fs.mkdir(path)

    patch.setattr(storage.recovery, "makedirs", lazy)
    patch.setattr(storage.books, "makedirs", lazy)
    _no_sync(patch, "on_sync_dir", lambda path: path.count("/") <= 2)  # nor does `prepare` make up for it


# The ledger's end


@bug("`Ledger.read` does not cut what is torn")
def a_torn_tail_is_not_cut(patch: Patch) -> None:
    patch.setattr(PowerDisk, "on_truncate", lambda self, path, size: None)


@bug("`Ledger.read` cuts the last whole record together with the torn one")
def a_torn_tail_is_cut_too_much(patch: Patch) -> None:
    def greedy(self: Ledger, path: str, data: bytes, tail: Tail) -> None:
        if tail.torn_bytes:
            self._fs.truncate(path, tail.last_append or tail.good_bytes)
        self._fs.sync_file(path)

    patch.setattr(Ledger, "_make_trustworthy", greedy)


@bug("recovery believes what a killed process left in the page cache")
def the_ledger_is_not_synced_before_it_is_trusted(patch: Patch) -> None:
    def trusting(self: Ledger, path: str, data: bytes, tail: Tail) -> None:
        del data
        if tail.torn_bytes:
            self._fs.truncate(path, tail.good_bytes)

    patch.setattr(Ledger, "_make_trustworthy", trusting)


@bug("recovery syncs the ledger again instead of writing its end again", "failing", real="written over")
def a_failed_sync_of_the_ledger_is_only_retried(patch: Patch) -> None:
    def retrying(self: Ledger, path: str, data: bytes, tail: Tail) -> None:
        del data
        if tail.torn_bytes:
            self._fs.truncate(path, tail.good_bytes)
        self._fs.sync_file(path)

    patch.setattr(Ledger, "_make_trustworthy", retrying)


@bug("any damaged line with others behind it stops the start", real="holes are cut")
def a_hole_in_the_last_append_stops_the_start(patch: Patch) -> None:
    def only_the_last_line(rest: bytes, number: int) -> bool:
        del number
        damaged, *others = rest.split(b"\n")[:-1]
        return not others and not storage.ledger._readable(damaged)

    patch.setattr(storage.ledger, "_torn", only_the_last_line)


@bug("a failing sync of the ledger is swallowed", "failing")
def a_failing_sync_of_the_ledger_is_ignored(patch: Patch) -> None:
    real = PowerDisk.do

    def careless(self: PowerDisk, name: str, *args: Any) -> None:
        if name == "sync" and args[0].endswith(".ledger"):
            with suppress(OSError):
                real(self, name, *args)
        else:
            real(self, name, *args)

    patch.setattr(PowerDisk, "do", careless)


@bug("the next record is appended behind half a one", "failing")
def a_broken_ledger_is_written_on(patch: Patch) -> None:
    patch.setattr(Archive, "recover_if_broken", lambda self: None)
    patch.setattr(Archive, "recover", lambda self: None)
    patch.setattr(Ledger, "broken", property(lambda self: False, lambda self, value: None), raising=False)
    patch.setattr(Ledger, "_refuse_if_grown", lambda self, handle: None)


# Orders that are wrong


@bug("Parquet files are synced only after the record that names them")
def the_record_comes_before_the_data(patch: Patch) -> None:
    real = Books.place

    def lazy_finish(patch_: Patch) -> None:
        _no_sync(patch_, "on_sync", lambda path: path.endswith(".parquet"))

    def place(self: Books, files: Sequence[File]) -> None:
        for file in files:
            inode = self.fs.names[self.layout.staged(file.path)]  # type: ignore[attr-defined]
            inode.stable = inode.data
        real(self, files)

    lazy_finish(patch)
    patch.setattr(Books, "place", place)


@bug("`exchange` removes the superseded files before the record")
def superseded_files_go_before_the_record(patch: Patch) -> None:
    real = Books.exchange

    def hasty(self: Books, kind: str, added: list[File], removed: list[File], **more: Any) -> None:
        for file in removed:
            self.fs.unlink(self.layout.absolute(file.path))
        real(self, kind, added, removed, **more)

    patch.setattr(Books, "exchange", hasty)


@bug("`record` removes the dropped files before the drop is recorded")
def a_drop_removes_files_before_it_is_recorded(patch: Patch) -> None:
    real = Books.record

    def hasty(self: Books, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for kind, body in records:
            for path in body["removes"] if kind == "drop" else ():
                self.fs.unlink(self.layout.absolute(path))
        real(self, records)

    patch.setattr(Books, "record", hasty)


@bug("`exchange` moves the new files before the record")
def a_seal_is_placed_before_it_is_recorded(patch: Patch) -> None:
    real = Books.exchange

    def hasty(self: Books, kind: str, added: list[File], removed: list[File], **more: Any) -> None:
        storage.recovery.roll_forward(self.fs, self.layout, added)
        real(self, kind, added, removed, **more)

    patch.setattr(Books, "exchange", hasty)


@bug("recovery clears `staging` before it moves what is recorded")
def staged_files_are_cleared_before_they_are_moved(patch: Patch) -> None:
    real = storage.recovery.settle

    def tidy(fs: Fs, layout: Layout, state: State) -> Any:
        for name in fs.listdir(layout.staging):
            fs.unlink(os.path.join(layout.staging, name))
        return real(fs, layout, state)

    patch.setattr(storage.books, "settle", tidy)


@bug("`roll_forward` syncs the loss of the old names before the new ones")
def old_names_go_before_the_new_ones_are_durable(patch: Patch) -> None:
    real = storage.recovery.roll_forward

    def reversed_order(fs: Fs, layout: Layout, files: list[File], **more: Any) -> None:
        class Backwards:
            def __getattr__(self, name: str) -> Any:
                return getattr(fs, name)

            def sync_dir(self, path: str) -> None:
                fs.sync_dir(layout.staging)
                fs.sync_dir(path)

        real(Backwards(), layout, files, **more)

    patch.setattr(storage.recovery, "roll_forward", reversed_order)
    patch.setattr(storage.books, "roll_forward", reversed_order)


# State that is not what the ledger says


@bug("numbers go on after the last committed one")
def seq_numbers_are_used_again_after_a_restart(patch: Patch) -> None:
    real = Archive._recover

    def frugal(self: Archive) -> None:
        begun = self._begun
        real(self)
        if not begun:
            self._visible.next_seq = self.state.max_seq + 1

    patch.setattr(Archive, "_recover", frugal)


@bug("offsets are kept in a file beside the ledger")
def offsets_come_from_a_file(patch: Patch) -> None:
    record, recover = Books.record, Books.recover

    def noting(self: Books, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        record(self, records)
        path = os.path.join(self.layout.home, "offsets")
        offsets = {sid: source.offset for sid, source in self.state.sources.items()}
        self.fs.unlink(path)
        handle = self.fs.create(path)
        handle.write(orjson.dumps(offsets))
        handle.sync()
        handle.close()
        self.fs.sync_dir(self.layout.home)

    def believing(self: Books, *, next_seq: int) -> State:
        state = recover(self, next_seq=next_seq)
        with suppress(FileNotFoundError, orjson.JSONDecodeError):
            for sid, offset in orjson.loads(self.fs.read(os.path.join(self.layout.home, "offsets"))).items():
                state.sources[sid] = replace(state.sources[sid], offset=offset)
        return state

    patch.setattr(Books, "record", noting)
    patch.setattr(Books, "recover", believing)


@bug("the ledger's snapshot leaves the reserved numbers out")
def a_snapshot_forgets_the_reserved_numbers(patch: Patch) -> None:
    real = State.to_json
    patch.setattr(State, "to_json", lambda self: {**real(self), "reserved_to": self.max_seq})


@bug("the ledger's snapshot leaves superseded files out")
def a_snapshot_forgets_superseded_files(patch: Patch) -> None:
    real = State.to_json
    patch.setattr(State, "to_json", lambda self: {**real(self), "retired": {}})
    patch.setattr(Books, "collect", lambda self, grace_seconds, needed=frozenset(): 0)


@bug("the ranges of a failed commit are forgotten", "failing")
def a_failed_commit_loses_its_ranges(patch: Patch) -> None:
    def forgetful(self: Visible, cut: Cut) -> None:
        del cut
        self._taken = (0, 0)

    patch.setattr(Visible, "failed", forgetful)


@bug("a commit in doubt is taken for failed", "failing")
def a_commit_in_doubt_is_done_again(patch: Patch) -> None:
    real = Visible.settle

    def gloomy(self: Visible, state: State) -> None:
        cut, self._doubt = self._doubt, None
        if cut is not None:
            self.failed(cut)
        real(self, state)

    patch.setattr(Visible, "settle", gloomy)


@bug("a Parquet file whose sync failed is synced again", "failing")
def a_failed_sync_of_data_is_only_retried(patch: Patch) -> None:
    real = PowerDisk.do

    def retrying(self: PowerDisk, name: str, *args: Any) -> None:
        try:
            real(self, name, *args)
        except OSError:
            if name != "sync" or not args[0].endswith(".parquet"):
                raise
            real(self, name, *args)

    patch.setattr(PowerDisk, "do", retrying)


@bug("half a Parquet file after a failing write is taken for a whole one", "failing")
def a_failing_write_of_data_is_ignored(patch: Patch) -> None:
    real = PowerDisk.do

    def careless(self: PowerDisk, name: str, *args: Any) -> None:
        if name == "write" and args[0].endswith(".parquet"):
            with suppress(OSError):
                real(self, name, *args)
        else:
            real(self, name, *args)

    patch.setattr(PowerDisk, "do", careless)


# Files that go too early, or come back


@bug("`collect` does not wait for the grace time", "machine")
def superseded_files_are_collected_too_early(patch: Patch) -> None:
    real = Books.collect
    patch.setattr(Books, "collect", lambda self, grace_seconds, needed=frozenset(): real(self, 0.0, needed))


@bug("`collect` forgets files whose removal is not durable yet", real="forgotten once their names are gone")
def removed_files_come_back(patch: Patch) -> None:
    real = Books.collect

    def hasty(self: Books, grace_seconds: float, needed: frozenset[str] = frozenset()) -> int:
        disk = self.fs
        assert isinstance(disk, PowerDisk)
        with patch.context() as inner:
            inner.setattr(disk, "sync_dir", lambda path: None)
            return real(self, grace_seconds, needed)

    patch.setattr(Books, "collect", hasty)


@bug("`collect` trusts a seal that is recorded and not placed", "failing", real="Recover before collecting")
def files_are_collected_before_their_successors_are_placed(patch: Patch) -> None:
    def eager(self: Archive) -> int:
        with self._writing:
            return self._books.collect(self.options.grace_seconds)

    patch.setattr(Archive, "collect", eager)


@bug("recovery does not sync the moves of the last record again", real="synced again")
def moves_that_a_kill_interrupted_stay_in_memory(patch: Patch) -> None:
    real = storage.recovery.roll_forward

    def trusting(fs: Fs, layout: Layout, files: list[File], *, moved: Sequence[str] = ()) -> None:
        del moved
        real(fs, layout, files)

    patch.setattr(storage.recovery, "roll_forward", trusting)


@bug("a folder that is there is taken for durable", "starting", real="their names are synced at each start")
def folders_that_a_killed_process_made_are_not_synced(patch: Patch) -> None:
    def trusting(fs: Fs, layout: Layout) -> None:
        own = (layout.ledger, layout.staging, layout.live, layout.aside, layout.own_log)
        for folder in (*own, *(layout.absolute(name) for name in ("events", "rejects", "rollups"))):
            makedirs(fs, folder)

    patch.setattr(storage.books, "prepare", trusting)


@bug("what a gap says is lost is still expected after a restart", real="Tell a gap once")
def a_gap_is_told_again(patch: Patch) -> None:
    real = State._gap

    def forgetful(self: State, body: dict[str, Any], when_us: int) -> None:
        before = self.sources.get(body["sid"])
        real(self, body, when_us)
        if before is not None and body.get("code") != AT_RISK:
            self.sources[before.sid] = before

    patch.setattr(State, "_gap", forgetful)
