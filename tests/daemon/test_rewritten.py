"""Files that lose what was read from them: truncated, cut, written anew. Nothing twice, nothing lost, and all of it told."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon import tailer
from tests.daemon.test_tailer import Followed, append

LINES = [b"line %04d of the file\n" % number for number in range(200)]
OTHERS = [b"other %04d, written later\n" % number for number in range(200)]


def arrived(it: Followed) -> list[bytes]:
    """Every line that came through, in the order of the sources and of their lines."""
    return [line + b"\n" for line in it.collector.lines()]


def state_of(it: Followed, number: int):
    return list(it.collector.sources.values())[number]


@pytest.mark.parametrize("kept", [0, 1, 120, 199])
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "only read"])
def test_a_file_that_lost_its_last_lines_is_read_on_from_the_first_new_one(it, kept, committed):
    """T34. What is left is not read again, however much there is; what only was read counts as archived too."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    if committed:
        it.collector.commit()
    os.truncate(path, len(b"".join(LINES[:kept])))
    append(path, b"".join(OTHERS))
    it.settle()

    assert arrived(it) == LINES + OTHERS
    fork = state_of(it, 1)
    assert (fork.base, bool(fork.continues)) == (len(b"".join(LINES[:kept])), kept > 0)
    assert it.kinds() == ["shortened" if kept else "rewritten"]


def test_a_file_that_lost_lines_while_nobody_looked_grew_beyond_its_old_size(it):
    """T30. The size alone would say that nothing happened."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    path.write_bytes(b"".join(OTHERS))
    it.settle()

    assert arrived(it) == LINES + OTHERS


def test_a_power_cut_that_took_lines_from_the_log_repeats_none(it):
    """T60, H4. At the start the file is shorter than what is committed; it stays so for a while, then grows."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.restart()
    os.truncate(path, len(b"".join(LINES[:150])) - 7)
    it.settle(seconds=30)
    assert arrived(it) == LINES

    append(path, b"\n" + b"".join(OTHERS))
    it.settle()

    assert arrived(it) == [*LINES, LINES[149][:-7] + b"\n", *OTHERS]
    assert state_of(it, 1).base == len(b"".join(LINES[:149]))


def test_a_power_cut_that_filled_the_end_with_nul_bytes_repeats_none(it):
    """The size was made durable, the last pages were not."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.restart()
    kept = b"".join(LINES[:100])
    path.write_bytes(kept + bytes(len(b"".join(LINES)) - len(kept)) + OTHERS[0])
    it.settle()

    assert arrived(it) == [*LINES, OTHERS[0]]


def test_a_file_that_an_editor_writes_anew_is_the_same_source(it):
    """Seen empty, then half, then whole: nothing was lost, so there is nothing to read."""
    path = it.folder / "a.log"
    content = b"".join(LINES)
    append(path, content)
    it.settle()
    for size in (0, 1000, 2000, len(content)):
        path.write_bytes(content[:size])
        it.settle(seconds=0.1)
    append(path, OTHERS[0])
    it.settle()

    assert arrived(it) == [*LINES, OTHERS[0]]
    assert len(it.collector.sources) == 1
    assert it.kinds() == []


def test_a_stale_reader_does_not_emit_twice(it):
    """T33. Truncated to nothing, seen so, and written from the beginning."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    for number in range(5):
        os.truncate(path, 0)
        it.settle()
        append(path, b"".join(OTHERS[10 * number : 10 * number + 10]))
        it.settle()

    assert arrived(it) == LINES + OTHERS[:50]


