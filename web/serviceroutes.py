"""The endpoints of the daemon itself."""

from __future__ import annotations

from storage.roles import NONE, VIEWER
from web import files, health, login, logs, overview, rejects
from web.errors import NOT_READY
from web.params import NoParams
from web.route import TEXT, Route, for_viewers, in_json
from web.serviceparams import LogFilesParams, LogsParams, RejectsParams

SERVICE_ROUTES: tuple[Route, ...] = (
    Route(
        "listLogLines",
        "GET",
        "/logs",
        logs.logs,
        LogsParams,
        "Raw lines of a day, newest last",
        in_json("LogLines"),
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
        in_json("LogFiles"),
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
        in_json("RejectsPage"),
        "logs",
        view="rejects",
        polled=True,
        headers=("Link",),
        role=VIEWER,
    ),
    Route(
        "getStatus",
        "GET",
        "/status",
        overview.status,
        NoParams,
        "The daemon and its archive",
        in_json("Status"),
        "daemon",
        role=VIEWER,
    ),
    for_viewers(
        "getSession",
        "GET",
        "/session",
        login.session,
        NoParams,
        "Who asks: name, role and scopes",
        in_json("Session"),
        "daemon",
    ),
    Route(
        "isLive",
        "GET",
        "/health/live",
        health.live,
        NoParams,
        "Liveness",
        in_json("Health"),
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
        in_json("Health"),
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
)
