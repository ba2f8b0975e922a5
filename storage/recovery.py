"""Making the folders agree with the ledger: after a crash, or after a failed append in a running process.

The ledger is made durable before it is trusted (`storage.ledger`); then its files are moved to where it says (a crash may have come between
record and move), and what it does not know is cleared from `staging` and `live` only. A file of ours under `events/`
that the ledger does not know, or a listed file of the wrong size, is set aside and reported: start-up goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import orjson

from storage.errors import LedgerError
from storage.fs import Fs, makedirs
from storage.layout import EVENTS, REJECTS, ROLLUPS, Layout, segments
from storage.ledger import REBUILD_HINT
from storage.snapshot import File
from storage.state import State
from storage.survey import folder_names, read_footer, sealed_names


@dataclass(frozen=True, slots=True)
class Problem:
    """Something recovery found and could not mend. ``path`` is relative to the archive."""

    path: str
    what: str


def prepare(fs: Fs, layout: Layout) -> None:
    """Create the node's folders, durably.

    Those that were there already may be known to the system's memory alone, so all their names are synced.
    """
    own = (layout.ledger, layout.staging, layout.live, layout.aside, layout.own_log)
    shared = tuple(layout.absolute(name) for name in (EVENTS, REJECTS, ROLLUPS))
    for folder in (*own, *shared):
        makedirs(fs, folder)
    for parent in (layout.home, os.path.dirname(layout.home), layout.root):
        fs.sync_dir(parent)
    with suppress(
        PermissionError
    ):  # whoever made the archive's folder for us may keep the one above to himself
        fs.sync_dir(os.path.dirname(layout.root) or os.curdir)


def refuse_if_behind(fs: Fs, layout: Layout, state: State) -> None:
    """Raise LedgerError if files of this node were put in their places by records that its ledger does not have.

    The ledger was lost, cut short, or restored from a backup older than the archive. Going on would read lines again
    whose rows are here, and would clear away live files as unknown. Files are moved to their places only after their
    record is durable, so no crash leaves this.
    """
    for path in (*folder_names(fs, layout, layout.live), *sealed_names(fs, layout)):
        if path not in state.files and path not in state.retired and never_named(fs, layout, path):
            what = f"the ledger ends at record {state.n}, and a later one put {path} in its place"
            if not state.n:
                what = f"the ledger is missing, but {path} is there, which only a ledger record puts in its place"
            raise LedgerError(what, where=layout.ledger, hint=REBUILD_HINT)


def never_named(fs: Fs, layout: Layout, path: str) -> bool:
    """Return whether a file that the state does not know is the node's own, and no record there is ever named it.

    A copy under another name is not its own. One that was named once was removed since, and a power cut brought its
    name back. Only for the few files that nobody knows: it searches the whole ledger.
    """
    footer = read_footer(fs, layout, path)
    if footer is None or footer.entry.path != path:
        return False
    text = orjson.dumps(path)
    numbers = reversed(segments(fs.listdir(layout.ledger)))
    return not any(text in fs.read(layout.segment(number)) for number in numbers)


def sweep_old_segments(fs: Fs, layout: Layout) -> None:
    """Set the segments aside that a rebuilt ledger took the place of. Doing it again changes nothing."""
    numbers = segments(fs.listdir(layout.ledger))
    for number in numbers[:-1]:
        path = layout.segment(number)
        name = f"ledger-before-{numbers[-1]}-{os.path.basename(path)}"
        fs.rename(path, os.path.join(layout.aside, name))
    if numbers[:-1]:
        fs.sync_dir(layout.aside)
        fs.sync_dir(layout.ledger)


def settle(fs: Fs, layout: Layout, state: State) -> list[Problem]:
    """Bring files and ledger together; return what is missing or damaged. Doing it again changes nothing."""
    mine = [file for file in state.files.values() if file.node == layout.node]
    # A process may have been killed between moving the files of its last record and making the moves durable. Earlier
    # records are safe: the next one is only written when the files of the one before are in place.
    folders = {os.path.dirname(path) for path in state.last_placed if path in state.files}
    moved = [folder for folder in map(layout.absolute, sorted(folders)) if fs.isdir(folder)]
    # The days' own names likewise.
    roll_forward(fs, layout, mine, moved=[*map(layout.absolute, (EVENTS, REJECTS, ROLLUPS)), *moved])
    for name in fs.listdir(layout.staging):
        fs.unlink(os.path.join(layout.staging, name))
    fs.sync_dir(layout.staging)
    _clear_live(fs, layout, state)
    problems = _set_strangers_aside(fs, layout, state)
    return problems + _check_files(fs, layout, state)


def roll_forward(fs: Fs, layout: Layout, files: list[File], *, moved: Sequence[str] = ()) -> None:
    """Move staged files to their places, and make that durable, also in folders where files were ``moved`` before.

    The new names first, then the loss of the old ones: in between a file may have two names, and never none.
    """
    staged = set(fs.listdir(layout.staging))
    moving = [file for file in files if os.path.basename(file.path) in staged]
    folders = sorted({*moved, *(os.path.dirname(layout.absolute(file.path)) for file in moving)})
    fs.together([partial(makedirs, fs, folder) for folder in folders])
    for file in moving:
        fs.rename(layout.staged(file.path), layout.absolute(file.path))
    fs.together([partial(fs.sync_dir, folder) for folder in folders])
    if folders:
        fs.sync_dir(layout.staging)


def _clear_live(fs: Fs, layout: Layout, state: State) -> None:
    known = {os.path.basename(path) for path in (*state.files, *state.retired)}
    for name in fs.listdir(layout.live):
        if name not in known:
            fs.unlink(os.path.join(layout.live, name))
    fs.sync_dir(layout.live)


def _set_strangers_aside(fs: Fs, layout: Layout, state: State) -> list[Problem]:
    """Move files that carry this node's name but are in no record out of the documented glob."""
    problems = []
    for top, prefix in ((EVENTS, ""), (REJECTS, "rejects-"), (ROLLUPS, "rollup-")):
        for day in fs.listdir(layout.absolute(top)):
            folder = layout.absolute(os.path.join(top, day))
            for name in fs.listdir(folder):
                path = os.path.join(top, day, name)
                if (
                    not name.startswith(f"{prefix}{layout.node}-")
                    or path in state.files
                    or path in state.retired
                ):
                    continue
                fs.rename(os.path.join(folder, name), os.path.join(layout.aside, f"{top}-{day}-{name}"))
                fs.sync_dir(folder)
                fs.sync_dir(layout.aside)
                problems.append(Problem(path, "not in the ledger: moved to the folder 'aside'"))
    return problems


def _check_files(fs: Fs, layout: Layout, state: State) -> list[Problem]:
    problems = []
    for path, file in sorted(state.files.items()):
        size = fs.size(layout.absolute(path))
        if size is None:
            problems.append(Problem(path, "missing"))
        elif size != file.bytes:
            problems.append(Problem(path, f"has {size} bytes, the ledger says {file.bytes}"))
    return problems
