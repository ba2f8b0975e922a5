"""Sessions: how they begin and end, what their cookie is, and what another site can do with it: nothing."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient

from storage.keyring import Key, Keyring
from tests.web.station import NOW_US, Station, event, served
from web.access import AccessOptions
from web.keys import STATIC_FOLDER, WebOptions
from web.peers import networks
from web.sessions import MAX_SESSIONS, Sessions

MINUTE_US = 60_000_000
HERE = {"Sec-Fetch-Site": "same-origin"}
BEHIND = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


class Lobby:
    """A served station with one administrator's key."""

    def __init__(self, station: Station, client: TestClient, keyring: Keyring, key: Key, token: str) -> None:
        self.station, self.client, self.keyring, self.key, self.token = station, client, keyring, key, token

    async def log_in(self, key: str | None = None, view: str = "", headers: dict[str, str] | None = None):
        """Send the form as a browser does; redirects are not followed."""
        form = {"key": self.token if key is None else key, "view": view}
        return await self.client.post(
            "/login", data=form, headers={**HERE, **(headers or {})}, allow_redirects=False
        )

    async def status(self, path: str = "/events", **given: object) -> int:
        """Return the status of a GET with whatever cookies there are."""
        async with self.client.get(path, **given) as response:  # type: ignore[arg-type]
            return response.status


@pytest.fixture
async def lobby(station: Station) -> AsyncIterator[Lobby]:
    station.write("a.log", [event()])
    keyring = Keyring()
    key, token = keyring.create("ann", "admin", now_us=NOW_US)
    options = WebOptions(
        static=station.logs / "no",
        access=AccessOptions(session_idle_minutes=30, session_hours=2, proxies=networks(("127.0.0.1",))),
    )
    async with served(station, options, keyring=keyring) as client:
        client.session._cookie_jar = CookieJar(unsafe=True)  # cookies of an address, not of a name
        yield Lobby(station, client, keyring, key, token)


async def test_a_key_becomes_a_session_and_logging_out_ends_it(lobby: Lobby) -> None:
    """The cookie alone then opens what the key opens; both ends are events with the key's name."""
    assert await lobby.status() == 401
    response = await lobby.log_in(view="level=error&q=a%20b")
    assert (response.status, response.headers["Location"]) == (303, "./?level=error&q=a%20b")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("watchkeep=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert lobby.token not in cookie
    assert await lobby.status() == 200
    async with lobby.client.get("/api/v1/session") as shown:
        assert (await shown.json())["data"] == {
            "name": "ann", "role": "admin", "scopes": ["export"], "tenant": None, "user": None,
            "via": "session", "masked": [],
        }  # fmt: skip
    kept = lobby.client.session.cookie_jar.filter_cookies(lobby.client.make_url("/"))["watchkeep"].value
    response = await lobby.client.post("/logout", headers=HERE, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "./")
    assert await lobby.status() == 401
    assert await lobby.status(headers={"Cookie": f"watchkeep={kept}"}) == 401
    ends = [
        (e["action"], e["user"]["username"])
        for e in lobby.station.audited
        if e["category"] == "authentication"
    ]
    assert ends == [("login", "ann"), ("logout", "ann")]


async def test_over_https_the_cookie_is_bound_to_the_host(lobby: Lobby) -> None:
    """A trusted proxy says that it is https: the browser itself then keeps the cookie from other hosts and from http."""
    response = await lobby.log_in(headers=BEHIND)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-watchkeep=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


@pytest.mark.parametrize("end", ["idle", "age", "revoked", "expired"])
async def test_a_session_ends_by_itself(lobby: Lobby, end: str) -> None:
    """After its idle time, at its greatest age however busy, and with its key, at once."""
    expires_us = NOW_US + 10 * MINUTE_US if end == "expired" else None
    _, token = lobby.keyring.create("bob", "viewer", now_us=NOW_US, expires_us=expires_us)
    await lobby.log_in(token)
    assert await lobby.status() == 200
    match end:
        case "idle":
            lobby.station.now_us += 29 * MINUTE_US
            assert await lobby.status() == 200
            lobby.station.now_us += 30 * MINUTE_US
        case "age":
            for _ in range(5):
                lobby.station.now_us += 20 * MINUTE_US
                assert await lobby.status() == 200
            lobby.station.now_us += 20 * MINUTE_US
        case "revoked":
            lobby.keyring.revoke("bob", now_us=NOW_US)
        case _:
            lobby.station.now_us += 10 * MINUTE_US
    assert await lobby.status() == 401


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 403),
    ],
)
async def test_a_session_changes_something_only_from_its_own_page(
    lobby: Lobby, headers: dict[str, str], found: int
) -> None:
    """A program without these headers sends its key; what has a cookie and none of them is no browser of ours."""
    await lobby.log_in()
    async with lobby.client.delete("/events/cleanup?days=30", headers=headers) as response:
        assert response.status == found
    plain = {"Authorization": f"Bearer {lobby.token}", "Cookie": ""}
    async with lobby.client.delete("/events/cleanup?days=30", headers=plain) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_another_site_can_log_nobody_in_or_out(
    lobby: Lobby, path: str, headers: dict[str, str]
) -> None:
    """Not even into the attacker's own account."""
    form = {"key": lobby.token}
    async with lobby.client.post(path, data=form, headers=headers, allow_redirects=False) as response:
        assert response.status == 403
        assert "Set-Cookie" not in response.headers


