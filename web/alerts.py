"""`/alerts`, `/detections` and `/rules`: what rules found, what people did about it, and the rules themselves."""

from __future__ import annotations

from aiohttp import web

from parsers.sigma.alert import Alert, ChangeKind, alert_json
from storage.cursors import CursorError
from web import events
from web.answers import envelope, json_answer
from web.bodies import AlertBody, RuleBody, read_body
from web.callers import caller_of
from web.errors import DETECTION_OFF, INVALID, NOT_FOUND, Fault, Problem
from web.events import next_link
from web.keys import CLOCK, DETECTION, QUERIES
from web.params import AlertsParams, DetectionsParams, NoParams, RuleTestParams
from web.status import Detection
from web.times import parse_time, rfc3339

MAX_TESTED = 20  # rules of one back-test


async def page(request: web.Request, params: AlertsParams) -> web.StreamResponse:
    """Answer with a page of alerts, the newest first."""
    now_us = request.app[CLOCK]()
    found = [alert for alert in _detection(request).alerts() if _wanted(alert, params)]
    after = _mark(params.cursor) if params.cursor else None
    rest = [a for a in found if after is None or (-a.opened_us, a.id) > (-after[0], after[1])]
    rows, more = rest[: params.limit], len(rest) > params.limit
    cursor = f"{rows[-1].opened_us}.{rows[-1].id}" if more else None
    answer = {
        **envelope([alert_json(alert) for alert in rows], f"{len(rows)} alerts", rfc3339(now_us)),
        "total": len(found),
        "next": cursor,
    }
    return json_answer(answer, headers=next_link(request, cursor))


async def one(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with one alert."""
    alert = _detection(request).alert(request.match_info["alert_id"])
    if alert is None:
        raise _unknown()
    return json_answer(envelope(alert_json(alert), "Alert found", rfc3339(request.app[CLOCK]())))


async def acknowledge(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Note that somebody looks after an alert."""
    return await _change(request, "acknowledged")


async def resolve(request: web.Request, _: NoParams) -> web.StreamResponse:
    """End an alert."""
    return await _change(request, "resolved")


async def detections(request: web.Request, params: DetectionsParams) -> web.StreamResponse:
    """Answer with a page of the events that tell where rules fired, newest first, evidence included."""
    forced = {"action": ["detection"], "entity_type": ["alert"], "internal": "only"}
    return await events.page(request, params.model_copy(update=forced))


async def rules(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with every rule, what keeps it from working, and how often it fired since the daemon started."""
    found = _detection(request).rules()
    for rule in found:
        last_us = rule.pop("last_fired_us")
        rule["last_fired"] = None if last_us is None else rfc3339(last_us)
    return json_answer(envelope(found, f"{len(found)} rules", rfc3339(request.app[CLOCK]())))


async def try_rules(request: web.Request, params: RuleTestParams) -> web.StreamResponse:
    """Answer with what rules that are sent along would have done over the archive."""
    now_us = request.app[CLOCK]()
    body = await read_body(RuleBody, request)
    judged = await _detection(request).read(body.rule)
    faults = [Fault(("body", "rule"), f"{rule.title}: {why}") for rule, why in judged.problems]
    if faults or not judged.emitting:
        said = "; ".join(fault.msg for fault in faults) or "there is no rule in it that fires"
        raise Problem(INVALID, said, faults)
    if len(judged.emitting) > MAX_TESTED:
        raise Problem(
            INVALID, f"more than {MAX_TESTED} rules at once", (Fault(("body", "rule"), "too many"),)
        )
    end_us = parse_time(params.end_date, now_us=now_us, end=True) if params.end_date else now_us
    start_us = parse_time(params.start_date, now_us=now_us)
    queries = request.app[QUERIES]
    outcomes = [
        await queries.backtest(rule, judged.rules, judged.routes, start_us=start_us, end_us=end_us)
        for rule in judged.emitting
    ]
    data = [outcome.to_json() for outcome in outcomes]
    answer = {
        **envelope(data, f"{len(data)} rules tested", rfc3339(now_us)),
        "start": rfc3339(start_us),
        "end": rfc3339(end_us),
    }
    return json_answer(answer)


async def _change(request: web.Request, kind: ChangeKind) -> web.StreamResponse:
    body = await read_body(AlertBody, request) if request.can_read_body else AlertBody()
    changed = await _detection(request).change(
        request.match_info["alert_id"], kind, by=caller_of(request).id, comment=body.comment
    )
    if changed is None:
        raise _unknown()
    return json_answer(
        envelope(alert_json(changed), f"The alert is {changed.state}", rfc3339(request.app[CLOCK]()))
    )


def _detection(request: web.Request) -> Detection:
    found = request.app.get(DETECTION)
    if found is None:
        hint = "set `enabled = true` in [rules] and start the daemon again"
        raise Problem(DETECTION_OFF, "rules do not look at events here", (Fault(("path",), "off", hint),))
    return found


def _wanted(alert: Alert, params: AlertsParams) -> bool:
    return (
        (not params.state or alert.state in params.state)
        and (not params.level or alert.level in params.level)
        and (not params.rule or alert.rule_id in params.rule)
    )


def _mark(cursor: str) -> tuple[int, str]:
    opened, _, identity = cursor.partition(".")
    if not opened.removeprefix("-").isascii() or not opened.removeprefix("-").isdigit() or not identity:
        raise CursorError("this cursor is not one of this list")
    return int(opened), identity


def _unknown() -> Problem:
    hint = "alerts that are over for long are in /detections alone"
    return Problem(NOT_FOUND, "no alert has this id", (Fault(("path", "alert_id"), "unknown", hint),))
