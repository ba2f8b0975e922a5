"""The original system's own examples run as they stand; only the line that imports the logger names this package."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession, web

import watchkeep_client
from watchkeep_client import configure

AUTHENTICATION = """
# In your login endpoint
log_authentication_event(
    db=db,
    action=ActivityAction.LOGIN,
    user_id=user.id,
    username=user.username,
    success=True,
    request=request
)
"""
CUSTOM = """
# Log custom event
enhanced_logger.log_event(
    db=db,
    category=EventCategory.SECURITY,
    action=ActivityAction.SECURITY_EVENT,
    entity_type="security",
    description="Suspicious login attempt detected",
    level=ActivityLevel.WARNING,
    risk_score=75,
    metadata={"ip_address": "192.168.1.100", "attempts": 5}
)
"""
DATA = """
# In your CRUD operations
log_data_operation(
    db=db,
    action=ActivityAction.CREATE,
    entity_type="project",
    entity_id=project.id,
    entity_name=project.name,
    user_id=current_user.id,
    username=current_user.username,
    description=f"Created project: {project.name}",
    request=request
)
"""
SECURITY = """
# For security incidents
log_security_event(
    db=db,
    description="Suspicious API usage detected",
    level=ActivityLevel.WARNING,
    user_id=user.id,
    username=user.username,
    request=request,
    risk_score=65,
    metadata={
        "api_calls_per_minute": 1000,
        "suspicious_patterns": ["rapid_requests", "unusual_endpoints"]
    }
)
"""
MIDDLEWARE = """
@app.middleware("http")
async def logging_middleware(request: Request, call_next):
    start_time = time.time()
    response = await call_next(request)
    response_time = int((time.time() - start_time) * 1000)

    # Log API call
    log_api_call(
        db=get_db_session(),
        request=request,
        response_time_ms=response_time,
        status_code=response.status_code,
        user_id=getattr(request.state, 'user_id', None),
        username=getattr(request.state, 'username', None)
    )

    return response
"""


class Headers(dict[str, str]):
    """Starlette's: names in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


class State:
    """Starlette's: attributes, shared by all request objects of one request."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def starlette_request(**state: Any) -> Any:
    """Return an object with the parts of a Starlette request that its documentation promises."""
    return SimpleNamespace(
        method="POST",
        url=SimpleNamespace(path="/api/v1/auth/login", query="next=/admin&token=abc"),
        headers=Headers(
            {"user-agent": "Mozilla/5.0", "authorization": "Bearer secret", "x-request-id": "req-17"}
        ),
        cookies={"session_id": "s3cr3t-cookie"},
        client=SimpleNamespace(host="192.168.1.100", port=5123),
        state=State(**state),
    )


class Database:
    """A session that must not be touched: any use of it is an error."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the client used the database: {name}")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    configure(tmp_path, "app", server="app-server-1", environment="production", version="1.0.0")
    return tmp_path


def run(example: str, request: Any) -> None:
    person = SimpleNamespace(id=1, username="john.doe")
    names = {
        **{name: getattr(watchkeep_client, name) for name in watchkeep_client.__all__},
        "db": Database(),
        "user": person,
        "current_user": person,
        "project": SimpleNamespace(id=42, name="Apollo"),
        "request": request,
    }
    exec(compile(example, "example", "exec"), names)