async def test_a_wrong_key_begins_nothing(lobby: Lobby) -> None:
    """The page says so; too many are limited; nothing of what was typed comes back."""
    found: list[int] = []
    after: str | None = None
    for _ in range(12):
        response = await lobby.log_in("wk_typed<b>by-hand", view='"><script>')
        text = await response.text()
        found.append(response.status)
        after = response.headers.get("Retry-After")
        assert "Set-Cookie" not in response.headers
        assert "typed" not in text
        assert "<script" not in text
        assert 'role="alert"' in text
    assert found == [401] * 10 + [429] * 2
    assert after is not None
    assert "typed" not in repr(lobby.station.audited)


@pytest.mark.parametrize(
    ("form", "charset"), [(b"key=\xff", "utf-8"), (b"key=x", "no-such-charset")], ids=["bytes", "charset"]
)
async def test_a_form_that_is_no_text_is_refused(lobby: Lobby, form: bytes, charset: str) -> None:
    """Nobody needs a key to send one, so it is no error of the server and leaves no stack in its log."""
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    async with lobby.client.post("/login", data=form, headers={**HERE, "Content-Type": kind}) as response:
        assert response.status == 422
        assert "no text in UTF-8" in (await response.json(content_type=None))["detail"]


@pytest.mark.parametrize("view", ["a\r\nSet-Cookie: x=1", "a b", "ä", "x" * 5000])
async def test_the_way_back_leads_nowhere_else(lobby: Lobby, view: str) -> None:
    """What no browser writes into an address is left out."""
    response = await lobby.log_in(view=view)
    assert response.headers["Location"] == "./"
    response = await lobby.log_in(view="//evil.example/")
    assert response.headers["Location"] == "./?//evil.example/"


async def test_a_session_does_not_survive_another_log_in(lobby: Lobby) -> None:
    """A token that somebody planted before, or that another person left, ends."""
    await lobby.log_in()
    planted = lobby.client.session.cookie_jar.filter_cookies(lobby.client.make_url("/"))["watchkeep"].value
    await lobby.log_in()
    lobby.client.session.cookie_jar.clear()
    assert await lobby.status(headers={"Cookie": f"watchkeep={planted}"}) == 401
    assert await lobby.status(headers={"Cookie": "watchkeep=chosen-by-somebody"}) == 401


async def test_a_wrong_key_counts_beside_a_session(lobby: Lobby) -> None:
    """What a program sends on purpose is not replaced by what a browser sends by habit."""
    await lobby.log_in()
    assert await lobby.status(headers={"X-API-Key": "wk_wrong"}) == 401


async def test_the_page_asks_for_a_key_and_runs_no_script(station: Station) -> None:
    """Whoever has none gets the form and nothing of the archive; a link from another site loads the page again."""
    keyring = Keyring()
    _, token = keyring.create("ann", "viewer", now_us=NOW_US)
    async with served(station, WebOptions(static=STATIC_FOLDER), keyring=keyring) as client:
        async with client.get("/?q=%22%3E%3Cscript%3E&level=error") as response:
            text = await response.text()
            assert response.headers["Cache-Control"] == "no-store"
            policy = response.headers["Content-Security-Policy"]
        assert "<script" not in text
        assert 'value="q=%22%3E%3Cscript%3E&amp;level=error"' in text
        assert "script-src" not in policy
        assert "default-src 'none'" in policy
        assert 'http-equiv="refresh"' not in text
        assert "{{" not in text
        assert "<!--" not in text
        async with client.get("/", headers={"Sec-Fetch-Site": "cross-site"}) as response:
            assert 'http-equiv="refresh"' in await response.text()
        async with client.get("/", headers={"X-API-Key": token}) as response:
            assert 'id="app"' in await response.text()
        async with client.get("/login", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "./")
        async with client.post("/login", json={"key": token}) as response:
            assert response.status == 422


def test_the_number_of_sessions_is_bounded() -> None:
    """The one that was used longest ago ends."""
    sessions = Sessions(idle_us=10, longest_us=100)
    first, second = sessions.begin("a", 0), sessions.begin("b", 0)
    assert sessions.find(first, 1) is not None
    for _ in range(MAX_SESSIONS - 1):
        sessions.begin("c", 2)
    assert sessions.find(second, 2) is None
    assert sessions.find(first, 2) is not None
    assert len(sessions) == MAX_SESSIONS
