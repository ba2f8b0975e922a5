"""What browser tests share: the served station, a recording browser window, events to look at, and axe."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Response

from storage.engine import EngineOptions
from tests.support import ROOT
from tests.web.station import Station

CHROMIUM = Path("/usr/bin/chromium")
AXE = ROOT / "tests" / "browser" / "vendor" / "axe-core@4.14.1" / "axe.min.js"
WIDE = (1280, 800)
PHONE = (390, 844)
WAIT_MS = 8_000  # for something the page does at once on an idle machine
ZONE = "Europe/Berlin"
# What the daemon leaves out of an answer when it takes too long, a busy machine must not take from these tests.
PATIENT = EngineOptions(deadline_seconds=60, count_seconds=10, suggest_seconds=5, facet_seconds=20)

# Recorded before any script of the page runs.
_RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""
_RUN_AXE = """(tags) => axe.run(document, { resultTypes: ["violations"], runOnly: { type: "tag", values: tags } }).then((found) =>
  found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`)))"""
_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

CATEGORIES = ("authentication", "user_management", "data_management", "security", "api", "file_management")
USERS = ("alice", "bob", "carol.mueller", "deploy-bot", "erin")
COUNT = 400


class Watched(Station):
    """A station that also says what a whole daemon says of itself: where to write, and what is wrong."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.facts: dict[str, Any] = {}
        self._writing = threading.Lock()  # a test writes while the server audits what the page reads

    def write(self, file: str, lines: Iterable[Mapping[str, Any] | bytes], *, internal: bool = False) -> None:
        with self._writing:
            super().write(file, lines, internal=internal)

    def status(self) -> Mapping[str, Any]:
        return {**super().status(), "directories": [str(self.logs)], **self.facts}


@dataclass(frozen=True, slots=True)
class Desk:
    """A station and the address it is served at."""

    station: Watched
    url: str

    @property
    def file(self) -> str:
        """Today's log file."""
        return f"app-{datetime.fromtimestamp(self.station.now_us / 1_000_000, UTC):%Y-%m-%d}.log"

    async def write(self, lines: Sequence[dict[str, Any]], *, seconds_ago: float) -> None:
        """Append lines that end some seconds ago, a millisecond apart, and make them visible."""
        now = self.station.now_us
        timed = [
            {"timestamp": moment(now, seconds_ago + (len(lines) - n) / 1000), "level": "info"} | line
            for n, line in enumerate(lines)
        ]
        await asyncio.to_thread(self.station.write, self.file, timed)


@dataclass
class Visitor:
    """One browser window and everything that went wrong in it."""

    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)  # every address asked
    answers: list[tuple[int, str]] = field(default_factory=list)  # status and path of each answer
    _news: asyncio.Event = field(default_factory=asyncio.Event)  # an answer came
    expected: list[str] = field(default_factory=list)  # parts of errors that a test provokes

    @classmethod
    async def enter(
        cls, browser: Browser, *, size: tuple[int, int] = WIDE, scheme: Literal["light", "dark"] = "light"
    ) -> Visitor:
        """Open a window."""
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
            timezone_id=ZONE,
            accept_downloads=True,
        )
        await context.add_init_script(_RECORD_VIOLATIONS)
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        visitor = cls(context, page)
        page.on("pageerror", lambda error: visitor.errors.append(f"page error: {error}"))
        page.on("console", visitor._heard)
        page.on("request", lambda request: visitor.requests.append(request.url))
        page.on("response", visitor._answered)
        return visitor

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"console {message.type}: {message.text}")

    def _answered(self, response: Response) -> None:
        self._news.set()
        parts = urlsplit(response.url)
        self.hosts.add(parts.netloc)
        self.answers.append((response.status, parts.path))

    async def open(self, url: str) -> Page:
        """Go to an address and wait until every part has its answer."""
        await self.page.goto(url)
        await self.settled()
        return self.page

    async def settled(self) -> None:
        """Wait until no part of the page is waiting for an answer."""
        await self.page.wait_for_function(
            """() => document.querySelector(".top") !== null
              && document.querySelector("[aria-busy=true], .waiting") === null
              && !document.querySelector(".strip")?.textContent.startsWith("Asking")"""
        )

    async def answered(self, *paths: str) -> None:
        """Wait until each of these paths was answered (since `answers` was last cleared) and shown."""
        async with asyncio.timeout(WAIT_MS / 1000):
            while not set(paths) <= {path for _, path in self.answers}:
                await self._news.wait()
                self._news.clear()
        await self.settled()

    async def leave(self) -> None:
        """Close the window; nothing may have gone wrong that the test did not provoke."""
        violations = await self.page.evaluate("() => window.violations ?? []")
        await self.context.close()
        errors = [e for e in self.errors if not any(part in e for part in self.expected)]
        assert violations == []
        assert errors == []
        assert len(self.hosts) <= 1, f"the page asked other hosts: {self.hosts}"


async def axe(page: Page) -> Sequence[str]:
    """Return what axe finds on the page: one line a violation."""
    # Given through the debugger, not as a script element, so that the page's policy stays as it is.
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = await page.evaluate(_RUN_AXE, _AXE_TAGS)
    return found


def moment(now_us: int, seconds_ago: float) -> str:
    """Return a time before now as a line writes it."""
    at = datetime.fromtimestamp(now_us / 1_000_000, UTC) - timedelta(seconds=seconds_ago)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sample_events(now_us: int) -> list[dict[str, Any]]:
    """Return the lines of a day, oldest first: every level, category and band, with and without a user."""
    dice = random.Random(20261123)
    lines = []
    for number in range(COUNT):
        level = dice.choices(["debug", "info", "warning", "error", "critical"], [8, 66, 16, 7, 3])[0]
        user = dice.choice(USERS)
        lines.append(
            {
                "eventId": f"e-{number:04}",
                "correlationId": f"c-{number // 4}",
                "sessionId": f"s-{number % 7}",
                "timestamp": moment(now_us, 60 + (COUNT - number) * 205),
                "level": level,
                "category": dice.choice(CATEGORIES),
                "action": dice.choice(["create", "read", "update", "delete", "login"]),
                "user": {"id": USERS.index(user) + 1, "username": user} if number % 9 else None,
                "entity": {"type": "order", "id": str(number), "name": f"Lamp {number}"},
                "request": {
                    "method": "POST",
                    "path": f"/api/orders/{number}",
                    "ip": f"192.0.2.{number % 200}",
                    "userAgent": "Mozilla/5.0 (X11; Linux x86_64)",
                    "statusCode": 500 if level in {"error", "critical"} else 200,
                    "responseTime": round(dice.uniform(2, 900), 1),
                },
                "description": f"Order {number} was looked at by {user}",
                "metadata": {"browser": "firefox", "big": 12345678901234567890, "nested": {"a": [1, 2, 3]}},
                "tags": ["method:post"],
                "riskScore": dice.choice([0, 12, 30, 31, 55, 70, 71, 96]),
                "system": {"server": "shop-1", "environment": "test", "version": "1.0.0"},
            }
        )
    return lines
