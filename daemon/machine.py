"""What may be wrong with the machine itself: its file systems, disk, clock and limits. Checks of `daemon.doctor`."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from daemon.findings import Finding, Patient

LOW_FREE_SHARE = 0.05  # of the disk
LOW_FREE_BYTES = 2 << 30  # six hours of a thousand events a second: time to act
NO_FREE_BYTES = 256 << 20  # less than a commit, a seal and their copies need together
FEW_DESCRIPTORS = 1024  # the tailer keeps 512 files open, queries and the web side need the rest
FIRST_SENSIBLE_YEAR = 2026  # of this release: a clock before it is wrong
AHEAD_SECONDS = 300.0  # how far the archive's newest record may lie in the future before the clock is doubted
_UNSYNCHRONISED = 5  # adjtimex's answer when no time service has set the clock
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"})


def file_systems(patient: Patient) -> Iterator[Finding]:
    """Change notices and locks work where logs and archive lie."""
    mounts = _mounts()
    for folder in patient.settings.logs.directories:
        kind = _file_system(folder, mounts)
        if kind in _NETWORK_FILE_SYSTEMS:
            what = f"{folder} is on {kind}, where changes by other machines give no notice"
            fix = "lines appear with the next listing ([logs] scan_seconds); better run a daemon where they are written"
            yield Finding("file system", "warning", what, fix)
    kind = _file_system(patient.settings.archive.path, mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        what = f"the archive is on {kind}, where locks and syncs may not hold"
        yield Finding("file system", "warning", what, "put [archive] path on a local disk")


def disk(patient: Patient) -> Iterator[Finding]:
    """There is room, in bytes and in files."""
    place = existing(patient.settings.archive.path)
    usage, info = shutil.disk_usage(place), os.statvfs(place)
    what = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free for the archive"
    fix = "remove old days (watchkeep cleanup), or move the archive to a larger disk"
    if usage.free < NO_FREE_BYTES:
        yield Finding("disk", "failed", what, fix)
    elif usage.free < max(LOW_FREE_BYTES, usage.total * LOW_FREE_SHARE):
        yield Finding("disk", "warning", what, fix)
    else:
        yield Finding("disk", "ok", what)
    if info.f_files and info.f_favail < info.f_files * LOW_FREE_SHARE:
        what = f"only {info.f_favail} more files can be made on the archive's disk"
        yield Finding("disk", "warning", what, "remove files there")


def clock(patient: Patient) -> Iterator[Finding]:
    """The clock is set, kept by a time service, and not behind the archive."""
    now = time.time()
    year = datetime.fromtimestamp(now, UTC).year
    if year < FIRST_SENSIBLE_YEAR:
        yield Finding("clock", "failed", f"it is said to be {year}", "set the clock")
        return
    newest_us = _newest_record_us(patient)
    if newest_us is not None and newest_us / 1e6 - now > AHEAD_SECONDS:
        what = f"the archive was written {newest_us / 1e6 - now:.0f} s in the future"
        yield Finding("clock", "failed", what, "set the clock; events keep their own times")
    elif _clock_state() == _UNSYNCHRONISED:
        what = "no time service keeps the clock"
        yield Finding(
            "clock",
            "warning",
            what,
            "run chrony, ntpd or systemd-timesyncd (a virtual machine may rely on its host)",
        )
    else:
        yield Finding(
            "clock", "ok", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC, kept by a time service"
        )


def limits(patient: Patient) -> Iterator[Finding]:
    """The kernel allows as many watches and open files as are needed."""
    needed = sum(1 for folder in patient.settings.logs.directories for _ in os.walk(folder))
    watches = _number("/proc/sys/fs/inotify/max_user_watches")
    instances = _number("/proc/sys/fs/inotify/max_user_instances")
    if watches is not None and needed * 2 > watches:
        what = f"{needed} folders need a watch each, the kernel allows {watches}"
        yield Finding(
            "watches", "warning", what, f"sysctl fs.inotify.max_user_watches={max(524_288, needed * 4)}"
        )
    elif instances is not None and instances < 2:  # one for us, one for anybody else
        what = f"the kernel allows {instances} watchers a user"
        yield Finding("watches", "warning", what, "sysctl fs.inotify.max_user_instances=128")
    else:
        yield Finding("watches", "ok", f"{needed} folders to watch, {watches or 'any number'} allowed")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_DESCRIPTORS:
        what = f"{soft} open files are allowed"
        yield Finding(
            "open files", "warning", what, f"ulimit -n {min(hard, 65_536)}, or LimitNOFILE= in the unit"
        )
    else:
        yield Finding("open files", "ok", f"{soft} allowed")


def existing(path: str) -> str:
    """Return the path itself or the nearest folder above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def _newest_record_us(patient: Patient) -> int | None:
    """Return when the archive was last written, by its own account."""
    from storage.errors import ArchiveError
    from storage.reader import read_state

    settings = patient.settings.archive
    try:
        state = read_state(settings.path, settings.node)
    except (ArchiveError, OSError):
        return None
    return state.last_commit_us


def _clock_state() -> int:
    """Return adjtimex's state of the clock; -1 where it cannot be asked."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return -1
    answer = ctypes.create_string_buffer(
        512
    )  # more than the kernel's struct; all zero asks and changes nothing
    state: int = adjtimex(answer)
    return state


def _mounts() -> list[tuple[str, str]]:
    """Return mount points with their kind of file system, the deepest first."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as lines:
            fields = [line.split() for line in lines]
    except OSError:
        return []
    points = [(parts[1].encode().decode("unicode_escape"), parts[2]) for parts in fields]
    return sorted(points, key=lambda point: -len(point[0]))


def _file_system(path: str, mounts: list[tuple[str, str]]) -> str:
    real = os.path.realpath(path)
    for point, kind in mounts:
        if real == point or real.startswith(point.rstrip("/") + "/"):
            return kind
    return ""


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
