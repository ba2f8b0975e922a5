"""Logging in on the dashboard, and out: a key becomes a session, a session ends. Plain forms, no script.

These addresses are for people in a browser; programs send their key with each request. The forms are protected like
every other change: the guard refuses what comes from another site's page.
"""

from __future__ import annotations

import html
import re
from http import HTTPStatus

from aiohttp import web

from storage.treatments import hidden_from
from web.answers import json_answer
from web.asking import scope_of
from web.callers import CALLER, caller_of
from web.dashboard import AGAIN, FAILED, VIEW, login_answer, page_answer
from web.errors import INVALID, TOO_MANY, UNAUTHORIZED, Problem
from web.keys import ACCESS, AUDIT, CLOCK, OBSERVER, PEER, SITE
from web.params import NoParams
from web.sessions import COOKIE, SECURE_COOKIE
from web.status import HTTP_REFUSED

FORM = "application/x-www-form-urlencoded"
HOME = "./"  # relative, so that it works below any path of a proxy
MAX_VIEW_CHARS = 4000  # of the query string that the page goes back to
_VIEW = re.compile(
    rf"[!-~]{{0,{MAX_VIEW_CHARS}}}"
)  # as browsers write one; behind `./?` it leads nowhere else


async def page(request: web.Request) -> web.StreamResponse:
    """Answer with the dashboard, or with the page that asks for a key.

    A cookie that is `SameSite=Strict` does not come along when a link on another site is followed. The page then
    loads itself again, which is our own doing, and the session is there.
    """
    if caller_of(request).role != "none":
        return page_answer(request, request.app[SITE])
    again = request.headers.get("Sec-Fetch-Site") == "cross-site"
    return _asking(request, request.rel_url.raw_query_string, again=again)


async def form(_request: web.Request) -> web.StreamResponse:
    """Send a reader of `/login` to the page, which asks by itself."""
    raise web.HTTPSeeOther(HOME)


async def log_in(request: web.Request) -> web.StreamResponse:
    """Begin a session with the key in the form, and go on to what was asked for."""
    if request.content_type != FORM:
        raise Problem(INVALID, f"a form is needed: {FORM}")
    try:
        given = await request.post()
    except (UnicodeDecodeError, LookupError):  # bytes that are no text, or a charset that there is not
        raise Problem(INVALID, "the form is no text in UTF-8") from None
    view = str(given.get("view", ""))
    view = view if _VIEW.fullmatch(view) else ""
    access = request.app[ACCESS]
    try:
        caller = access.by_key(str(given.get("key", "")).strip(), request[PEER].address)
    except Problem as problem:
        if problem.kind not in {UNAUTHORIZED, TOO_MANY}:
            raise
        request.app[OBSERVER].count(HTTP_REFUSED, reason=problem.kind.code)
        await request.app[AUDIT].refused(request, problem.kind.code, problem.detail, problem.kind.status)
        answer = _asking(request, view, failed=problem.detail)
        answer.set_status(problem.kind.status)
        answer.headers.update(problem.headers)
        answer.headers.pop("WWW-Authenticate", None)  # the form is the way in
        return answer
    assert caller.key_id is not None
    request[CALLER] = caller
    _end(request)  # nobody goes on with a session that was there before
    token = access.sessions.begin(caller.key_id, request.app[CLOCK]())
    await request.app[AUDIT].logged(request, inward=True)
    answer = _home(view)
    secure = request[PEER].scheme == "https"
    name = SECURE_COOKIE if secure else COOKIE
    answer.set_cookie(name, token, path="/", httponly=True, secure=secure, samesite="Strict")
    return answer


async def log_out(request: web.Request) -> web.StreamResponse:
    """End the session and show the page that asks for a key."""
    if _end(request):
        await request.app[AUDIT].logged(request, inward=False)
    answer = _home("")
    for name in (COOKIE, SECURE_COOKIE):
        if name in request.cookies:
            secure = name == SECURE_COOKIE
            answer.del_cookie(name, path="/", httponly=True, secure=secure, samesite="Strict")
    return answer


async def session(request: web.Request, _: NoParams) -> web.StreamResponse:
    """Answer with who asks: its name, role and scopes, and how that is known."""
    caller = caller_of(request)
    return json_answer(
        {
            "success": True,
            "data": {
                "name": caller.name,
                "role": caller.role,
                "scopes": sorted(caller.scopes),
                "tenant": caller.tenant,
                "user": caller.user,
                "via": caller.via,
                "masked": list(hidden_from(scope_of(request))),
            },
        }
    )


def _asking(request: web.Request, view: str, *, failed: str = "", again: bool = False) -> web.Response:
    """Return the page that asks for a key; ``view`` is the query string that it goes on to."""
    parts = {
        VIEW: html.escape(view[:MAX_VIEW_CHARS]),
        FAILED: f'<p class="failed" role="alert">{html.escape(failed.capitalize())}</p>' if failed else "",
        AGAIN: '<meta http-equiv="refresh" content="0" />' if again else "",
    }
    return login_answer(request.app[SITE], parts)


def _home(view: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": f"{HOME}?{view}" if view else HOME})


def _end(request: web.Request) -> bool:
    """End the sessions whose tokens came along."""
    tokens = [request.cookies[name] for name in (COOKIE, SECURE_COOKIE) if name in request.cookies]
    ended = [request.app[ACCESS].sessions.end(token) for token in tokens]
    return any(session is not None for session in ended)
