"""The people: each acts over HTTP as somebody would, with pauses to think; some of them mean no good."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, CookieJar

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
)
SCANNER = "Mozilla/5.00 (Nikto/2.5.0)"
SCRIPT = "python-requests/2.32.3"
# What scanners ask every server for.
SCANNED_PATHS = (
    "/.env",
    "/.git/config",
    "/wp-login.php",
    "/wp-admin/setup-config.php",
    "/phpmyadmin/index.php",
    "/actuator/env",
    "/server-status",
    "/../../etc/passwd",
    "/cgi-bin/luci",
    "/backup.sql",
    "/admin/users",
    "/admin/settings",
)
COMMON_PASSWORDS = ("123456", "password", "qwerty", "letmein", "summer2026", "welcome1", "admin", "iloveyou")
REST_PAUSES = 10
PROJECT_NAMES = (
    "Atlas",
    "Beacon",
    "Cobalt",
    "Delta",
    "Ember",
    "Falcon",
    "Garnet",
    "Harbour",
    "Iris",
    "Juniper",
)
FILE_NAMES = ("plan.md", "budget.csv", "minutes.txt", "contract.pdf", "logo.svg", "notes.txt", "figures.csv")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who uses the application: an account, an address, a browser, a habit."""

    username: str
    password: str
    role: str  # of the account; empty: has none
    ip: str  # from the ranges reserved for documentation
    agent: str
    habit: str  # a key of HABITS
    pause: float  # mean seconds between two actions


PEOPLE = (
    Person("alice", "correct horse", "admin", "198.51.100.10", BROWSER, "admin", 2.0),
    Person("bob", "battery staple", "user", "198.51.100.21", BROWSER, "worker", 0.7),
    Person("carol", "purple teapot", "user", "198.51.100.22", PHONE, "worker", 0.9),
    Person("dave", "seven sparrows", "user", "198.51.100.23", BROWSER, "forgetful", 1.2),
    Person("erin", "green umbrella", "user", "203.0.113.44", PHONE, "worker", 1.0),
    Person("backup", "tape-17-reel", "service", "198.51.100.5", SCRIPT, "service", 4.0),
    Person("mallory", "nothing to see", "user", "203.0.113.66", BROWSER, "insider", 1.0),
    Person("bob", "", "", "192.0.2.77", SCRIPT, "guesser", 0.8),
    Person("", "", "", "192.0.2.99", SCANNER, "scanner", 0.5),
)


class Visitor:
    """A person at work: an HTTP session of their own, seeded chance, and pauses."""

    def __init__(self, person: Person, address: str, pace: float, seed: int) -> None:
        self.person = person
        self.chance = random.Random(f"{seed}:{person.ip}")
        self.requests = 0
        self._address = address
        self._pace = pace

    async def live(self) -> None:
        """Act until cancelled; an application that is briefly away only costs a pause."""
        headers = {"User-Agent": self.person.agent, "X-Forwarded-For": self.person.ip}
        async with ClientSession(
            self._address, headers=headers, cookie_jar=CookieJar(unsafe=True)
        ) as self._http:
            while True:
                try:
                    await HABITS[self.person.habit](self)
                except ClientError:
                    await self.pause()

    async def ask(self, method: str, path: str, **content: object) -> tuple[int, object]:
        """Send one request, wait a moment as people do, and return status and JSON (None when it is none)."""
        self.requests += 1
        async with self._http.request(method, path, **content) as answer:  # type: ignore[arg-type]  # json= or data=
            found = await answer.json() if answer.content_type == "application/json" else await answer.read()
            status = answer.status
        await self.pause()
        return status, found

    async def pause(self) -> None:
        """Think."""
        await asyncio.sleep(self.chance.expovariate(1.0) * self.person.pause / self._pace)

    async def rest(self) -> None:
        """Come back later."""
        for _ in range(REST_PAUSES):
            await self.pause()

    async def log_in(self, password: str | None = None) -> bool:
        """Log in with the right password or another."""
        form = {
            "username": self.person.username,
            "password": self.person.password if password is None else password,
        }
        status, _ = await self.ask("POST", "/login", data=form)
        return status == 200

    async def projects(self) -> list[int]:
        """Return the ids of all projects."""
        _, found = await self.ask("GET", "/projects")
        return [project["id"] for project in found] if isinstance(found, list) else []

    async def files(self, project: int) -> list[int]:
        """Return the ids of a project's files."""
        _, found = await self.ask("GET", f"/projects/{project}")
        return [upload["id"] for upload in found["files"]] if isinstance(found, dict) else []


