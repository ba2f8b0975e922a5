"""`watchkeep seal`: turn what is committed into final files now."""

from __future__ import annotations

from daemon.command import Command, CommandError, Context, Exit
from daemon.terminal import count


def run(context: Context) -> int:
    """Ask the running daemon, or do it without one."""
    from daemon.control import ControlError, call

    try:
        files = int(call(context.control_socket, "POST", "/seal")["files"])
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        files = _alone(context)
    except ControlError as error:
        raise CommandError(f"the daemon could not seal: {error}", Exit.ARCHIVE) from None
    if context.output.as_json:
        context.output.object({"files": files})
    else:
        context.output.line(f"{count(files)} files sealed" if files else "there was nothing to seal")
    return Exit.OK


def _alone(context: Context) -> int:
    from daemon import options
    from storage.archive import Archive
    from storage.reader import read_snapshot

    read_snapshot(context.settings.archive.path)  # an archive that is not there is not made by sealing it
    archive = Archive.open(options.archive_options(context.settings))
    try:
        files = archive.seal()
        archive.publish()
        archive.collect()
    finally:
        archive.close()
    return files


COMMAND = Command(
    name="seal",
    text="Turn everything that is committed into sealed files now, so that a plain glob over events/ holds it. A running "
    "daemon is asked, and reads, commits and seals what is in the log files at this moment.",
    options=(),
    run=run,
    examples=("watchkeep seal",),
)