def test_an_edit_of_the_same_size_changes_nothing_that_is_archived(it):
    """T35. The archive is not rewritten because its source is; what follows is read as ever."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    with path.open("r+b") as file:
        file.seek(len(LINES[0]) * 3)
        file.write(b"LINE")
    append(path, OTHERS[0])
    it.settle()

    assert arrived(it) == [*LINES, OTHERS[0]]


def test_lines_lost_twice_are_lost_from_what_was_left(it):
    """A fork of a fork, and one that reaches back before the fork between."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:100]))
    it.settle()
    os.truncate(path, len(b"".join(LINES[:80])))
    append(path, b"".join(OTHERS[:50]))
    it.settle()
    os.truncate(path, len(b"".join(LINES[:80] + OTHERS[:30])))
    append(path, b"".join(OTHERS[100:125]))
    it.settle()
    it.restart()
    os.truncate(path, len(b"".join(LINES[:60])))
    append(path, b"".join(OTHERS[150:]))
    it.settle()

    assert arrived(it) == LINES[:100] + OTHERS[:50] + OTHERS[100:125] + OTHERS[150:]
    first = state_of(it, 0).sid
    assert [s.continues == first for s in it.collector.sources.values()] == [False, True, False, True]


def test_a_fork_that_was_registered_and_not_committed_is_read_again_as_itself(it):
    """Killed in between."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    os.truncate(path, len(b"".join(LINES[:100])))
    append(path, b"".join(OTHERS))
    it.settle()
    assert len(it.collector.sources) == 2
    it.restart(crash=True)
    it.settle()

    assert arrived(it) == LINES + OTHERS
    assert len(it.collector.sources) == 2


def test_a_fork_that_cannot_be_registered_yet_begins_where_its_file_differs_all_the_same(it, monkeypatch):
    """The archive's disk is full for a while: tried again, it is not read from the file's first byte."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()

    def refuse(_seen):
        raise OSError(28, "No space left on device")

    os.truncate(path, len(b"".join(LINES[:100])))
    append(path, b"".join(OTHERS))
    with monkeypatch.context() as patched:
        patched.setattr(it.collector, "register_all", refuse)
        for _ in range(3):
            it.now += 1
            it.tailer.turn(rescan=True)
    it.settle(seconds=5)

    assert arrived(it) == LINES + OTHERS


def test_bytes_that_were_seen_and_not_read_before_a_truncation_are_a_gap(it):
    """T31. Whatever is left of the file before them."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES) + b"unfinished")
    it.settle()
    os.truncate(path, len(b"".join(LINES[:100])))
    append(path, OTHERS[0])
    it.settle(seconds=1)
    it.settle(seconds=20)

    (gap,) = [note for note in it.notes if note.kind == "gap"]
    assert (gap.sid, gap.end - gap.start) == (state_of(it, 0).sid, len(b"unfinished"))


def test_a_copy_made_before_a_truncation_takes_over_what_was_not_read(it):
    """T29. The copy is the old source; the truncated file is a new one."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:100]))
    it.settle()
    append(path, b"".join(LINES[100:]))
    shutil.copy(path, it.folder / "a.log.1")
    path.write_bytes(b"".join(OTHERS))
    it.settle()

    assert sorted(arrived(it)) == LINES + OTHERS
    assert not [note for note in it.notes if note.kind == "gap"]


def test_a_copy_that_lags_behind_what_was_read_is_not_read_again(it):
    """T29. A busy writer appends between copying and truncating: the copy holds only a beginning of what was read."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:150]))
    it.settle()
    shutil.copy(path, it.folder / "a.log.1")
    append(path, b"".join(LINES[150:]))
    it.settle()
    path.write_bytes(OTHERS[0])
    it.settle()
    it.settle(seconds=700)
    assert arrived(it) == [*LINES, OTHERS[0]]
    assert "copy" in it.kinds()

    it.restart()
    it.settle()
    it.settle(seconds=700)

    assert arrived(it) == [*LINES, OTHERS[0]]


def test_a_copy_first_seen_after_the_truncation_is_not_read_again(it):
    """The same between two looks."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    (it.folder / "a.log.1").write_bytes(b"".join(LINES[:150]) + b"half a li")
    path.write_bytes(OTHERS[0])
    it.settle()
    it.settle(seconds=30)

    assert arrived(it) == [*LINES, OTHERS[0]]


