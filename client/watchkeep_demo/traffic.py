"""The application on a port of its own, and its users at work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

from aiohttp import web

from watchkeep_client import EventHandler, configure, enhanced_logger
from watchkeep_demo.app import create_app
from watchkeep_demo.state import State
from watchkeep_demo.users import PEOPLE, Visitor

APP = "demo"
SEED = 1
WELCOME_PROJECTS = ("Website", "Handbook")


def prepared_state() -> State:
    """Return the application's state on its first day: accounts, two projects with some files."""
    state = State()
    for person in PEOPLE:
        if person.role:
            state.add_account(person.username, person.password, person.role)
    for name in WELCOME_PROJECTS:
        project = state.add_project(name, "alice")
        for number in range(8):
            state.add_file(project, f"page-{number}.md", b"# Welcome\n" * (number + 1))
    return state


@contextlib.asynccontextmanager
async def application(logs: Path) -> AsyncGenerator[str]:
    """Run the application, logging into ``logs``; give its address."""
    # The users reach it as if through one reverse proxy, so that they have addresses of their own.
    configure(logs, APP, server="demo-1", environment="demo", version="1.4.2", trusted_hops=1)
    # What the framework logs (a handler that failed, with its traceback) becomes an event as well.
    framework = logging.getLogger("aiohttp.server")
    handler = EventHandler(logging.ERROR)
    framework.addHandler(handler)
    framework.propagate = False
    runner = web.AppRunner(create_app(prepared_state()), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        framework.removeHandler(handler)
        framework.propagate = True
        enhanced_logger.writer.close()


@contextlib.asynccontextmanager
async def visitors(address: str, pace: float, seed: int = SEED) -> AsyncGenerator[list[Visitor]]:
    """Let everybody act on the application at ``address``, ``pace`` times as fast as people."""
    everybody = [Visitor(person, address, pace, seed) for person in PEOPLE]
    tasks = [asyncio.create_task(visitor.live(), name=visitor.person.habit) for visitor in everybody]
    try:
        yield everybody
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for result in ended:
            # Anything but the cancellation is a fault of the demonstration, and must not pass unseen.
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