async def work(visitor: Visitor) -> None:
    """A day at work: log in, open projects, write and read files, log out."""
    if not await visitor.log_in():
        await visitor.rest()  # the account is locked: somebody guesses passwords
        return
    for _ in range(visitor.chance.randint(4, 10)):
        projects = await visitor.projects()
        if len(projects) < len(PROJECT_NAMES) and visitor.chance.random() < 0.4:
            await visitor.ask("POST", "/projects", json={"name": visitor.chance.choice(PROJECT_NAMES)})
            continue
        if not projects:
            continue
        project = visitor.chance.choice(projects)
        files = await visitor.files(project)
        roll = visitor.chance.random()
        if roll < 0.45 or not files:
            content = visitor.chance.randbytes(visitor.chance.randint(100, 20_000))
            await visitor.ask(
                "PUT", f"/projects/{project}/files/{visitor.chance.choice(FILE_NAMES)}", data=content
            )
        elif roll < 0.8:
            await visitor.ask("GET", f"/projects/{project}/files/{visitor.chance.choice(files)}")
        elif roll < 0.9:
            name = f"{visitor.chance.choice(PROJECT_NAMES)} {visitor.chance.randint(2, 9)}"
            await visitor.ask("PATCH", f"/projects/{project}", json={"name": name})
        elif roll < 0.96:
            await visitor.ask("GET", f"/projects/{project}/report")
        else:
            await visitor.ask("DELETE", f"/projects/{project}")
    await visitor.ask("POST", "/logout")


async def forget(visitor: Visitor) -> None:
    """Get the password wrong once or twice, remember it, forget to name a project, then work."""
    for _ in range(visitor.chance.randint(1, 2)):
        await visitor.log_in("seven swallows")
    if await visitor.log_in():
        await visitor.ask("POST", "/projects", json={"name": " "})
        _, made = await visitor.ask("POST", "/projects", json={"name": visitor.chance.choice(PROJECT_NAMES)})
        if isinstance(made, dict):
            await visitor.ask("GET", f"/projects/{made['id']}/report")  # has no files yet
        await visitor.ask("POST", "/logout")


async def administer(visitor: Visitor) -> None:
    """Look after the application."""
    await visitor.log_in()
    await visitor.ask("GET", "/admin/users")
    await visitor.ask("GET", "/admin/settings")
    role = visitor.chance.choice(("user", "admin"))
    await visitor.ask("POST", "/admin/users/erin/role", json={"role": role})
    await visitor.ask("POST", "/logout")


async def serve(visitor: Visitor) -> None:
    """Run the backup job again and again."""
    await visitor.log_in()
    for _ in range(5):
        await visitor.ask("POST", "/jobs/backup")
    await visitor.ask("POST", "/logout")


async def pry(visitor: Visitor) -> None:
    """Log in like anybody, try the admin pages, then take every file there is."""
    await visitor.log_in()
    await visitor.ask("GET", "/admin/users")
    await visitor.ask("POST", "/admin/users/mallory/role", json={"role": "admin"})
    await visitor.ask("GET", "/export")
    for project in await visitor.projects():
        for upload in await visitor.files(project):
            await visitor.ask("GET", f"/projects/{project}/files/{upload}")
    await visitor.ask("POST", "/logout")


async def guess(visitor: Visitor) -> None:
    """Try common passwords on somebody's account."""
    for password in COMMON_PASSWORDS:
        await visitor.log_in(password)
    await visitor.rest()


async def scan(visitor: Visitor) -> None:
    """Ask for what careless servers leave open."""
    for path in visitor.chance.sample(SCANNED_PATHS, len(SCANNED_PATHS)):
        await visitor.ask("GET", path)
    await visitor.rest()


HABITS: dict[str, Callable[[Visitor], Awaitable[None]]] = {
    "admin": administer,
    "worker": work,
    "forgetful": forget,
    "service": serve,
    "insider": pry,
    "guesser": guess,
    "scanner": scan,
}