def test_a_file_that_only_begins_as_an_archived_one_is_read_whole(it):
    """T27, T28. A thousand bytes in common prove nothing once a line differs."""
    append(it.folder / "a.log", b"".join(LINES))
    it.settle()
    it.restart()
    (it.folder / "a.log").unlink()
    append(it.folder / "b.log", b"".join(LINES[:100]) + OTHERS[0])
    it.settle()

    assert sorted(arrived(it)) == sorted([*LINES, *LINES[:100], OTHERS[0]])


def replace_with(path: Path, content: bytes) -> None:
    temporary = path.with_name("a.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is down"])
@pytest.mark.parametrize("kept", [100, 200])
def test_a_file_put_in_the_place_of_another_is_read_on_from_where_it_differs(it, running, kept):
    """T36. An editor's new file over the old name: what it still holds is not read again."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    if not running:
        it.restart()
    replace_with(path, b"".join(LINES[:kept] + OTHERS[:50]))
    it.settle()
    append(path, OTHERS[50])
    it.settle(seconds=1)

    assert arrived(it) == LINES + OTHERS[:51]


def test_a_file_put_in_the_place_of_another_before_that_was_read_loses_nothing(it):
    """T36. The deleted one is read to its end first; what the new one repeats of it is not read again."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES[:100]))
    it.settle()
    append(path, b"".join(LINES[100:]))
    replace_with(path, b"".join(LINES[:150] + OTHERS[:50]))
    it.settle()
    it.settle(seconds=1)

    assert sorted(arrived(it)) == LINES + OTHERS[:50]


def test_a_new_file_with_the_same_first_line_is_read_whole(it):
    """T26, T27. Deleted and created again: a header in common is no continuation."""
    path = it.folder / "a.log"
    append(path, LINES[0] + LINES[1])
    it.settle()
    path.unlink()
    append(path, LINES[0] + OTHERS[1])
    it.settle()
    it.settle(seconds=10)

    assert sorted(arrived(it)) == sorted([LINES[0], LINES[0], LINES[1], OTHERS[1]])


def test_a_writer_that_does_not_append_leaves_a_hole_and_no_line_twice(it):
    """T32. Truncated under a writer that keeps its position: NUL bytes are counted, its lines are read."""
    path = it.folder / "a.log"
    with path.open("wb", buffering=0) as writer:
        writer.write(b"".join(LINES))
        it.settle()
        os.truncate(path, 0)
        writer.seek(4 << 30)
        writer.write(b"".join(OTHERS))
        it.settle()

    assert arrived(it) == LINES + OTHERS
    holes = [chunk.nul_bytes for chunk in it.collector.chunks() if chunk.nul_bytes]
    assert sum(holes) == 4 << 30
    assert len(holes) <= 2


