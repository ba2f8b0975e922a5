"""`/rules`: what looks at events, whether it can, how often it fired, and what it would have done."""

from __future__ import annotations

from aiohttp import web

from web.alertparams import RuleTestParams
from web.alerts import detection_of
from web.answers import envelope, json_answer
from web.bodies import RuleBody, read_body
from web.errors import INVALID, NOT_FOUND, Fault, Problem, invalid
from web.keys import CLOCK, QUERIES
from web.params import NoParams
from web.status import Detection, RulesRead
from web.times import parse_time, rfc3339

MAX_TESTED = 20  # rules of one back-test


async def page(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with every rule, what keeps it from working, and how often it fired."""
    found = _rows(detection_of(request))
    return json_answer(envelope(found, f"{len(found)} rules", rfc3339(request.app[CLOCK]())))


async def one(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with one rule and its text."""
    detection, identity = detection_of(request), request.match_info["rule_id"]
    found = next((row for row in _rows(detection) if row["id"] == identity), None)
    if found is None:
        raise _unknown(("path", "rule_id"))
    answer = envelope(
        {**found, "text": await detection.text(identity)}, "Rule found", rfc3339(request.app[CLOCK]())
    )
    return json_answer(answer)


async def test(request: web.Request, params: RuleTestParams) -> web.StreamResponse:
    """Answer with what rules, sent along or in force, would have done over the archive."""
    now_us = request.app[CLOCK]()
    judged = await _meant(detection_of(request), await read_body(RuleBody, request))
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
    if start_us > end_us:
        raise invalid("start_date", "it is later than end_date", "exchange the two")
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


async def _meant(detection: Detection, body: RuleBody) -> RulesRead:
    """Return the rules that a body sends or names."""
    if body.rule is not None:
        return await detection.read(body.rule)
    assert body.id is not None
    found = detection.named(body.id)
    if found is None:
        raise _unknown(("body", "id"))
    return found


def _rows(detection: Detection) -> list[dict[str, object]]:
    found = detection.rules()
    for rule in found:
        last_us = rule.pop("last_fired_us")
        rule["last_fired"] = None if last_us is None else rfc3339(last_us)
    return found


def _unknown(where: tuple[str, ...]) -> Problem:
    return Problem(NOT_FOUND, "no rule has this id", (Fault(where, "unknown", "GET /rules lists them"),))
