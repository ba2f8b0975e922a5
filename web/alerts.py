"""`/alerts` and `/detections`: what rules found, what people did about it, and who was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from parsers.sigma.alert import ALERT_STATES, Alert, ChangeKind, alert_json
from parsers.sigma.naming import target_of
from storage.correlating import ALERT_ENTITY
from storage.cursors import CursorError
from storage.filters import Term
from storage.query import Filter, ListQuery
from storage.treatments import HIDDEN, hidden_from
from web import events
from web.alertparams import AlertsParams, DetectionsParams
from web.answers import envelope, json_answer
from web.asking import scope_of
from web.bodies import AlertBody, read_body
from web.callers import caller_of
from web.errors import DETECTION_OFF, NOT_FOUND, UNAVAILABLE, Fault, Problem
from web.events import next_link
from web.keys import CLOCK, DETECTION, QUERIES, TELLING
from web.params import NoParams
from web.status import Alerts, Detection
from web.times import DAY_US, rfc3339

MOST_CHANGES = 200  # of one alert's history, the newest; each is an event, and the list of events has all


async def page(request: web.Request, params: AlertsParams) -> web.StreamResponse:
    """Answer with a page of alerts, the newest first."""
    known = sorted((alert for book in _books(request) for alert in book.alerts()), key=_place)
    found = [(alert, shown(request, alert)) for alert in known]
    alike = [(alert, row) for alert, row in found if _wanted(alert, row, params)]
    states = Counter(alert.state for alert, _ in alike)
    stated = [item for item in alike if not params.state or item[0].state in params.state]
    after = _mark(params.cursor) if params.cursor else None
    rest = [item for item in stated if after is None or _place(item[0]) > (-after[0], after[1])]
    rows, more = rest[: params.limit], len(rest) > params.limit
    cursor = f"{rows[-1][0].opened_us}.{rows[-1][0].id}" if more else None
    answer = {
        **envelope([row for _, row in rows], f"{len(rows)} alerts", _now(request)),
        "total": len(stated),
        "states": {state: states[state] for state in ALERT_STATES},
        "next": cursor,
    }
    return json_answer(answer, headers=next_link(request, cursor))


async def one(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with one alert, what became of it, and who was told."""
    alert = _known(request)
    telling = request.app.get(TELLING)
    answer = {
        **envelope(shown(request, alert), "Alert found", _now(request)),
        "history": await _history(request, alert),
        "told": [] if telling is None else telling.told(alert.id),
    }
    return json_answer(answer)


