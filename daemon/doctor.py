"""What may be wrong with this machine, the folders and the archive: one check a row, each with what to do about it.

Nothing is changed. A check that does not apply says nothing.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from daemon import options
from daemon.discovery import Discovery, Found
from daemon.reach import loopback
from daemon.settings import Settings

State = Literal["ok", "warning", "failed"]

LOW_FREE_SHARE = 0.05  # of the disk
LOW_FREE_BYTES = 2 << 30
NO_FREE_BYTES = 256 << 20  # less than a commit, a seal and their copies need together
FEW_DESCRIPTORS = 1024  # the tailer keeps 512 files open, queries and the web side need the rest
FIRST_SENSIBLE_YEAR = 2026
AHEAD_SECONDS = 300.0  # how far the archive's newest record may lie in the future before the clock is doubted
_UNSYNCHRONISED = 5  # adjtimex's answer when no time service has set the clock
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"})
_OTHERS_MAY_READ = stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: about what, how it is, and what to do."""

    check: str
    state: State
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the settings, and what the running daemon says (None: none runs)."""

    settings: Settings
    status: dict[str, Any] | None


Check = Callable[[Patient], Iterator[Finding]]


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield what every check found."""
    for check in CHECKS:
        yield from check(patient)


def folders(patient: Patient) -> Iterator[Finding]:
    """The followed folders exist, and everything in them can be read."""
    for folder in patient.settings.logs.directories:
        if not os.path.isdir(folder):
            made = f"mkdir -p {folder}, or correct [logs] directories"
            yield Finding("log folder", "failed", f"{folder} does not exist", made)
        elif not os.access(folder, os.R_OK | os.X_OK):
            fix = f"give {_who()} the right to list it: chmod o+rx, or a group of both"
            yield Finding("log folder", "failed", f"{folder} cannot be listed", fix)
    for root in options.roots(patient.settings):
        scan = Discovery((root,)).scan()
        name = os.fsdecode(root.path)
        for problem in scan.problems:
            if problem.path != root.path:
                what = f"{os.fsdecode(problem.path)}: {problem.reason}"
                yield Finding("log folder", "failed", what, f"give {_who()} the right to read it")
        closed = [file for file in scan.files if not os.access(file.path, os.R_OK)]
        for file in closed:
            fix = f"give {_who()} the right to read it, and log rotation the same for new files"
            yield Finding("log file", "failed", f"{os.fsdecode(file.path)} cannot be read", fix)
        if scan.roots and not scan.files:
            fix = "nothing was logged yet, or [logs] include does not fit the names"
            yield Finding("log folder", "warning", f"{name} holds no file that counts", fix)
        elif scan.roots and not closed:
            yield Finding("log folder", "ok", f"{name}: {len(scan.files)} files, all readable")


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


def archive_folder(patient: Patient) -> Iterator[Finding]:
    """The archive can be written, and not be read by everybody."""
    path = patient.settings.archive.path
    if not os.path.isdir(path):
        parent = _existing(path)
        if os.access(parent, os.W_OK | os.X_OK):
            yield Finding("archive folder", "ok", f"{path} will be made at the first start")
        else:
            fix = f"mkdir {path}, owned by {_who()}"
            yield Finding("archive folder", "failed", f"{path} cannot be made in {parent}", fix)
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("archive folder", "failed", f"{path} cannot be written", f"chown it to {_who()}")
    elif os.stat(path).st_mode & _OTHERS_MAY_READ:
        what = f"every user of this machine may read {path}"
        yield Finding("archive folder", "warning", what, f"chmod o-rwx {path}")
    else:
        yield Finding("archive folder", "ok", f"{path} is writable and private")


def disk(patient: Patient) -> Iterator[Finding]:
    """There is room, in bytes and in files."""
    place = _existing(patient.settings.archive.path)
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


def archive(patient: Patient) -> Iterator[Finding]:
    """The ledger can be read, and every file that it names is there."""
    from storage.errors import ArchiveError
    from storage.fs import Disk
    from storage.layout import Layout
    from storage.reader import nodes, read_state
    from storage.recovery import refuse_if_behind

    path = patient.settings.archive.path
    if not os.path.isdir(os.path.join(path, "nodes")):
        return
    for node in nodes(path):
        try:
            state = read_state(path, node)
            if patient.status is None:
                refuse_if_behind(Disk(), Layout(path, node), state)
        except (ArchiveError, OSError) as error:
            yield Finding(
                "archive",
                "failed",
                f"node {node}: {error}",
                "keep a copy; watchkeep doctor --rebuild-ledger shows what can be known again",
            )
            continue
        missing = [
            file.path for file in state.files.values() if not os.path.isfile(os.path.join(path, file.path))
        ]
        if missing and patient.status is None:
            what = (
                f"node {node}: {len(missing)} of {len(state.files)} files are not there, first {missing[0]}"
            )
            yield Finding(
                "archive",
                "failed",
                what,
                "start the daemon, which finishes what a crash left; then watchkeep verify",
            )
        else:
            rows = sum(file.rows for file in state.files.values() if file.kind == "events")
            yield Finding(
                "archive", "ok", f"node {node}: {rows} committed events in {len(state.files)} files"
            )
        if state.gaps:
            what = f"node {node}: {state.gap_bytes} bytes of log files were lost in {state.gaps} gaps"
            yield Finding(
                "archive",
                "warning",
                what,
                "rotation removed files before they were read; watchkeep query --internal only",
            )


