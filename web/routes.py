"""Every endpoint, as one table. Routing, checks, OpenAPI, the audit of reads and the docs test all follow it.

The order counts: a static path stands before `/events/{event_id}`, or that would swallow it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from storage.roles import ADMIN, AUDITOR, NONE, VIEWER, Role
from web import (
    activity,
    alerts,
    cleanup,
    context,
    events,
    export,
    facets,
    files,
    health,
    live,
    login,
    logs,
    overview,
    profile,
    rejects,
    rules,
    sql,
    statistics,
    telling,
    trends,
)
from web.answers import JSON
from web.bodies import AlertBody, Body, RuleBody, SilenceBody, SqlBody
from web.callers import authorize, caller_of
from web.dashboard import ASSETS, asset_answer
from web.errors import (
    BUSY,
    DEADLINE,
    DETECTION_OFF,
    FORBIDDEN,
    MEDIA_TYPE,
    NOT_FOUND,
    NOT_READY,
    SQL_FAILED,
    SQL_MEMORY,
    SQL_OFF,
    SQL_REFUSED,
    SQL_SYNTAX,
    SQL_UNCONFINED,
    TELLING_OFF,
    Kind,
)
from web.faces import explain
from web.keys import AUDIT, PREFIX, SITE
from web.params import (
    ActivityParams,
    AlertsParams,
    CleanupParams,
    ContextParams,
    DetectionsParams,
    ExplainParams,
    ExportParams,
    FacetsParams,
    ListParams,
    LiveParams,
    LogFilesParams,
    LogsParams,
    MineParams,
    NoParams,
    OutboxParams,
    Params,
    ProfileParams,
    RejectsParams,
    RiskParams,
    RuleTestParams,
    SilenceParams,
    SqlParams,
    StatisticsParams,
    StatsParams,
    SuggestParams,
    TrendsParams,
    read,
)
from web.suggest import suggest

RouteHandler = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]
TEXT = "text/plain"
_VARIABLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint.

    ``role`` is the least one that may ask (``none``: everybody), ``scope`` what a key must carry besides; ``tenants``:
    the answer keeps to one tenant's events, so a key of one tenant may ask. A route that says nothing is for those
    who may see everything: masking and tenants are promises that a handler has to keep.

    ``name`` is OpenAPI's operationId; ``answers`` maps media types to schemas (a model's or component's name, None
    for plain text); ``view`` names it in the audit trail (None: not a read of events); ``polled``: it has an ETag.
    """

    name: str
    method: str
    path: str
    handler: RouteHandler
    params: type[Params]
    summary: str
    answers: tuple[tuple[str, str | None], ...]
    tag: str
    errors: tuple[Kind, ...] = ()
    view: str | None = None
    polled: bool = False
    headers: tuple[str, ...] = ()  # of a success, besides those that every answer has
    role: Role = AUDITOR
    scope: str | None = None
    tenants: bool = False
    body: type[Body] | None = None  # what a request carries


def _json(schema: str) -> tuple[tuple[str, str | None], ...]:
    return ((JSON, schema),)


_EXPORTS: tuple[tuple[str, str | None], ...] = (
    (JSON, "EventArray"),
    ("application/x-ndjson", None),
    ("text/csv", None),
    ("application/vnd.apache.parquet", None),
    ("application/vnd.apache.arrow.stream", None),
    ("application/gzip", None),  # of any of them, on request
    ("application/zstd", None),
)
_SQL_ANSWERS: tuple[tuple[str, str | None], ...] = tuple(
    (media, "SqlAnswer" if form == "json" else None) for form, media in sql.MEDIA.items()
)
_EXPORT_HEADERS = ("Content-Disposition", "X-Total-Count")