async def behind(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the events because of which a rule fired: of a correlation all in its windows."""
    alert = _known(request)
    detection = request.app.get(DETECTION)
    read = None if detection is None else detection.named(alert.rule_id)
    if read is None or not read.emitting:
        raise Problem(
            NOT_FOUND, "the rule of this alert is not in force", (Fault(("path", "alert_id"), "no rule"),)
        )
    found = await request.app[QUERIES].evidence(
        read.emitting[0],
        read.rules,
        read.routes,
        tuple(value for _, value in alert.group),
        start_us=alert.opened_us,
        end_us=alert.last_us,
    )
    titles = {identity: rule.title for identity, rule in read.rules.items()}
    rows = [{**each.to_json(), "rules": [titles[rule] for rule in each.rules]} for each in found]
    return json_answer(envelope(rows, f"{len(rows)} events", _now(request)))


async def acknowledge(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Note that somebody looks after an alert."""
    return await _change(request, "acknowledged")


async def resolve(request: web.Request, _: NoParams) -> web.StreamResponse:
    """End an alert."""
    return await _change(request, "resolved")


async def reopen(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Open an alert again, which then only a person ends."""
    return await _change(request, "reopened")


async def detections(request: web.Request, params: DetectionsParams) -> web.StreamResponse:
    """Answer with a page of the events that tell where rules fired, newest first, evidence included."""
    forced = {"action": ["detection"], "entity_type": [ALERT_ENTITY], "internal": "only"}
    return await events.page(request, params.model_copy(update=forced))


def _books(request: web.Request) -> list[Alerts]:
    """Return what has alerts: the rules at work, and the daemon that watches itself; raises the 501 where neither is."""
    both: tuple[Alerts | None, Alerts | None] = (request.app.get(DETECTION), request.app.get(TELLING))
    found: list[Alerts] = [book for book in both if book is not None]
    return found or [detection_of(request)]


def _known(request: web.Request) -> Alert:
    """Return the alert that a request names; raises the 404 where there is none."""
    identity = request.match_info["alert_id"]
    found = next((alert for book in _books(request) if (alert := book.alert(identity)) is not None), None)
    if found is None:
        raise _unknown()
    return found


def detection_of(request: web.Request) -> Detection:
    """Return the rules at work; raises the 501 where there are none."""
    found = request.app.get(DETECTION)
    if found is None:
        hint = "set `enabled = true` in [rules] and start the daemon again"
        raise Problem(DETECTION_OFF, "rules do not look at events here", (Fault(("path",), "off", hint),))
    return found


def shown(request: web.Request, alert: Alert) -> dict[str, Any]:
    """Return an alert as this caller may see it: a viewer sees whom it is about masked, as in events."""
    row = alert_json(alert)
    if hidden_from(scope_of(request)):
        mask = request.app[QUERIES].mask
        row["group"] = [
            {"field": field, "value": HIDDEN if column is None else mask.value(column, value)}
            for field, value in alert.group
            for column in (target_of(field).column,)
        ]
        row["by"] = mask.value("username", row["by"])
        row["comment"] = mask.text(alert.comment)
    return row


async def _change(request: web.Request, kind: ChangeKind) -> web.StreamResponse:
    body = await read_body(AlertBody, request) if request.can_read_body else AlertBody()
    try:
        changed = await _change_in(_books(request), request, kind, body.comment)
    except OSError:
        raise Problem(
            UNAVAILABLE, "the daemon's own log cannot be written; the change is made as soon as it can"
        ) from None
    if changed is None:
        raise _unknown()
    return json_answer(envelope(shown(request, changed), f"The alert is {changed.state}", _now(request)))


async def _change_in(
    books: Iterable[Alerts], request: web.Request, kind: ChangeKind, comment: str
) -> Alert | None:
    for book in books:
        identity, by = request.match_info["alert_id"], caller_of(request).id
        changed = await book.change(identity, kind, by=by, comment=comment)
        if changed is not None:
            return changed
    return None


async def _history(request: web.Request, alert: Alert) -> list[dict[str, Any]]:
    """Return the changes of an alert, newest first, from the events that tell of them."""
    scope = scope_of(request, "only")
    # Whoever may see the alert may ask for its events, also where the ids of things are masked.
    scope = replace(scope, granted=(*scope.granted, Term("entity_id", alert.id)))
    wanted = Filter.of(
        {"entity_type": [ALERT_ENTITY], "entity_id": [alert.id]},
        start_us=alert.opened_us - DAY_US,  # an application's clock may be ahead of ours by so much
    )
    query = ListQuery(wanted, scope, limit=MOST_CHANGES, count=False)
    found = await request.app[QUERIES].page(query)
    return [_changed(orjson.loads(row)) for row in found.rows]


def _changed(event: Mapping[str, Any]) -> dict[str, Any]:
    told = event.get("metadata")
    metadata = told if isinstance(told, Mapping) else {}  # a viewer may see nothing of it
    episode = metadata.get("alert")
    alert = episode if isinstance(episode, Mapping) else {}
    user = event.get("user") or {}
    return {
        "change": metadata.get("change") or event.get("action"),
        "when": event["timestamp"],
        "by": user.get("username"),
        "comment": alert.get("comment") or "",
        "count": alert.get("count"),
        "event_id": event["eventId"],
    }


def _wanted(alert: Alert, row: Mapping[str, Any], params: AlertsParams) -> bool:
    return (
        (not params.level or alert.level in params.level)
        and (not params.rule or alert.rule_id in params.rule)
        and (params.search_query is None or params.search_query.lower() in _words(row))
    )


def _words(row: Mapping[str, Any]) -> str:
    """Return what a search looks in, in small letters: what the caller sees, so that it finds nothing else."""
    values = (str(part["value"]) for part in row["group"])
    return "\n".join((row["title"], *values, *row["techniques"], row["id"])).lower()


def _place(alert: Alert) -> tuple[int, str]:
    return -alert.opened_us, alert.id


def _mark(cursor: str) -> tuple[int, str]:
    opened, _, identity = cursor.partition(".")
    if not opened.removeprefix("-").isascii() or not opened.removeprefix("-").isdigit() or not identity:
        raise CursorError("this cursor is not one of this list")
    return int(opened), identity


def _now(request: web.Request) -> str:
    return rfc3339(request.app[CLOCK]())


def _unknown() -> Problem:
    hint = "alerts that are over for long are in /detections alone"
    return Problem(NOT_FOUND, "no alert has this id", (Fault(("path", "alert_id"), "unknown", hint),))
