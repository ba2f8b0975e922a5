"""Every path and file name of an archive, spelled once. `docs/format.md` describes the same in words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

FORMAT_VERSION = 1  # of ledger records and of the folder layout; readers refuse a higher `min_reader`
MIN_READER = 1
SCHEMA_VERSION = 1  # of the columns; only ever added to

EVENTS = "events"
REJECTS = "rejects"
ROLLUPS = "rollups"
NODES = "nodes"
VIEW_DATABASE = "watchkeep.duckdb"
VIEW_SQL = "watchkeep.sql"

SEQ_DIGITS = 16  # 2^53 has 16 digits, so names sort as numbers do
SEGMENT_DIGITS = 12
SEGMENT_SUFFIX = ".ledger"

_NODE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SEALED_FOLDER = {"events": EVENTS, "rejects": REJECTS, "rollup": ROLLUPS}


def valid_node(name: str) -> bool:
    """Return whether ``name`` can be a node: it becomes part of file names, so it is short and plain."""
    return _NODE_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Layout:
    """Absolute paths of one node in one archive. Methods that return a *relative* path say so."""

    root: str
    node: str

    @property
    def home(self) -> str:
        """Folder of everything that is this node's alone."""
        return os.path.join(self.root, NODES, self.node)

    @property
    def ledger(self) -> str:
        """Folder of the ledger's segments."""
        return os.path.join(self.home, "ledger")

    @property
    def staging(self) -> str:
        """Where files are written before a record names them."""
        return os.path.join(self.home, "staging")

    @property
    def live(self) -> str:
        """Where committed files lie until they are sealed."""
        return os.path.join(self.home, "live")

    @property
    def aside(self) -> str:
        """Where files go that are damaged or that the ledger does not know. Never deleted by the daemon."""
        return os.path.join(self.home, "aside")

    @property
    def own_log(self) -> str:
        """The daemon's own events, tailed like any other source."""
        return os.path.join(self.home, "self")

    @property
    def places(self) -> str:
        """Copies of the GeoIP databases in use."""
        return os.path.join(self.home, "places")

    @property
    def habits(self) -> str:
        """What is remembered of users, as it was at some rows."""
        return os.path.join(self.home, "habits")

    @property
    def detection(self) -> str:
        """How far the rules have looked, and the alerts under way there."""
        return os.path.join(self.home, "detection")

    @property
    def outbox(self) -> str:
        """What is to be told of alerts, until it is (`storage.journal`)."""
        return os.path.join(self.home, "outbox")

    @property
    def lock(self) -> str:
        """File whose lock the one writer holds."""
        return os.path.join(self.home, "lock")

    @property
    def keys(self) -> str:
        """File of the API keys, as hashes. For its owner alone (`storage.keyring`)."""
        return os.path.join(self.home, "keys.json")

    @property
    def control_socket(self) -> str:
        """Unix socket of the running daemon's commands."""
        return os.path.join(self.home, "control.sock")

    def segment(self, first_record: int) -> str:
        """Return the path of the segment that begins with a record."""
        return os.path.join(self.ledger, f"{first_record:0{SEGMENT_DIGITS}d}{SEGMENT_SUFFIX}")

    def absolute(self, relative: str) -> str:
        """Return the absolute path of a path below the archive."""
        return os.path.join(self.root, relative)

    def staged(self, relative: str) -> str:
        """Where a file waits before its record is durable: its own name, in `staging`."""
        return os.path.join(self.staging, os.path.basename(relative))

    def live_file(self, kind: str, first_seq: int, generation: int = 0) -> str:
        """Return the relative path of a live file. ``generation`` tells a folded file from the one it begins with."""
        suffix = f"-f{generation}" if generation else ""
        name = f"{self.node}-{first_seq:0{SEQ_DIGITS}d}-{kind}{suffix}.parquet"
        return os.path.join(NODES, self.node, "live", name)

    def sealed_file(self, kind: str, day: str, first_seq: int, retention_class: str) -> str:
        """Return the relative path of a sealed file: one UTC day, one retention class, internal or not."""
        name = f"{self.node}-{first_seq:0{SEQ_DIGITS}d}-{retention_class}.parquet"
        folder = _SEALED_FOLDER[kind]
        # A roll-up has the name of the events file it covers; staging tells them apart by the prefix.
        if kind != "events":
            name = f"{kind}-{name}"
        return os.path.join(folder, f"date={day}", name)


def below_archive(path: str) -> str:
    """Return a file's path below its archive, of which only the names in this module are known."""
    parts = path.split(os.sep)
    tops = [place for place, part in enumerate(parts) if part in {EVENTS, REJECTS, ROLLUPS, NODES}]
    return os.sep.join(parts[tops[-1] :]) if tops else parts[-1]


def segments(names: list[str]) -> list[int]:
    """Return the numbers of the ledger segments among some file names, rising."""
    found = [name.removesuffix(SEGMENT_SUFFIX) for name in names if name.endswith(SEGMENT_SUFFIX)]
    return sorted(int(stem) for stem in found if stem.isdigit())
