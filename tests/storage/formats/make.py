"""Writes `format-N.tar.xz`: an archive as this release writes it, which every later release must read and continue.

    python tests/storage/formats/make.py FILE

Run once for a release whose format is new, and never again for that format: the fixture is what was on people's disks.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from parsers.batch import Chunk, Mark, Oversize, Place, Source  # noqa: E402 - the path comes first
from storage import books  # noqa: E402
from storage.archive import Archive  # noqa: E402
from storage.archiveoptions import ArchiveOptions  # noqa: E402
from storage.records import SourceSeen  # noqa: E402
from storage.transform import ParseOptions, Transformer  # noqa: E402

NOW_US = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z
MARK_BYTES = 1024
LINE_LIMIT = 4096
LOGS = "/var/log/shop"  # where the application of the fixture wrote


class Maker:
    """Log files in ``root/logs``, read into ``root/archive``."""

    def __init__(self, root: Path) -> None:
        self.logs = root / "logs"
        self.logs.mkdir()
        self.archive = self._opened(root / "archive")
        self._transformer = Transformer(ParseOptions(node="main"))
        self._sources: dict[str, Source] = {}
        self._read: dict[str, int] = {}
        self.now_us = NOW_US

    @staticmethod
    def _opened(path: Path) -> Archive:
        return Archive.open(ArchiveOptions(path=str(path), grace_seconds=0.0, fold_files=4))

    def restart(self) -> None:
        """Stop and start again."""
        self.archive.close()
        self.archive = self._opened(Path(self.archive.layout.root))

    def close(self) -> None:
        """Stop."""
        self._transformer.close()
        self.archive.close()

    def write(self, file: str, lines: list[bytes], *, internal: bool = False, bulk: bool = False) -> None:
        """Append lines to a log file and take them in."""
        folder = Path(self.archive.layout.own_log) if internal else self.logs
        with (folder / file).open("ab") as out:
            out.write(b"".join(line + b"\n" for line in lines))
        whole = (folder / file).read_bytes()
        start = self._read.get(file, 0)
        head = whole[:MARK_BYTES]
        place = Place(f"{LOGS}/{file}", 1, 1000 + len(file) + len(self._sources), None, len(whole))
        mark = Mark(_short(head), len(head), "", 0, "", start)
        if file not in self._sources:
            seen = SourceSeen(
                path=place.path,
                file=file,
                device=place.device,
                inode=place.inode,
                generation=None,
                head=mark.head,
                head_length=mark.head_length,
                internal=internal,
                profile="auto",
                file_date_us=None,
                first_seen_us=self.now_us,
            )
            self._sources[file] = self.archive.bulk.meet(seen) if bulk else self.archive.register(seen)
        chunks = []
        at = start
        for line in lines:
            end = at + len(line) + 1
            seam = whole[max(0, end - MARK_BYTES) : end]
            mark = Mark(_short(head), len(head), _short(seam), len(seam), _sha256(whole[start:end]), start)
            long = len(line) > LINE_LIMIT
            oversize = (Oversize(at, len(line), _sha256(line), line[:LINE_LIMIT]),) if long else ()
            data = b"" if long else line + b"\n"
            chunks.append(
                Chunk(
                    self._sources[file], at, end, data, mark, place, oversize=oversize, read_at_us=self.now_us
                )
            )
            at = end
        self._read[file] = at
        parsed = self._transformer.parse(chunks)
        if bulk:
            self.archive.bulk.append(parsed, chunks)
        else:
            self.archive.append(parsed, chunks, now_us=self.now_us)


def _short(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def event(number: int, day: str) -> bytes:
    """Return a line as applications write it."""
    return json.dumps(
        {
            "eventId": f"e{number}",
            "timestamp": f"{day}T10:00:{number % 60:02d}Z",
            "level": ("info", "warning", "error")[number % 3],
            "category": "api",
            "action": "read",
            "user": {"id": f"u{number % 4}", "username": f"name {number % 4}"},
            "request": {"ip": "192.0.2.7", "method": "GET", "path": f"/orders/{number}", "statusCode": 200},
            "description": f"order {number} was read",
            "metadata": {"order": number},
            "unknown": {"kept": True},
        }
    ).encode()


def make(root: Path) -> None:
    """Let an archive live through everything that leaves something on disk."""
    books.SNAPSHOT_EVERY = 5
    it = Maker(root)
    archive = it.archive
    number = 0
    for round_ in range(6):
        first = [event(number + i, "2026-02-27" if round_ < 2 else "2026-02-28") for i in range(4)]
        it.write("app.log", [*first, b"", b"not JSON"])
        it.write("self.jsonl", [event(9000 + round_, "2026-02-28")], internal=True)
        number += 4
        archive.commit()
        if round_ == 2:
            it.write("blank.log", [b"", b"  "])
            archive.commit()
    archive.fold()
    it.write("app.log", [b'{"description": "' + b"x" * 5000 + b'"}', event(number, "2026-02-28")])
    number += 1
    archive.commit()
    archive.seal()
    archive.collect()
    it.restart()
    archive = it.archive
    it.write("imported.log", [event(number + i, "2026-02-20") for i in range(10)], bulk=True)
    number += 10
    archive.bulk.commit()
    archive.drop("2026-02-21", dry_run=False)
    sid = next(s.sid for s in archive.sources.values() if s.file == "blank.log")
    archive.losses.gap(sid, 4, 90, "gone")
    for _ in range(6):
        it.write("app.log", [event(number, "2026-03-01"), event(number + 1, "2026-03-01")])
        number += 2
        archive.commit()
    archive.fold()  # what it took the place of is still there
    it.write("app.log", [event(number, "2026-03-01")])
    number += 1
    it.close()
    state = archive.state
    expected = {
        "ids": [f"e{i}" for i in range(number) if not 25 <= i < 35] + [f"e{9000 + i}" for i in range(6)],
        "offsets": {source.file: source.offset for source in state.sources.values()},
        "rejects": sum(file.rows for file in state.files.values() if file.kind == "rejects"),
        "records": state.n,
    }
    (root / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def main() -> int:
    """Write the fixture."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root)
        with tarfile.open(sys.argv[1], "w:xz", preset=9) as tar:
            for path in sorted(root.rglob("*")):
                if path.name == "lock" or path.name.startswith("."):
                    continue
                info = tar.gettarinfo(path, str(path.relative_to(root)))
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                if path.is_file():
                    with path.open("rb") as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info)
    return 0


if __name__ == "__main__":
    sys.exit(main())
