"""What may be wrong with this machine, the folders and the archive: one check a row, each with what to do about it.

Nothing is changed. A check that does not apply says nothing.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator

from daemon import options
from daemon.discovery import Discovery, Found
from daemon.findings import Check, Finding, Patient
from daemon.machine import clock, disk, existing, file_systems, limits
from daemon.reach import loopback
from daemon.settings import Settings

_OTHERS_MAY_READ = stat.S_IROTH | stat.S_IWOTH


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield what every check found."""
    for check in CHECKS:
        yield from check(patient)


def folders(patient: Patient) -> Iterator[Finding]:
    """The followed folders exist, and everything in them can be read."""
    logs = patient.settings.logs
    for folder in sorted({*logs.profiles} - {*logs.directories}):
        made = f"it is followed as part of another, or not at all: name one of {', '.join(logs.directories)}"
        yield Finding("log folder", "warning", f"[logs] profiles names {folder}, which has no effect", made)
    for folder in logs.directories:
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


def archive_folder(patient: Patient) -> Iterator[Finding]:
    """The archive can be written, and not be read by everybody."""
    path = patient.settings.archive.path
    if not os.path.isdir(path):
        parent = existing(path)
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


def archive(patient: Patient) -> Iterator[Finding]:
    """The ledger can be read, and every file that it names is there."""
    from storage.errors import ArchiveError
    from storage.reader import PATIENCE_SECONDS, nodes, read_placed

    path = patient.settings.archive.path
    if not os.path.isdir(os.path.join(path, "nodes")):
        return
    found, own = nodes(path), patient.settings.archive.node
    if found and own not in found:
        yield Finding(
            "archive",
            "warning",
            f"there is no node {own} yet, but {', '.join(found)}",
            "correct [archive] node, unless this is another host: under a new name every log file is read again",
        )
    for node in found:
        try:
            placed = read_placed(path, node, patience=0.0 if patient.status is None else PATIENCE_SECONDS)
            state = placed.state
        except (ArchiveError, OSError) as error:
            yield Finding(
                "archive",
                "failed",
                f"node {node}: {error}",
                "keep a copy; watchkeep doctor --rebuild-ledger shows what can be known again",
            )
            continue
        if placed.lost:
            lost = f"{len(placed.lost)} of {len(state.files)} files are missing or damaged"
            yield Finding(
                "archive",
                "failed",
                f"node {node}: {lost}, first {placed.lost[0].path}",
                "watchkeep verify names them; restore them from a backup, under the same names",
            )
        elif placed.staged and patient.status is None:
            what = f"node {node}: {len(placed.staged)} files of the last commit are not in their places"
            yield Finding("archive", "warning", what, "start the daemon, which finishes what a crash left")
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
        for complaint in status.get("degraded", []):
            if complaint["code"] not in {"gap", "unreadable"}:  # said by other checks, and above
                yield Finding("daemon", "warning", str(complaint["detail"]))
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


def _who() -> str:
    return f"the user with id {os.geteuid()}"
