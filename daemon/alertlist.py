"""`watchkeep alerts list`, `show`, `ack`, `resolve` and `reopen`: what rules found, and what is done about it."""

from __future__ import annotations

from typing import Any

from daemon.command import CommandError, Context, Exit
from daemon.terminal import count

DOINGS = ("list", "show", "ack", "resolve", "reopen")
KINDS = {"ack": "acknowledged", "resolve": "resolved", "reopen": "reopened"}
STATES = ("open", "acknowledged", "resolved")
SHORT_ID = 8  # characters by which an alert may be named, if no other begins so


def look_after(context: Context) -> int:
    """List, show, acknowledge, resolve or reopen."""
    arguments = context.arguments
    words = arguments.what
    if len(words) != (arguments.doing != "list"):
        hint = f"watchkeep alerts {arguments.doing}{'' if arguments.doing == 'list' else ' ALERT'}"
        raise CommandError("an alert's id belongs to show, ack, resolve and reopen", Exit.USAGE, hint=hint)
    alerts = _ask(context, "GET", "/alerts")["alerts"]
    if arguments.doing == "list":
        return _list(context, alerts)
    alert = _named(alerts, words[0])
    if arguments.doing in KINDS:
        from daemon.alone import author

        body = {
            "id": alert["id"],
            "kind": KINDS[arguments.doing],
            "author": author(),
            "comment": arguments.comment or "",
        }
        alert = _ask(context, "POST", "/alerts/change", body)["alert"]
    return _show(context, alert)


def _ask(context: Context, method: str, target: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    from daemon.alone import ask

    def alone() -> dict[str, Any]:
        hint = "alerts live in the daemon: start it; `watchkeep query --internal only` reads the events of alerts without"
        raise CommandError("no daemon runs for this archive", Exit.ARCHIVE, hint=hint)

    return ask(context, method, target, body or {}, alone)


def _named(alerts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [alert for alert in alerts if alert["id"] == name] or [
        alert for alert in alerts if len(name) >= SHORT_ID and alert["id"].startswith(name)
    ]
    if len(found) != 1:
        said = "more than one alert begins with this" if found else "there is no such alert"
        raise CommandError(said, Exit.FOUND, hint="see `watchkeep alerts list`")
    return found[0]


def _list(context: Context, alerts: list[dict[str, Any]]) -> int:
    wanted = context.arguments.state
    shown = [alert for alert in alerts if wanted is None or alert["state"] == wanted]
    output = context.output
    if output.as_json:
        output.object({"alerts": shown})
    elif shown:
        heads = ("alert", "state", "level", "rule", "group", "fired", "last")
        output.rows(
            heads,
            (
                (
                    alert["id"][:SHORT_ID],
                    alert["state"],
                    alert["level"],
                    alert["title"],
                    _group(alert),
                    count(alert["count"]),
                    alert["last"],
                )
                for alert in shown
            ),
        )
    else:
        output.line("there are no alerts")
    return Exit.OK


def _show(context: Context, alert: dict[str, Any]) -> int:
    output = context.output
    if output.as_json:
        output.object(alert)
        return Exit.OK
    output.facts(
        {
            "alert": alert["id"],
            "rule": alert["title"],
            "level": alert["level"],
            "group": _group(alert),
            "state": alert["state"] + (f", by {alert['by']}" if alert["by"] else ""),
            "comment": alert["comment"],
            "opened": alert["opened"],
            "last": alert["last"],
            "fired": count(alert["count"]),
            "evidence": ", ".join(alert["evidence"]),
            "techniques": ", ".join(alert["techniques"]),
            "what to do": alert["runbook"],
            "meaning": alert["description"],
            "false positives": "; ".join(alert["false_positives"]),
        }
    )
    return Exit.OK


def _group(alert: dict[str, Any]) -> str:
    return ", ".join(f"{part['field']} {part['value']}" for part in alert["group"])
