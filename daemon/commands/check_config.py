"""`watchkeep check-config`: everything that is wrong with the settings, or all of them with their origin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from daemon.command import Command, Context, Exit


def run(context: Context) -> int:
    """Print the problems, or every value with where it comes from."""
    from daemon.configerror import ConfigError
    from daemon.settings import keys
    from daemon.toml import spelled

    output = context.output
    try:
        loaded = context.load()
    except ConfigError as error:
        if output.as_json:
            output.object({"ok": False, "problems": [asdict(problem) for problem in error.problems]})
        else:
            for problem in error.problems:
                output.line(str(problem))
        return Exit.CONFIG
    settings = loaded.settings
    values = {
        key.dotted: (getattr(getattr(settings, key.section), key.name), loaded.origins[key.dotted], key.live)
        for key in keys()
    }
    if output.as_json:
        shown = {
            name: {
                "value": _plain(value),
                "origin": origin,
                "live": live,
            }
            for name, (value, origin, live) in values.items()
        }
        output.object({"ok": True, "file": loaded.file, "settings": shown})
    else:
        rows = [(name, spelled(value), origin) for name, (value, origin, _live) in values.items()]
        output.rows(("setting", "value", "origin"), rows)
    return Exit.OK


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


COMMAND = Command(
    name="check-config",
    text="Read the settings as the daemon would. Print every problem with file, line, key and hint, or, if there is none, every value in force with its origin. Changes nothing.",
    options=(),
    run=run,
    examples=("watchkeep check-config --config /etc/watchkeep/config.toml", "watchkeep check-config --json"),
)
