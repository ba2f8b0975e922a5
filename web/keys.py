"""What every handler can reach: the options of the web side, and the typed keys of the application's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from parsers.redact import RedactionOptions, Redactor
from storage.hub import Hub
from storage.observer import Observer
from storage.queries import Queries
from storage.spares import Spares
from storage.treatments import MaskOptions
from web.access import Access, AccessOptions
from web.audit import Audit
from web.cache import AnswerCache
from web.dashboard import Site
from web.peers import Peer
from web.ranges import Lengths
from web.status import Daemon, Detection, Telling

PREFIX = "/api/v1"  # and the same routes without it: clients of the original used both

DEFAULT_PAGE_LIMIT = 500  # rows; the original's greatest `limit`
DEFAULT_REFRESH_SECONDS = 30
DEFAULT_STATISTICS_CACHE_SECONDS = 30.0
DEFAULT_EXPORT_STALL_SECONDS = 60.0
DEFAULT_HEARTBEAT_SECONDS = 15.0  # proxies give a silent connection up after 30 to 60
DEFAULT_STUCK_SECONDS = 30.0

STATIC_FOLDER = Path(__file__).resolve().parent / "static"


@dataclass(frozen=True, slots=True)
class WebOptions:
    """How the web side is set up. ``daemon.options`` builds it; nothing here reads a file or the environment.

    ``allowed_hosts`` are host names (no port) that may stand in a request's ``Host`` besides the loopback names.
    ``statistics_cache_seconds`` is the longest time an answer of statistics is given again while the archive has not
    changed; 0 turns that off. An export whose reader takes nothing for ``export_stall_seconds`` is cut off. ``timezone`` is where log lines without a zone were written, ``redaction`` what `/logs` hides of them. ``static`` is the folder of the dashboard.
    ``access`` says who may ask, ``masking`` what viewers see masked.
    """

    version: str = "0"
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    page_limit: int = DEFAULT_PAGE_LIMIT
    refresh_seconds: int = DEFAULT_REFRESH_SECONDS
    statistics_cache_seconds: float = DEFAULT_STATISTICS_CACHE_SECONDS
    export_stall_seconds: float = DEFAULT_EXPORT_STALL_SECONDS
    timezone: str = "UTC"
    redaction: RedactionOptions = field(default_factory=RedactionOptions)
    static: Path = STATIC_FOLDER
    access: AccessOptions = field(default_factory=AccessOptions)
    masking: MaskOptions = field(default_factory=MaskOptions)
    heartbeat_seconds: float = DEFAULT_HEARTBEAT_SECONDS  # of silence in a live stream, then a sign of life
    stuck_seconds: float = (
        DEFAULT_STUCK_SECONDS  # a live stream of which nothing was taken for so long is cut
    )


@dataclass(slots=True)
class Load:
    """How many requests are being answered at this moment."""

    running: int = 0


OPTIONS = web.AppKey("options", WebOptions)
QUERIES = web.AppKey("queries", Queries)
HUB = web.AppKey("hub", Hub)
DETECTION: web.AppKey[Detection] = web.AppKey("detection")  # only where rules look at events
TELLING: web.AppKey[Telling] = web.AppKey("telling")  # only where people are told of alerts
SQL = web.AppKey("sql", Spares)  # only where statements in SQL are answered
DAEMON: web.AppKey[Daemon] = web.AppKey("daemon")
OBSERVER: web.AppKey[Observer] = web.AppKey("observer")
CLOCK: web.AppKey[Callable[[], int]] = web.AppKey("clock")  # wall clock, microseconds since 1970, UTC

REDACTOR = web.AppKey("redactor", Redactor)
AUDIT = web.AppKey("audit", Audit)
ACCESS = web.AppKey("access", Access)
STATISTICS_CACHE = web.AppKey("statistics_cache", AnswerCache)
LENGTHS = web.AppKey("lengths", Lengths)
SITE = web.AppKey("site", Site)  # set when the application starts
LOAD = web.AppKey("load", Load)

PEER: web.RequestKey[Peer] = web.RequestKey("peer", Peer)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