ROUTES: tuple[Route, ...] = (
    Route(
        "listEvents",
        "GET",
        "/events",
        events.page,
        ListParams,
        "Events, newest first",
        _json("EventsPage"),
        "events",
        view="events",
        polled=True,
        headers=("Link",),
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getStatistics",
        "GET",
        "/events/statistics",
        statistics.statistics,
        StatisticsParams,
        "Figures of a range",
        _json("Statistics"),
        "figures",
        view="statistics",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getRisk",
        "GET",
        "/risk",
        statistics.risk,
        RiskParams,
        "The riskiest users and addresses",
        _json("RiskAnswer"),
        "figures",
        view="risk",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getTrends",
        "GET",
        "/events/trends",
        trends.trends,
        TrendsParams,
        "Events, or users, over time",
        _json("Trends"),
        "figures",
        view="trends",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getFacets",
        "GET",
        "/events/facets",
        facets.facets,
        FacetsParams,
        "Values of fields, with counts",
        _json("Facets"),
        "figures",
        view="facets",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getStats",
        "GET",
        "/events/stats",
        statistics.stats,
        StatsParams,
        "Figures of one user",
        _json("Stats"),
        "figures",
        view="stats",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listMine",
        "GET",
        "/events/me",
        events.mine,
        MineParams,
        "The caller's own events",
        _json("MinePage"),
        "events",
        view="me",
        polled=True,
        headers=("Link",),
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listLevels",
        "GET",
        "/events/levels",
        events.levels,
        NoParams,
        "Levels: the five",
        _json("Words"),
        "words",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listCategories",
        "GET",
        "/events/categories",
        events.categories,
        NoParams,
        "Categories: known and observed",
        _json("Words"),
        "words",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listActions",
        "GET",
        "/events/actions",
        events.actions,
        NoParams,
        "Actions: known and observed",
        _json("Words"),
        "words",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "exportEvents",
        "GET",
        "/events/export",
        export.export,
        ExportParams,
        "Everything a filter finds, streamed",
        _EXPORTS,
        "events",
        headers=_EXPORT_HEADERS,
        role=AUDITOR,
        scope="export",
        tenants=True,
    ),
    Route(
        "explainFilter",
        "GET",
        "/events/explain",
        explain,
        ExplainParams,
        "A filter as form, query string, search and SQL, and what it would read",
        _json("Explanation"),
        "events",
        role=VIEWER,
    ),
    Route(
        "suggestSearch",
        "GET",
        "/events/suggest",
        suggest,
        SuggestParams,
        "How a search can go on at the cursor: fields, operators, values seen",
        _json("Suggestions"),
        "words",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "followEvents",
        "GET",
        "/events/live",
        live.live,
        LiveParams,
        "New events as they come, as Server-Sent Events",
        ((live.EVENT_STREAM, None),),
        "events",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listDetections",
        "GET",
        "/detections",
        alerts.detections,
        DetectionsParams,
        "Where rules fired, newest first, as events with their evidence",
        _json("EventsPage"),
        "detection",
        view="detections",
        polled=True,
        headers=("Link",),
    ),
    Route(
        "listAlerts",
        "GET",
        "/alerts",
        alerts.page,
        AlertsParams,
        "Alerts, newest first",
        _json("AlertsAnswer"),
        "detection",
        errors=(DETECTION_OFF,),
        view="alerts",
        headers=("Link",),
        role=VIEWER,
    ),
    Route(
        "getAlert",
        "GET",
        "/alerts/{alert_id}",
        alerts.one,
        NoParams,
        "One alert, what became of it, and who was told",
        _json("OneAlert"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF),
        view="alert",
        role=VIEWER,
    ),
    Route(
        "listEventsOfAlert",
        "GET",
        "/alerts/{alert_id}/events",
        alerts.behind,
        NoParams,
        "The events because of which a rule fired",
        _json("BehindAnswer"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF, DEADLINE),
        view="alert",
        role=VIEWER,
    ),
    Route(
        "acknowledgeAlert",
        "POST",
        "/alerts/{alert_id}/acknowledge",
        alerts.acknowledge,
        NoParams,
        "Note that somebody looks after an alert",
        _json("AlertAnswer"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF),
        body=AlertBody,
    ),
    Route(
        "resolveAlert",
        "POST",
        "/alerts/{alert_id}/resolve",
        alerts.resolve,
        NoParams,
        "End an alert",
        _json("AlertAnswer"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF),
        body=AlertBody,
    ),
    Route(
        "reopenAlert",
        "POST",
        "/alerts/{alert_id}/reopen",
        alerts.reopen,
        NoParams,
        "Open an alert again, which then only a person ends",
        _json("AlertAnswer"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF),
        body=AlertBody,
    ),
    Route(
        "listRules",
        "GET",
        "/rules",
        rules.page,
        NoParams,
        "Rules, what keeps them from working, and how often each fired",
        _json("RulesAnswer"),
        "detection",
        errors=(DETECTION_OFF,),
        role=VIEWER,
    ),
    Route(
        "testRules",
        "POST",
        "/rules/test",
        rules.test,
        RuleTestParams,
        "What a rule would have done over the archive",
        _json("RuleTestAnswer"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF, BUSY, DEADLINE),
        view="rule test",
        body=RuleBody,
    ),
    Route(
        "getRule",
        "GET",
        "/rules/{rule_id}",
        rules.one,
        NoParams,
        "One rule and its text",
        _json("RuleAnswer"),
        "detection",
        errors=(NOT_FOUND, DETECTION_OFF),
    ),
    Route(
        "listChannels",
        "GET",
        "/channels",
        telling.channels,
        NoParams,
        "Channels over which people are told, and how each does",
        _json("ChannelsAnswer"),
        "telling",
        errors=(TELLING_OFF,),
    ),
    Route(
        "testChannel",
        "POST",
        "/channels/{channel}/test",
        telling.test,
        NoParams,
        "Send a test message now, and say what came back",
        _json("ChannelTested"),
        "telling",
        errors=(NOT_FOUND, TELLING_OFF),
        role=ADMIN,
    ),
    Route(
        "listSilences",
        "GET",
        "/silences",
        telling.silences,
        NoParams,
        "Silences in force, to come, and lately ended",
        _json("SilencesAnswer"),
        "telling",
        errors=(TELLING_OFF,),
    ),
    Route(
        "createSilence",
        "POST",
        "/silences",
        telling.silence,
        SilenceParams,
        "Tell nobody of some alerts for a while",
        _json("SilenceAnswer"),
        "telling",
        errors=(TELLING_OFF,),
        role=ADMIN,
        body=SilenceBody,
    ),
    Route(
        "expireSilence",
        "POST",
        "/silences/{silence_id}/expire",
        telling.expire,
        NoParams,
        "End a silence now",
        _json("SilenceAnswer"),
        "telling",
        errors=(NOT_FOUND, TELLING_OFF),
        role=ADMIN,
    ),
    Route(
        "getOutbox",
        "GET",
        "/outbox",
        telling.outbox,
        OutboxParams,
        "What waits to be sent, what nobody took, and what lately left",
        _json("OutboxAnswer"),
        "telling",
        errors=(TELLING_OFF,),
    ),
    Route(
        "retryOutbox",
        "POST",
        "/outbox/retry",
        telling.retry,
        NoParams,
        "Send what was given up once more",
        _json("OutboxChanged"),
        "telling",
        errors=(TELLING_OFF,),
        role=ADMIN,
    ),
    Route(
        "discardOutbox",
        "POST",
        "/outbox/discard",
        telling.discard,
        NoParams,
        "Throw away what was given up",
        _json("OutboxChanged"),
        "telling",
        errors=(TELLING_OFF,),
        role=ADMIN,
    ),
    Route(
        "cleanupEvents",
        "DELETE",
        "/events/cleanup",
        cleanup.cleanup,
        CleanupParams,
        "Remove, or list, whole old days",
        _json("CleanupAnswer"),
        "retention",
        errors=(FORBIDDEN,),
        role=ADMIN,
    ),
    Route(
        "getContext",
        "GET",
        "/events/{event_id}/context",
        context.context,
        ContextParams,
        "What lies around one event",
        _json("ContextAnswer"),
        "events",
        errors=(NOT_FOUND,),
        view="context",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getEvent",
        "GET",
        "/events/{event_id}",
        events.one,
        NoParams,
        "One event",
        _json("OneEvent"),
        "events",
        errors=(NOT_FOUND,),
        view="event",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getUser",
        "GET",
        "/users/{user_id}",
        profile.user,
        ProfileParams,
        "What is known of one user",
        _json("ProfileAnswer"),
        "figures",
        errors=(NOT_FOUND,),
        view="user",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getAddress",
        "GET",
        "/addresses/{ip}",
        profile.address,
        ProfileParams,
        "What is known of one address",
        _json("ProfileAnswer"),
        "figures",
        errors=(NOT_FOUND,),
        view="address",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getEntity",
        "GET",
        "/entities/{entity_type}/{entity_id}",
        profile.entity,
        ProfileParams,
        "What is known of one thing",
        _json("ProfileAnswer"),
        "figures",
        errors=(NOT_FOUND,),
        view="entity",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listLogLines",
        "GET",
        "/logs",
        logs.logs,
        LogsParams,
        "Raw lines of a day, newest last",
        _json("LogLines"),
        "logs",
        view="logs",
        polled=True,
        role=VIEWER,
    ),
    Route(
        "listLogFiles",
        "GET",
        "/logs/files",
        files.files,
        LogFilesParams,
        "Sources and how far they are read",
        _json("LogFiles"),
        "logs",
        headers=("Link",),
        role=VIEWER,
    ),
    Route(
        "listRejects",
        "GET",
        "/rejects",
        rejects.rejects,
        RejectsParams,
        "Lines that could not be parsed",
        _json("RejectsPage"),
        "logs",
        view="rejects",
        polled=True,
        headers=("Link",),
        role=VIEWER,
    ),
    Route(
        "runSql",
        "POST",
        "/sql",
        sql.sql,
        SqlParams,
        "One read-only SQL statement, confined",
        _SQL_ANSWERS,
        "sql",
        errors=(
            MEDIA_TYPE,
            SQL_SYNTAX,
            SQL_FAILED,
            SQL_REFUSED,
            SQL_MEMORY,
            SQL_OFF,
            SQL_UNCONFINED,
        ),
        headers=(sql.ROWS, sql.TRUNCATED),
        role=AUDITOR,
        scope="sql",
        body=SqlBody,
    ),
    Route(
        "getStatus",
        "GET",
        "/status",
        overview.status,
        NoParams,
        "The daemon and its archive",
        _json("Status"),
        "daemon",
        role=VIEWER,
    ),
    Route(
        "getSession",
        "GET",
        "/session",
        login.session,
        NoParams,
        "Who asks: name, role and scopes",
        _json("Session"),
        "daemon",
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "isLive",
        "GET",
        "/health/live",
        health.live,
        NoParams,
        "Liveness",
        _json("Health"),
        "daemon",
        role=NONE,
    ),
    Route(
        "isReady",
        "GET",
        "/health/ready",
        health.ready,
        NoParams,
        "Readiness; 503 says why not",
        _json("Health"),
        "daemon",
        errors=(NOT_READY,),
        role=NONE,
    ),
    Route(
        "getMetrics",
        "GET",
        "/metrics",
        health.metrics,
        NoParams,
        "Prometheus metrics",
        ((TEXT, None),),
        "daemon",
        role=VIEWER,
    ),
    Route(
        "listActivity",
        "GET",
        "/activity-logs",
        activity.page,
        ActivityParams,
        "Events under the later original's names",
        _json("ActivityPage"),
        "activity",
        view="events",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listEntityActivity",
        "GET",
        "/activity-logs/entity/{entity_type}/{entity_id}",
        activity.page,
        ActivityParams,
        "Events about one thing",
        _json("ActivityPage"),
        "activity",
        view="events",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "listUserActivity",
        "GET",
        "/activity-logs/user/{user_id}",
        activity.page,
        ActivityParams,
        "Events of one user",
        _json("ActivityPage"),
        "activity",
        view="events",
        polled=True,
        role=VIEWER,
        tenants=True,
    ),
    Route(
        "getActivity",
        "GET",
        "/activity-logs/{event_id}",
        activity.one,
        NoParams,
        "One event, bare",
        _json("Event"),
        "activity",
        errors=(NOT_FOUND,),
        view="event",
        role=VIEWER,
        tenants=True,
    ),
)