def written(logs: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(logs.glob("app-*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def test_the_authentication_example_writes_the_documented_event(logs: Path) -> None:
    """The event has the shape of the document's sample, block by block."""
    run(AUTHENTICATION, starlette_request())
    (event,) = written(logs)
    assert event["user"] == {"id": 1, "username": "john.doe"}
    assert event["entity"] == {"type": "auth", "id": "1", "name": "john.doe"}
    assert event["request"] == {
        "method": "POST",
        "path": "/api/v1/auth/login",
        "ip": "192.168.1.100",
        "userAgent": "Mozilla/5.0",
    }
    assert event["system"] == {"server": "app-server-1", "environment": "production", "version": "1.0.0"}
    assert (event["level"], event["category"], event["action"]) == ("info", "authentication", "login")
    assert event["description"] == "User john.doe login successful"
    assert (event["riskScore"], event["outcome"]) == (0, "success")
    assert event["correlationId"] == "req-17"
    assert event["timestamp"].endswith("Z")


def test_the_custom_event_example_keeps_everything_it_was_given(logs: Path) -> None:
    """Metadata, level and risk arrive as given, without a request."""
    run(CUSTOM, None)
    (event,) = written(logs)
    assert event["metadata"] == {"ip_address": "192.168.1.100", "attempts": 5}
    assert (event["level"], event["riskScore"], event["category"]) == ("warning", 75, "security")
    assert "request" not in event


def test_the_data_operation_example_names_what_was_changed(logs: Path) -> None:
    """The entity's id is text, as everywhere in the API."""
    run(DATA, starlette_request())
    (event,) = written(logs)
    assert event["entity"] == {"type": "project", "id": "42", "name": "Apollo"}
    assert event["description"] == "Created project: Apollo"
    assert (event["category"], event["action"]) == ("data_management", "create")


def test_the_security_example_keeps_its_risk(logs: Path) -> None:
    """A given risk is kept; without one it is medium, and zero is zero."""
    run(SECURITY, starlette_request())
    watchkeep_client.log_security_event(db=None, description="a")
    watchkeep_client.log_security_event(db=None, description="b", risk_score=0)
    assert [event["riskScore"] for event in written(logs)] == [65, 50, 0]


async def test_the_middleware_example_logs_each_call(logs: Path) -> None:
    """The document's middleware, registered and called as Starlette does."""
    registered: list[Any] = []
    app = SimpleNamespace(middleware=lambda kind: registered.append if kind == "http" else None)
    names = {"app": app, "time": time, "Request": object, "get_db_session": Database}
    exec(compile(MIDDLEWARE, "example", "exec"), {**names, "log_api_call": watchkeep_client.log_api_call})

    async def call_next(request: Any) -> Any:
        await asyncio.sleep(0.01)
        return SimpleNamespace(status_code=503)

    await registered[0](starlette_request(user_id=7, username="ana"), call_next)
    (event,) = written(logs)
    assert event["request"]["statusCode"] == 503
    assert event["request"]["responseTime"] >= 10
    assert event["user"] == {"id": 7, "username": "ana"}
    assert (event["level"], event["outcome"]) == ("error", "failure")


def test_no_secret_of_the_request_is_written(logs: Path) -> None:
    """Neither the query string nor the cookie nor the authorization header reaches the file."""
    run(AUTHENTICATION, starlette_request())
    text = next(logs.glob("app-*.jsonl")).read_text()
    assert not any(secret in text for secret in ("token=abc", "s3cr3t", "Bearer"))
    assert len(json.loads(text)["sessionId"]) == 16


def test_events_of_one_request_share_an_id_without_a_header(logs: Path) -> None:
    """The id made for a request is remembered as long as the request lives."""
    request = starlette_request()
    del request.headers["x-request-id"]
    run(AUTHENTICATION, request)
    run(SECURITY, request)
    run(SECURITY, starlette_request())
    first, second, other = (event["correlationId"] for event in written(logs))
    assert first == second != other


async def test_the_examples_work_with_an_aiohttp_request_too(logs: Path) -> None:
    """The same call inside a real aiohttp handler."""

    async def login(request: web.Request) -> web.Response:
        run(AUTHENTICATION, request)
        run(SECURITY, request)
        return web.Response()

    app = web.Application()
    app.router.add_post("/login", login)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as http, http.post(f"http://127.0.0.1:{runner.addresses[0][1]}/login?token=x"):
        pass
    await runner.cleanup()
    first, second = written(logs)
    assert first["request"]["path"] == "/login"
    assert first["request"]["ip"] == "127.0.0.1"
    assert first["correlationId"] == second["correlationId"]
