"""What a statement in SQL sees: the views over the committed files, and the folders that its process may read."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Sequence

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.duck import schema_sql
from storage.errors import UnreadableError
from storage.fs import Fs
from storage.job import View
from storage.layout import EVENTS, REJECTS, ROLLUPS, Layout
from storage.neighbours import Neighbours
from storage.reader import nodes, read_snapshot
from storage.rollups import ROLLUP_SCHEMA
from storage.shapes import complete
from storage.snapshot import File, Snapshot

# Name of the view, kind of its files, columns.
VIEWS = (
    ("events", "events", EVENT_SCHEMA),
    ("rejects", "rejects", REJECT_SCHEMA),
    ("rollups", "rollup", ROLLUP_SCHEMA),
)
_OURS = os.path.dirname(os.path.abspath(__file__))  # the one package of ours that the process loads
# The system's libraries, and what DuckDB asks of the machine (it aborts when it may not read its control group). Of
# /proc/self only single files: not the environment.
_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/self/cgroup",
    "/proc/self/statm",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
)


def views_of(files: Iterable[File], *, united: bool | None = None, root: str = "") -> tuple[View, ...]:
    """Return the views over some files.

    ``united`` says whether some file may lack a column; None looks into the files, which is quick for whoever has
    looked before.
    """
    all_files = list(files)
    views = []
    for name, kind, schema in VIEWS:
        paths = tuple(file.path for file in all_files if file.kind == kind)
        lacking = _lacking(root, paths) if united is None and kind == "events" else bool(united)
        views.append(View(name, paths, tuple(schema_sql(schema)), lacking))
    return tuple(views)


def _lacking(root: str, paths: Sequence[str]) -> bool:
    try:
        return not all(complete(os.path.join(root, path)) for path in paths)
    except (OSError, UnreadableError):
        return True  # whoever reads it is told


def committed_views(path: str) -> tuple[View, ...]:
    """Return the views over everything that all nodes have committed; ArchiveError where there is no archive."""
    snapshot = read_snapshot(path)
    return views_of((*snapshot.events, *snapshot.rejects, *snapshot.rollups), united=True)


class Committed:
    """The views of a running daemon: its own files from memory, those of the other nodes as they grow."""

    def __init__(self, layout: Layout, fs: Fs, snapshots: Callable[[], Snapshot]) -> None:
        self._layout = layout
        self._snapshots = snapshots
        self._neighbours = Neighbours(fs, layout)
        self._one = threading.Lock()

    def views(self) -> tuple[View, ...]:
        """Return the views as of this moment. Blocks: it may have to look into files."""
        snapshot = self._snapshots()
        mine = [
            file
            for file in (*snapshot.events, *snapshot.rejects, *snapshot.rollups)
            if file.node == self._layout.node
        ]
        with self._one:
            return views_of([*mine, *self._neighbours.files()], root=self._layout.root)


def readable(root: str, views: Iterable[View] = ()) -> tuple[str, ...]:
    """Return the folders of an archive that its views' files lie in, as far as they exist; root is absolute.

    Neither the ledger nor the daemon's own log is among them, nor anything else that lies beside the events.
    ``views`` adds the folders of files in an unusual place: what a crash left in `staging`.
    """
    names = [EVENTS, REJECTS, ROLLUPS]
    names += [os.path.relpath(Layout(root, node).live, root) for node in nodes(root)]
    names += sorted(
        {
            os.path.dirname(path)
            for view in views
            for path in view.files
            if not any(path.startswith(f"{name}/") for name in names)
        }
    )
    folders = (os.path.join(root, name) for name in names)
    return tuple(folder for folder in folders if os.path.isdir(folder))


def programs() -> tuple[str, ...]:
    """Return what the process loads itself from: the interpreter's library, installed packages, the system."""
    paths = sysconfig.get_paths()
    interpreter = (paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"])
    own = (site.getusersitepackages(),) if site.ENABLE_USER_SITE else ()
    base = (os.path.join(sys.base_prefix, "lib"), os.path.join(sys.prefix, "pyvenv.cfg"))
    return tuple(dict.fromkeys((_OURS, *interpreter, *own, *base, *_SYSTEM)))