def add_routes(app: web.Application, openapi: dict[str, Any]) -> None:
    """Add every route under both prefixes, the OpenAPI document, and the dashboard."""
    spec = orjson.dumps(openapi)

    async def serve_openapi(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=spec, content_type=JSON)

    # GET brings HEAD along.
    adding = {
        "GET": app.router.add_get,
        "DELETE": app.router.add_delete,
        "POST": app.router.add_post,
    }
    for prefix in (PREFIX, ""):
        app.router.add_get(f"{prefix}/openapi.json", serve_openapi)
        for route in ROUTES:
            add = adding[route.method]
            add(prefix + _pattern(route), _handled(route))
    app.router.add_get("/", login.page)
    app.router.add_get("/login", login.form)
    app.router.add_post("/login", login.log_in)
    app.router.add_post("/logout", login.log_out)
    app.router.add_get(f"{ASSETS}/{{digest}}/{{name:.+}}", _asset)


def _pattern(route: Route) -> str:
    """Return the path for aiohttp: a last variable does not stand for a word that only other methods have.

    Without that, GET on `/events/cleanup` would look for an event of that id, and 405 would promise a GET there.
    """
    stem, brace, variable = route.path.rpartition("{")
    if not brace or "}" in stem:
        return route.path
    if not variable.endswith("}"):
        return _VARIABLE.sub(r"{\1:[^/]+}", route.path)
    taken = [other.path.removeprefix(stem) for other in ROUTES if other.method != route.method]
    words = "|".join(re.escape(word) for word in taken if word and "/" not in word)
    name = variable.removesuffix("}")
    # aiohttp's own pattern of a variable refuses braces, which an application's id may well hold.
    return f"{stem}{{{name}:(?!(?:{words})$)[^/]+}}" if words else f"{stem}{{{name}:[^/]+}}"


def _handled(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        authorize(caller_of(request), route.role, scope=route.scope, tenants=route.tenants or route.role == NONE)
        params = read(route.params, request)
        response = await route.handler(request, params)
        if route.view is not None:
            await request.app[AUDIT].read(request, route.view)
        return response

    return handle


async def _asset(request: web.Request) -> web.StreamResponse:
    return asset_answer(request, request.app[SITE])