def test_a_cut_file_that_is_deleted_gives_its_last_half_line(it):
    """Nothing will complete it any more."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    os.truncate(path, len(b"".join(LINES[:100])))
    append(path, b"half")
    it.settle()
    path.unlink()
    it.settle(seconds=1)
    it.settle(seconds=10)

    assert arrived(it) == [*LINES, b"half\n"]
    assert list(it.tailer.files) == []


def slowly(it, monkeypatch) -> None:
    """Let comparisons take several looks, in a thread of their own, as they do beside an archive."""
    ladder = it.tailer._climbs._ladder
    climb = ladder.climb

    def slow(*args, **named):
        time.sleep(0.2)
        return climb(*args, **named)

    monkeypatch.setattr(ladder, "climb", slow)
    monkeypatch.setattr(it.tailer._climbs, "_executor", ThreadPoolExecutor(1))


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "only read"])
@pytest.mark.parametrize("kept", [0, 120])
def test_a_rewritten_file_that_is_deleted_as_the_daemon_stops_gives_its_new_lines(
    it, monkeypatch, kept, committed
):
    """It could not be compared after the next start: the stop waits for that, and for the commit that must come first."""
    slowly(it, monkeypatch)
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    if committed:
        it.collector.commit()
    os.truncate(path, len(b"".join(LINES[:kept])))
    append(path, b"".join(OTHERS) + b"half")
    it.now += 1
    it.tailer.turn()
    assert [followed.climb is not None for followed in it.tailer.files] == [True]
    path.unlink()
    it.now += 1
    it.settle(closing=True)

    assert arrived(it) == [*LINES, *OTHERS, b"half\n"]
    assert "gap" not in it.kinds()


def test_a_deleted_file_that_cannot_be_compared_before_the_daemon_stops_is_told_of(it, monkeypatch):
    """The stop waits no longer than it may; that lines are lost is a gap, by the most bytes that it can be."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()

    def climb(*_args, **_named):
        raise OSError("the archive cannot be read")

    monkeypatch.setattr(it.tailer._climbs._ladder, "climb", climb)
    monkeypatch.setattr(tailer, "CLOSING_LOOKS", 3)
    os.truncate(path, 10)
    append(path, b"".join(OTHERS) * 2)
    it.settle()
    path.unlink()
    it.now += 1
    it.settle(closing=True)

    (gap,) = (note for note in it.notes if note.kind == "gap")
    size = 10 + len(b"".join(OTHERS) * 2)
    assert (gap.code, gap.path, gap.sid, gap.start, gap.end) == (
        "uncompared",
        str(path),
        state_of(it, 0).sid,
        0,
        size,
    )
    assert it.collector.files_at_risk == {}
    assert list(it.tailer.files) == []


def test_an_archive_that_cannot_be_read_makes_the_file_wait(it, monkeypatch):
    """It is told, tried again, and costs the other files nothing."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    ladder = it.tailer._climbs._ladder
    with monkeypatch.context() as patched:

        def fails(*_, **__):
            raise OSError(5, "Input/output error")

        patched.setattr(ladder, "climb", fails)
        os.truncate(path, 100)
        append(path, OTHERS[0])
        append(it.folder / "b.log", OTHERS[1])
        it.settle()
        assert sorted(arrived(it)) == [*LINES, OTHERS[1]]
        assert "Input/output error" in next(f for f in it.tailer.files if f.file == "a.log").trouble

    it.settle(seconds=5)

    assert sorted(arrived(it)) == sorted([*LINES, LINES[4][:12] + OTHERS[0], OTHERS[1]])


@pytest.mark.parametrize("looks", [True, False], ids=["seen empty", "not seen empty"])
def test_a_file_written_anew_and_copied_before_anybody_looked_is_read_once(it, looks):
    """The log goes on where it ended; its copy, new at the same look, repeats it and must not go on there as well."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    os.truncate(path, 0)
    if looks:
        it.settle()
    append(path, b"".join(LINES) + OTHERS[0])
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    assert arrived(it) == [*LINES, OTHERS[0]]

    os.truncate(path, 0)
    append(path, OTHERS[1])
    it.settle()
    assert sorted(arrived(it)) == sorted([*LINES, *OTHERS[:2]])


def test_lines_that_moved_to_another_file_before_they_were_read_and_are_written_again_come_from_both(it):
    """Nothing says that they are the same: when the log gets them again, the other file has long gone on with them."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    os.truncate(path, 0)
    append(path, b"".join(OTHERS))
    shutil.copyfile(path, it.folder / "other.log")
    os.truncate(path, 0)
    it.settle()
    it.collector.commit()
    append(path, b"".join(OTHERS))
    it.settle()

    assert sorted(arrived(it)) == sorted([*LINES, *OTHERS, *OTHERS])


def test_a_copy_that_stayed_behind_gives_way_to_a_fuller_one(it):
    """The log was emptied while its older copy was there, written anew, copied and emptied again unseen."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    os.truncate(path, 0)
    it.settle()
    append(path, b"".join(LINES) + OTHERS[0])
    shutil.copyfile(path, it.folder / "a.log.2")
    os.truncate(path, 0)
    append(path, OTHERS[1])
    it.settle()
    assert sorted(arrived(it)) == sorted([*LINES, *OTHERS[:2]])


