"""`/channels`, `/silences` and `/outbox`: who is told of alerts, who is not for a while, and what did not arrive."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from aiohttp import web

from web.alertparams import OutboxParams, SilenceParams
from web.answers import envelope, json_answer
from web.bodies import SilenceBody, read_body
from web.callers import caller_of
from web.errors import INVALID, NOT_FOUND, TELLING_OFF, UNAVAILABLE, Fault, Problem, invalid
from web.keys import CLOCK, TELLING
from web.params import NoParams
from web.status import Telling
from web.times import parse_time, rfc3339

T = TypeVar("T")


async def channels(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with every channel and how it does; neither its address nor its secret."""
    found = _telling(request).channels()
    return json_answer(envelope(found, f"{len(found)} channels", _now(request)))


async def test(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Send a test message over a channel and answer with what came back."""
    try:
        answer = await _telling(request).test(request.match_info["channel"], caller_of(request).id)
    except ValueError as error:
        fault = Fault(("path", "channel"), str(error), "GET /channels lists them")
        raise Problem(NOT_FOUND, "there is no such channel", (fault,)) from None
    said = "The channel took the message" if answer["ok"] else "The channel did not take the message"
    return json_answer(envelope(answer, said, _now(request)))


async def silences(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with the silences in force, to come, and lately ended."""
    telling = _telling(request)
    found = [_silence_row(telling, silence) for silence in telling.silences()["silences"]]
    found.sort(key=lambda row: (row["state"] == "ended", row["ends"]))
    return json_answer(envelope(found, f"{len(found)} silences", _now(request)))


async def silence(request: web.Request, params: SilenceParams) -> web.StreamResponse:
    """Put a silence in force, or only say which alerts it would mute now."""
    body = await read_body(SilenceBody, request)
    telling, now_us = _telling(request), request.app[CLOCK]()
    try:
        meant = telling.meant(body.matchers)
    except ValueError as error:
        hint = 'write field="value", with =, !=, =~ or !~'
        raise Problem(INVALID, str(error), (Fault(("body", "matchers"), str(error), hint),)) from None
    if params.dry_run == "true":
        answer = {"matchers": list(body.matchers), "alerts": meant}
        return json_answer(envelope(answer, f"It would mute {len(meant)} alerts now", rfc3339(now_us)))
    starts_us = None if body.starts is None else _moment("starts", body.starts, now_us)
    asked: dict[str, Any] = {
        "matchers": body.matchers,
        "author": caller_of(request).id,
        "comment": body.comment,
        "seconds": body.seconds,
        "starts_us": starts_us,
    }
    made = await _done(telling.silence(asked), ("body",))
    return json_answer(envelope(_silence_row(telling, made), "The silence is in force", rfc3339(now_us)))


async def expire(request: web.Request, _: NoParams) -> web.StreamResponse:
    """End a silence now."""
    telling, identity = _telling(request), request.match_info["silence_id"]
    try:
        ended = await telling.expire({"id": identity, "author": caller_of(request).id})
    except ValueError:
        hint = "GET /silences lists them"
        fault = Fault(("path", "silence_id"), "unknown, or over", hint)
        raise Problem(NOT_FOUND, "no silence of this id is in force or to come", (fault,)) from None
    except OSError:
        raise _refused() from None
    return json_answer(envelope(_silence_row(telling, ended), "The silence is over", _now(request)))


async def outbox(request: web.Request, params: OutboxParams) -> web.StreamResponse:
    """Answer with what waits to be sent, what nobody took, and what lately left."""
    telling = _telling(request)
    found = await telling.letters("list")
    dead, pending = found["dead"], found["pending"]
    answer = {
        "pending": pending[: params.limit],
        "pending_total": len(pending),
        "dead": dead[::-1][: params.limit],
        "dead_total": len(dead),
        "dead_ever": found["dead_total"],
        "told": telling.lately()[: params.limit],
    }
    said = f"{len(pending)} messages wait, {len(dead)} were given up"
    return json_answer(envelope(answer, said, _now(request)))


async def retry(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Send what was given up once more."""
    return await _letters(request, "retry", "are sent again")


async def discard(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Throw away what was given up."""
    return await _letters(request, "discard", "were thrown away")


async def _letters(request: web.Request, doing: str, said: str) -> web.StreamResponse:
    done = await _done(_telling(request).letters(doing, caller_of(request).id), ("path",))
    answer = {"changed": done["changed"]}
    return json_answer(envelope(answer, f"{done['changed']} messages {said}", _now(request)))


async def _done(work: Awaitable[T], where: tuple[str, ...]) -> T:
    """Return what comes of some work; raises the 422 or 503 that says why nothing does."""
    try:
        return await work
    except ValueError as error:
        raise Problem(INVALID, str(error), (Fault(where, str(error)),)) from None
    except OSError:
        raise _refused() from None


def _refused() -> Problem:
    return Problem(UNAVAILABLE, "this cannot be written down at the moment; the daemon's log says why")


def _moment(name: str, text: str, now_us: int) -> int:
    try:
        return parse_time(text, now_us=now_us)
    except ValueError as error:
        raise invalid(name, str(error)) from None


def _silence_row(telling: Telling, silence: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "matchers", "author", "comment", "starts", "ends", "state")
    return {**{name: silence[name] for name in names}, "alerts": telling.meant(silence["matchers"])}


def _telling(request: web.Request) -> Telling:
    found = request.app.get(TELLING)
    if found is None:
        raise Problem(TELLING_OFF, "nobody is told of alerts here")
    return found


def _now(request: web.Request) -> str:
    return rfc3339(request.app[CLOCK]())
