"""`watchkeep serve`: the daemon."""

from __future__ import annotations

from daemon.command import Command, Context, Option


def _port(text: str) -> int:
    return int(text)


def run(context: Context) -> int:
    """Run the daemon until it is told to stop."""
    arguments = context.arguments
    if arguments.logs:
        context.overrides["logs.directories"] = arguments.logs
    if arguments.port is not None:
        context.overrides["web.port"] = arguments.port
    settings = context.settings  # before the slow imports: a mistake is then reported at once
    import asyncio
    import gc

    gc.disable()  # a fifteenth of a start would go into looking for garbage among what modules keep for good
    from daemon.service import run as run_service

    gc.freeze()  # nor is it looked through later, while requests wait
    gc.enable()
    return asyncio.run(run_service(settings, reload=lambda: context.load().settings))


COMMAND = Command(
    name="serve",
    text="Follow the log folders, archive every line exactly once and answer over HTTP, until SIGTERM or Ctrl-C. SIGHUP reads the settings again.",
    options=(
        Option(("--logs",), "folder to follow, instead of those in the settings", "FOLDER", many=True),
        Option(
            ("--port",),
            "port of the HTTP side, instead of the one in the settings; 0 takes a free one",
            "PORT",
            _port,
        ),
    ),
    run=run,
    examples=("watchkeep serve --logs /var/log/myapp --archive /var/lib/watchkeep",),
)
