"""Rotation with compression as a machine: whatever the order of things, each line comes through exactly once."""

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.discovery import Root
from daemon.tailer import Tailer, TailOptions
from tests.daemon.collector import AtOnce, Collector, CollectorLadder

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
}
OPEN: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
ENDINGS = st.sampled_from(list(COMPRESS))
# Longer than what identifies a file: shorter ones may be equal by chance, and are read when they are.
LINE_BYTES = 1100


class Rotation(RuleBasedStateMachine):
    """An application, a rotation that renames, compresses in pieces and unpacks, and a daemon that is killed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="packed-"))
        self.collector = Collector()
        self.now = 0.0
        self.count = 0
        self.written: set[bytes] = set()
        self.half: list[tuple[Path, bytes, Path | None]] = []  # compressed files that are being written
        self.tailer = self.started()

    def teardown(self) -> None:
        self.tailer.close()
        shutil.rmtree(self.folder)

    def started(self) -> Tailer:
        return Tailer(
            TailOptions((Root(os.fsencode(self.folder)),), max_open_files=3),
            self.collector,
            ladder=CollectorLadder(self.collector),
            executor=AtOnce(),
            clock=lambda: self.now,
        )

    def plain(self) -> list[Path]:
        """Rotated files that nobody compresses at the moment."""
        busy = {original for _, _, original in self.half}
        found = [p for p in self.folder.glob("app.log.*") if p.suffix not in COMPRESS]
        return sorted(path for path in found if path not in busy)

    def packed(self) -> list[Path]:
        busy = {target for target, _, _ in self.half}
        return sorted(p for p in self.folder.iterdir() if p.suffix in COMPRESS and p not in busy)

    def lines(self, count: int) -> bytes:
        made = []
        for _ in range(count):
            self.count += 1
            made.append((b'{"n":%06d,' % self.count).ljust(LINE_BYTES, b"%x" % (self.count % 16)) + b"}")
        self.written.update(made)
        return b"".join(line + b"\n" for line in made)

    @rule(count=st.integers(1, 20))
    def append(self, count: int) -> None:
        with (self.folder / "app.log").open("ab", buffering=0) as file:
            file.write(self.lines(count))

    @precondition(lambda self: (self.folder / "app.log").exists())
    @rule()
    def rotate(self) -> None:
        self.count += 1
        (self.folder / "app.log").rename(self.folder / f"app.log.{self.count}")

    @precondition(lambda self: self.plain())
    @rule(ending=ENDINGS, keep=st.booleans(), part=st.floats(0, 1))
    def begin_to_compress(self, ending: str, keep: bool, part: float) -> None:
        original = self.plain()[0]
        target = original.with_name(original.name + ending)
        if target.exists():
            return
        data = COMPRESS[ending](original.read_bytes())
        cut = int(len(data) * part)
        target.write_bytes(data[:cut])
        self.half.append((target, data[cut:], None if keep else original))

    @precondition(lambda self: self.half)
    @rule()
    def end_compressing(self) -> None:
        target, rest, original = self.half.pop(0)
        with target.open("ab") as file:
            file.write(rest)
        if original is not None:
            original.unlink()

    @precondition(lambda self: self.packed())
    @rule(keep=st.booleans())
    def unpack(self, keep: bool) -> None:
        packed = self.packed()[0]
        plain = packed.with_suffix("")
        if not plain.exists():
            plain.write_bytes(OPEN[packed.suffix](packed.read_bytes()))
        if not keep:
            packed.unlink()

    @precondition(lambda self: self.packed())
    @rule(index=st.integers(0, 5))
    def rename_a_compressed_file(self, index: int) -> None:
        packed = self.packed()[index % len(self.packed())]
        self.count += 1
        packed.rename(self.folder / f"app.log.{self.count}{packed.suffix}")

    @precondition(lambda self: self.packed())
    @rule(count=st.integers(1, 5))
    def append_a_member(self, count: int) -> None:
        packed = self.packed()[-1]
        if packed.with_suffix("").exists():
            return  # its original would be a copy that differs from then on: two files, and rightly so
        if any(path.exists() for path in self.twins(packed)):
            return
        with packed.open("ab") as file:
            file.write(COMPRESS[packed.suffix](self.lines(count)))

    def twins(self, packed: Path) -> list[Path]:
        """Other files with the same content: appending to one would make it another file."""
        content = OPEN[packed.suffix](packed.read_bytes())
        others = [p for p in self.packed() if p != packed and OPEN[p.suffix](p.read_bytes()) == content]
        return others + [p for p in self.folder.glob("app.log*") if p.suffix not in COMPRESS and p.read_bytes() == content]  # fmt: skip

    @rule(seconds=st.sampled_from([0.0, 6.0, 61.0, 700.0]))
    def poll(self, seconds: float) -> None:
        self.now += seconds
        self.drain()

    @rule()
    def commit(self) -> None:
        self.collector.commit()

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.collector.crash() if crash else self.collector.commit()
        self.tailer.close()
        self.tailer = self.started()

    def drain(self) -> None:
        for _ in range(1000):
            self.now += 0.3
            turn = self.tailer.turn(rescan=True)
            self.collector.append([reading.chunk for reading in turn.readings])
            if turn.urgent:
                self.collector.commit()
            if not turn.more and not turn.readings and not turn.urgent:
                return
        raise AssertionError("the tailer never comes to rest")

    @rule()
    def everything_arrives(self) -> None:
        while self.half:
            self.end_compressing()
        for _ in range(3):
            self.drain()
            self.collector.commit()
            self.now += 61
        delivered = set(self.collector.lines())
        missing = self.written - delivered
        assert not missing, sorted(missing)[0][:20]
        assert delivered == self.written

    @invariant()
    def nothing_came_twice(self) -> None:
        twice = [line[:20] for line, times in Counter(self.collector.lines()).items() if times > 1]
        assert not twice


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
