"""Alerts, a receiver that fails on purpose, and an observer that counts, for the tests of telling."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from parsers.sigma.alert import Alert, AlertChange

SECOND = 1_000_000
START = 1_790_000_000 * SECOND


def alert(name="a1", *, level="high", state="open", rule="brute-force", group=(("user.id", "42"),), **more):
    """Return an alert."""
    given: dict[str, Any] = {
        "title": "Many failed logins",
        "opened_us": START,
        "last_us": START + SECOND,
        "count": 7,
        "evidence": ("e1", "e2"),
    }
    return Alert(id=name, rule_id=rule, level=level, group=group, state=state, **(given | more))


def opened(name="a1", **more):
    return AlertChange(alert(name, **more), "opened", 1)


def resolved(change: AlertChange) -> AlertChange:
    over = dataclasses.replace(change.alert, state="resolved", changed_us=START + 60 * SECOND)
    return AlertChange(over, "resolved", change.number + 1)


class Counts:
    """An observer."""

    def __init__(self):
        self.counted: Counter = Counter()

    def count(self, name, amount=1, **labels):
        self.counted[name, *sorted(labels.items())] += amount

    def seconds(self, name, value, **labels):
        pass

    def gauge(self, name, value, **labels):
        pass


class Receiver:
    """A real HTTP server; ``answers`` are statuses, or functions of the request, the last for good."""

    def __init__(self, answers: Sequence = (200,)):
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.got = asyncio.Event()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.requests.append((dict(request.headers), await request.read()))
        self.got.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return await answer(request)
        return web.Response(status=answer, text="said")

    def bodies(self):
        return [orjson.loads(body) for _, body in self.requests]

    def keys(self):
        return [{k.lower(): v for k, v in headers.items()}["webhook-id"] for headers, _ in self.requests]


def verified(headers: dict[str, str], body: bytes, secret: bytes) -> bool:
    """Check a Standard Webhooks signature as a receiver does, from the specification, not with our code."""
    given = {name.lower(): value for name, value in headers.items()}
    signed = b".".join([given["webhook-id"].encode(), given["webhook-timestamp"].encode(), body])
    wanted = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in given["webhook-signature"].split(" ")


async def cut(request):
    """Cut the connection instead of answering."""
    request.transport.close()
    return web.Response()


def later(seconds):
    async def answer(_request):
        return web.Response(status=429, headers={"Retry-After": str(seconds)})

    return answer


def slow(seconds):
    async def answer(_request):
        await asyncio.sleep(seconds)
        return web.Response()

    return answer