def running(patient: Patient) -> Iterator[Finding]:
    """The daemon is well, or its port is free."""
    web, status = patient.settings.web, patient.status
    if status is not None:
        if status.get("ready", True):
            yield Finding("daemon", "ok", f"runs and answers on {status.get('url') or 'its socket'}")
        else:
            yield Finding(
                "daemon", "failed", f"runs and is not ready: {status.get('reason')}", "look at its log"
            )
        for problem in status.get("problems", []):
            yield Finding("daemon", "warning", str(problem))
        return
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((web.host, web.port))
        except OSError as error:
            what = f"{web.host}:{web.port} cannot be used: {error.strerror}"
            yield Finding("port", "failed", what, "choose another [web] port, or stop who has it")
            return
    yield Finding("daemon", "warning", "does not run", "watchkeep serve")


def confinement(_patient: Patient) -> Iterator[Finding]:
    """SQL typed by a person can be confined."""
    from storage.sandbox import landlock_version

    version = landlock_version()
    if version:
        yield Finding("sql", "ok", f"statements can be confined (Landlock {version})")
    else:
        what = "this kernel has no Landlock, so watchkeep sql refuses to run"
        yield Finding("sql", "warning", what, "Linux 5.13 or later with landlock among the security modules")


def databases(patient: Patient) -> Iterator[Finding]:
    """The GeoIP databases can be read, say where an address lies, and are not too old."""
    import geoip2.database
    from maxminddb import InvalidDatabaseError

    places = patient.settings.places
    for path in (places.database, places.asn_database):
        if path is None:
            continue
        try:
            with geoip2.database.Reader(path) as reader:
                meta = reader.metadata()
        except (OSError, ValueError, InvalidDatabaseError) as error:
            fix = "fetch it again, or correct [places]; lines are archived all the same, without a place"
            yield Finding("GeoIP database", "failed", f"{path} cannot be read: {error}", fix)
            continue
        age = (time.time() - meta.build_epoch) / 86_400
        what = f"{path}: {meta.database_type}, {meta.node_count} nodes, built {age:.0f} days ago"
        old = age > places.stale_days
        yield Finding(
            "GeoIP database", "warning" if old else "ok", what, "fetch a newer edition" if old else ""
        )


def receivers(patient: Patient) -> Iterator[Finding]:
    """Files with the secrets of alert channels are there, and for few eyes."""
    for channel in patient.settings.alerts.channels:
        for name in ("url_file", "secret_file"):
            path = getattr(channel, name)
            if path is None:
                continue
            try:
                with open(path, "rb") as file:
                    mode = os.fstat(file.fileno()).st_mode
            except OSError as error:
                what = f"{name} of channel {channel.name}, {path}, cannot be read: {error.strerror}"
                yield Finding("alert channel", "failed", what, f"create it, readable for {_who()}")
                continue
            if mode & _OTHERS_MAY_READ:
                what = f"{name} of channel {channel.name} can be read by everybody on this machine"
                yield Finding("alert channel", "warning", what, f"chmod 600 {path}")


def keys(patient: Patient) -> Iterator[Finding]:
    """Who may ask over HTTP is asked for a key where it must be, and keys are private and last."""
    from storage.errors import ArchiveError
    from storage.keyring import Keyring
    from storage.layout import Layout

    web, archive = patient.settings.web, patient.settings.archive
    path = Layout(archive.path, archive.node).keys
    try:
        found = Keyring.open(path).records()
    except (ArchiveError, OSError) as error:
        yield Finding("keys", "failed", str(error), "restore the file, or remove it and make new keys")
        return
    now_us = time.time_ns() // 1000
    active = [key for key in found if key.state(now_us) == "active"]
    if not loopback(web.host):
        if not active and web.trusted_header is None:
            fix = "watchkeep keys create --name NAME --role admin, or listen on 127.0.0.1"
            yield Finding("keys", "failed", f"others reach {web.host} and there is no valid key", fix)
        elif not web.trusted_proxies:
            fix = "put a proxy with TLS in front and name it in [web] trusted_proxies"
            yield Finding("keys", "warning", f"keys travel readable to {web.host}", fix)
    if found and os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("keys", "warning", f"others than {_who()} may read {path}", f"chmod 600 {path}")
    soon = [key.name for key in active if key.expires_us is not None and key.expires_us - now_us < SOON_US]
    if soon:
        fix = "make new ones in time: watchkeep keys create"
        yield Finding("keys", "warning", f"expiring within two weeks: {', '.join(soon)}", fix)
    elif active:
        yield Finding("keys", "ok", f"{len(active)} valid keys")


SOON_US = 14 * 86_400 * 1_000_000  # time enough to make another key before one expires

CHECKS: tuple[Check, ...] = (
    folders,
    file_systems,
    archive_folder,
    disk,
    clock,
    limits,
    archive,
    keys,
    running,
    confinement,
    databases,
    receivers,
)


def newest_files(settings: Settings, number: int) -> list[Found]:
    """Return the files that were written last."""
    files = Discovery(options.roots(settings)).scan().files
    return sorted(files, key=lambda file: -file.mtime_ns)[:number]


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


def _existing(path: str) -> str:
    """Return the path itself or the nearest folder above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _who() -> str:
    return f"the user with id {os.geteuid()}"
