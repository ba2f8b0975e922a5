"""The control socket: how commands talk to the daemon that runs. Only its own user reaches it (mode 0600).

`POST /seal`, `/flush`, `/cleanup`, `/verified`, `/holds/add`, `/holds/release`, `/retention/lower`, `/retention/confirm`,
`/exports/run`, `/keys/create`, `/keys/revoke`, `/keys/lend`, `/alerts/change`, `/alerts/test`, `/alerts/silence`, `/alerts/expire`, `/alerts/outbox`, `GET /status`, `/storage`, `/holds`, `/retention`, `/exports`,
`/keys`, `/alerts`, `/alerts/silences`, all JSON. `call` is the client's side; it needs no aiohttp.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:  # commands import this module and must start fast
    from aiohttp import web

    from daemon.detection import Detection
    from daemon.keeping import Keeper
    from daemon.keykeeper import KeyKeeper
    from daemon.outbound.teller import Teller
    from storage.retention import DropReport
    from web.status import Alerts

SOCKET_MODE = 0o600
CALL_SECONDS = 300.0  # sealing a large backlog takes a while


class Controlled(Protocol):
    """What the socket can ask of the daemon."""

    def status(self) -> Mapping[str, Any]:
        """Return facts."""
        ...

    async def storage(self, days: int) -> Mapping[str, Any]:
        """Say what lies where."""
        ...

    async def seal(self) -> int:
        """Seal everything."""
        ...

    async def flush(self) -> int:
        """Commit everything."""
        ...

    async def cleanup(self, before_day: str | None, *, dry_run: bool) -> DropReport:
        """Drop old days."""
        ...

    async def verified(self, outcome: Mapping[str, Any]) -> None:
        """Hear how a verification ended."""

    @property
    def keeper(self) -> Keeper:
        """What is kept: holds, minimum ages, exports."""
        ...


class ControlError(Exception):
    """The daemon could not do what was asked; the message is for people."""


@contextmanager
def _reachable(path: str) -> Generator[str]:
    """Give a short name for a socket's path: the kernel takes 107 bytes, archives may lie deeper."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def call(
    path: str,
    method: str,
    target: str,
    body: Mapping[str, Any] | None = None,
    *,
    seconds: float = CALL_SECONDS,
) -> dict[str, Any]:
    """Ask the running daemon and return its answer. Blocks.

    Raises ConnectionError or FileNotFoundError when no daemon runs, ControlError with the daemon's own words.
    """
    connection = http.client.HTTPConnection("watchkeep", timeout=seconds)
    with _reachable(path) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
        plain.settimeout(seconds)
        plain.connect(short)
        connection.sock = plain
        connection.request(method, target, orjson.dumps(body or {}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = orjson.loads(response.read())
    if response.status >= http.client.BAD_REQUEST:
        raise ControlError(answer.get("error", f"status {response.status}"))
    return answer


def create_app(
    daemon: Controlled, keys: KeyKeeper, teller: Teller, detection: Detection | None = None
) -> web.Application:
    """Return the application behind the socket."""
    from aiohttp import web

    from parsers.sigma.alert import alert_json
    from storage.retention import facts

    @web.middleware
    async def failures(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the one who asked gets the reason
            return web.json_response({"error": str(error)}, status=500)
        return response

    async def status(_request: web.Request) -> web.Response:
        return web.json_response(dict(daemon.status()))

    async def storage(request: web.Request) -> web.Response:
        return web.json_response(dict(await daemon.storage(int(request.query["days"]))))

    async def seal(_request: web.Request) -> web.Response:
        return web.json_response({"files": await daemon.seal()})

    async def flush(_request: web.Request) -> web.Response:
        return web.json_response({"seq": await daemon.flush()})

    async def cleanup(request: web.Request) -> web.Response:
        asked = await request.json()
        report = await daemon.cleanup(asked.get("before_day"), dry_run=bool(asked.get("dry_run", True)))
        return web.json_response(facts(report))

    async def holds(_request: web.Request) -> web.Response:
        return web.json_response({"holds": daemon.keeper.holds()})

    async def hold(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(
            await daemon.keeper.hold(
                asked["name"], asked["values"], reason=asked["reason"], author=asked["author"]
            )
        )

    async def verified(request: web.Request) -> web.Response:
        await daemon.verified(await request.json())
        return web.json_response({})

    async def release(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(
            await daemon.keeper.release(asked["name"], reason=asked["reason"], author=asked["author"])
        )

    async def retention(_request: web.Request) -> web.Response:
        status = daemon.keeper.status()
        return web.json_response({"classes": status["classes"], "waits": status["waits"]})

    async def lower(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(
            await daemon.keeper.lower(
                asked["class"], int(asked["minimum_days"]), reason=asked["reason"], author=asked["author"]
            )
        )

    async def confirm(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(
            await daemon.keeper.confirm(asked["what"], reason=asked["reason"], author=asked["author"])
        )

    async def exports(_request: web.Request) -> web.Response:
        return web.json_response({"exports": await daemon.keeper.exports()})

    async def export(_request: web.Request) -> web.Response:
        await daemon.seal()
        return web.json_response({"exports": await daemon.keeper.export(whatever_the_hour=True)})

    async def all_keys(_request: web.Request) -> web.Response:
        return web.json_response(keys.listed())

    async def make_key(request: web.Request) -> web.Response:
        return web.json_response(await keys.create(await request.json()))

    async def revoke_key(request: web.Request) -> web.Response:
        return web.json_response(await keys.revoke(await request.json()))

    async def lend_key(request: web.Request) -> web.Response:
        return web.json_response(keys.lend(str((await request.json()).get("author", ""))))

    async def test_channel(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(await teller.test(str(asked["channel"]), str(asked.get("author", ""))))

    async def silences(_request: web.Request) -> web.Response:
        return web.json_response(teller.silences())

    async def silence(request: web.Request) -> web.Response:
        return web.json_response(await teller.silence(await request.json()))

    async def expire(request: web.Request) -> web.Response:
        return web.json_response(await teller.expire(await request.json()))

    async def outbox(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response(
            await teller.letters(str(asked.get("doing", "list")), str(asked.get("author", "")))
        )

    books: list[Alerts] = [teller] if detection is None else [detection, teller]

    async def alerts(_request: web.Request) -> web.Response:
        found = [alert for book in books for alert in book.alerts()]
        found.sort(key=lambda alert: (-alert.opened_us, alert.id))
        return web.json_response({"alerts": [alert_json(alert) for alert in found]})

    async def change_alert(request: web.Request) -> web.Response:
        asked = await request.json()
        comment = asked.get("comment", "")
        for book in books:
            changed = await book.change(asked["id"], asked["kind"], by=asked["author"], comment=comment)
            if changed is not None:
                return web.json_response({"alert": alert_json(changed)})
        raise ControlError(f"there is no alert {asked['id']}")

    app = web.Application(middlewares=[failures])
    app.add_routes(
        [
            web.get("/status", status),
            web.get("/storage", storage),
            web.post("/seal", seal),
            web.post("/flush", flush),
            web.post("/cleanup", cleanup),
            web.post("/verified", verified),
            web.get("/holds", holds),
            web.post("/holds/add", hold),
            web.post("/holds/release", release),
            web.get("/retention", retention),
            web.post("/retention/lower", lower),
            web.post("/retention/confirm", confirm),
            web.get("/exports", exports),
            web.post("/exports/run", export),
            web.get("/alerts", alerts),
            web.post("/alerts/change", change_alert),
            web.get("/keys", all_keys),
            web.post("/keys/create", make_key),
            web.post("/keys/revoke", revoke_key),
            web.post("/keys/lend", lend_key),
            web.post("/alerts/test", test_channel),
            web.get("/alerts/silences", silences),
            web.post("/alerts/silence", silence),
            web.post("/alerts/expire", expire),
            web.post("/alerts/outbox", outbox),
        ]
    )
    return app


class ControlSocket:
    """Serves the control application while the daemon runs."""

    def __init__(
        self,
        path: str,
        daemon: Controlled,
        keys: KeyKeeper,
        teller: Teller,
        detection: Detection | None = None,
    ) -> None:
        self._path = path
        self._daemon = daemon
        self._keys = keys
        self._teller = teller
        self._detection = detection
        self._runner: web.AppRunner | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> None:
        """Listen. The archive's lock is held, so a socket that is there already was left by a process that died."""
        from aiohttp import web

        self._socket = await asyncio.to_thread(_bound, self._path)
        app = create_app(self._daemon, self._keys, self._teller, self._detection)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
        await asyncio.to_thread(_remove, self._path)


def _bound(path: str) -> socket.socket:
    """Return a socket bound to a path, for its owner only. Blocks."""
    _remove(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(bound.fileno(), SOCKET_MODE)  # before it has a name: nobody else gets in between
        with _reachable(path) as short:
            bound.bind(short)
    except BaseException:
        bound.close()
        raise
    return bound


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