def test_a_file_put_in_the_place_of_one_that_was_cut_goes_on_where_that_ended(it):
    """The log was renamed and lost its last line; then a new file with the same lines took its place, and grew."""
    path = it.folder / "a.log.1"
    append(it.folder / "a.log", b"".join(LINES))
    it.settle()
    it.collector.commit()
    (it.folder / "a.log").rename(path)
    os.truncate(path, len(b"".join(LINES[:-1])))
    it.settle()
    fresh = it.folder / "fresh.tmp"
    fresh.write_bytes(b"".join(LINES[:-1]))
    fresh.replace(path)
    append(path, OTHERS[0])
    for _ in range(3):
        it.settle(seconds=6)  # the deleted file is let go of, the other one is compared
    assert arrived(it) == [*LINES, OTHERS[0]]


def test_a_file_put_in_the_place_of_one_with_an_old_copy_goes_on_where_that_ended(it):
    """An older copy lies beside the log all the time; a log written anew, grown and replaced is read once."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    os.truncate(path, 0)
    it.settle()
    append(path, b"".join([*LINES, *OTHERS[:2]]))
    it.settle()
    fresh = it.folder / "fresh.tmp"
    fresh.write_bytes(b"".join([*LINES, OTHERS[0]]))
    fresh.replace(path)
    append(path, OTHERS[2])
    for _ in range(4):
        it.settle(seconds=6)
    assert sorted(arrived(it)) == sorted([*LINES, *OTHERS[:3]])


def test_a_log_that_a_start_finds_empty_and_that_is_written_anew_is_not_read_again(it):
    """Its copy went on with its lines meanwhile; that they were the log's is remembered, though no line says so."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    path.write_bytes(b"".join(OTHERS))
    it.settle()  # read as a source of its own, not committed
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    it.restart(crash=True)
    os.truncate(path, 0)
    it.settle()
    append(path, b"".join(OTHERS))
    it.settle()
    assert sorted(arrived(it)) == sorted(LINES + OTHERS)

    append(path, LINES[0])
    it.settle()
    assert sorted(arrived(it)) == sorted([*LINES, *OTHERS, LINES[0]])


def test_bytes_of_a_file_that_was_written_anew_are_no_gap_of_what_it_held_before(it):
    """It grew beyond its old size before anybody looked, but what it held before was read to its end."""
    path = it.folder / "a.log"
    append(path, b"".join(LINES))
    it.settle()
    path.write_bytes(b"".join(OTHERS))
    it.settle()
    it.settle(seconds=60)

    assert arrived(it) == LINES + OTHERS
    assert "gap" not in it.kinds()


def test_a_file_put_in_the_place_of_one_that_goes_on_without_a_line_yet_is_compared(it):
    """Its copy took over its lines, so it goes on behind them; the new file has another last line, as long as the old one."""
    path, fresh = it.folder / "a.log", it.folder / "a.tmp"
    append(path, b"".join(LINES))
    it.settle()
    it.collector.commit()
    shutil.copyfile(path, it.folder / "a.log.1")
    it.settle()
    os.truncate(path, 0)
    it.settle()
    append(path, b"".join(LINES))
    it.settle()
    other = b"LINE" + LINES[-1][4:]
    fresh.write_bytes(b"".join([*LINES[:-1], other]))
    fresh.replace(path)
    for _ in range(3):
        it.settle(seconds=6)
    append(path, OTHERS[0])
    it.settle()

    assert sorted(arrived(it)) == sorted([*LINES, other, OTHERS[0]])
