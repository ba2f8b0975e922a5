"""The application: login, projects, files and admin pages over HTTP, logging as any application would."""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.typedefs import Handler

from watchkeep_client import (
    ActivityAction,
    ActivityLevel,
    EventCategory,
    bind,
    enhanced_logger,
    log_authentication_event,
    log_data_operation,
    log_security_event,
)
from watchkeep_client.aiohttp import instrument
from watchkeep_demo.state import LOCK_AFTER, LOCK_SECONDS, MASS_DOWNLOADS, Account, Project, Session, State

STATE = web.AppKey("state", State)
SESSION = web.RequestKey("session", Session)
USER = web.RequestKey("user", Account)
SESSION_COOKIE = "session_id"
MAX_UPLOAD_BYTES = 1024 * 1024
ROLES = frozenset({"user", "admin", "service"})

routes = web.RouteTableDef()


def create_app(state: State) -> web.Application:
    """Return the application over ``state``."""
    app = web.Application(middlewares=[_sessions], client_max_size=MAX_UPLOAD_BYTES)
    app[STATE] = state
    app.add_routes(routes)
    instrument(app, user=lambda request: request.get(USER), skip={"/health"})
    return app


@web.middleware
async def _sessions(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who is asking, and bind it to every event of the request."""
    session = request.app[STATE].sessions.get(request.cookies.get(SESSION_COOKIE, ""))
    if session is None:
        return await handler(request)
    request[SESSION] = session
    request[USER] = session.account
    with bind(user=session.account):
        return await handler(request)


def _session(request: web.Request) -> Session:
    found: Session | None = request.get(SESSION)
    if found is None:
        raise web.HTTPUnauthorized(text="log in first")
    return found


def _admin(request: web.Request) -> Account:
    account = _session(request).account
    if account.role != "admin":
        enhanced_logger.log_event(
            category=EventCategory.AUTHORIZATION,
            action=ActivityAction.READ,
            entity_type="page",
            entity_name=request.path,
            description=f"{account.username} was refused {request.path}: role {account.role}, needs admin",
            level=ActivityLevel.WARNING,
            outcome="denied",
            request=request,
            risk_score=40,
        )
        raise web.HTTPForbidden(text="admins only")
    return account


def _project(request: web.Request) -> Project:
    found = request.app[STATE].projects.get(int(request.match_info["project"]))
    if found is None:
        raise web.HTTPNotFound(text="no such project")
    return found


def _data(
    request: web.Request, action: ActivityAction, kind: str, identity: int, name: str, what: str
) -> None:
    account = _session(request).account
    log_data_operation(
        action=action,
        entity_type=kind,
        entity_id=identity,
        entity_name=name,
        user_id=account.id,
        username=account.username,
        description=what,
        request=request,
    )


@routes.get("/health")
async def health(_request: web.Request) -> web.Response:
    """Say that the application is up; not logged."""
    return web.json_response({"ok": True})


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    """Check a password and begin a session; too many wrong ones close the account for a while."""
    form = await request.post()
    username = str(form.get("username", ""))
    account = request.app[STATE].accounts.get(username)
    if account is not None and account.locked_until > time.monotonic():
        log_authentication_event(
            user_id=account.id,
            username=username,
            success=False,
            request=request,
            metadata={"reason": "locked"},
        )
        raise web.HTTPTooManyRequests(text="try again later", headers={"Retry-After": str(int(LOCK_SECONDS))})
    if account is None or not account.accepts(str(form.get("password", ""))):
        _refuse(request, username, account)
        raise web.HTTPUnauthorized(text="wrong user name or password")
    account.failures = 0
    session = request.app[STATE].open_session(account)
    request[USER] = account
    log_authentication_event(user_id=account.id, username=username, success=True, request=request)
    answer = web.json_response({"user": username, "role": account.role})
    answer.set_cookie(SESSION_COOKIE, session.token, httponly=True, samesite="Strict")
    return answer


def _refuse(request: web.Request, username: str, account: Account | None) -> None:
    reason = "no such user" if account is None else "wrong password"
    log_authentication_event(
        user_id=account.id if account else None,
        username=username,
        success=False,
        request=request,
        metadata={"reason": reason},
    )
    if account is None:
        return
    account.failures += 1
    if account.failures >= LOCK_AFTER:
        account.locked_until = time.monotonic() + LOCK_SECONDS
        account.failures = 0
        log_security_event(
            description=f"Account {username} locked after {LOCK_AFTER} wrong passwords",
            level=ActivityLevel.ERROR,
            user_id=account.id,
            username=username,
            request=request,
            risk_score=75,
            metadata={"attempts": LOCK_AFTER, "locked_seconds": LOCK_SECONDS},
        )


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    """End the session."""
    session = _session(request)
    del request.app[STATE].sessions[session.token]
    log_authentication_event(
        action=ActivityAction.LOGOUT,
        user_id=session.account.id,
        username=session.account.username,
        success=True,
        request=request,
    )
    answer = web.Response(status=204)
    answer.del_cookie(SESSION_COOKIE)
    return answer


@routes.get("/projects")
async def list_projects(request: web.Request) -> web.Response:
    """Return every project's id and name."""
    _session(request)
    return web.json_response([_shown(project) for project in request.app[STATE].projects.values()])


@routes.post("/projects")
async def create_project(request: web.Request) -> web.Response:
    """Create a project."""
    account = _session(request).account
    name = str((await request.json()).get("name", "")).strip()
    if not name:
        enhanced_logger.log_event(
            category=EventCategory.DATA_MANAGEMENT,
            action=ActivityAction.VALIDATION_FAILED,
            entity_type="project",
            description="A project needs a name",
            level=ActivityLevel.WARNING,
            request=request,
            outcome="failure",
        )
        raise web.HTTPUnprocessableEntity(text="a project needs a name")
    project = request.app[STATE].add_project(name, account.username)
    _data(request, ActivityAction.CREATE, "project", project.id, name, f"Created project: {name}")
    return web.json_response(_shown(project), status=201)


@routes.get(r"/projects/{project:\d+}")
async def read_project(request: web.Request) -> web.Response:
    """Return a project and the names of its files."""
    _session(request)
    project = _project(request)
    _data(
        request, ActivityAction.READ, "project", project.id, project.name, f"Viewed project: {project.name}"
    )
    files = [{"id": upload.id, "name": upload.name} for upload in project.files.values()]
    return web.json_response({**_shown(project), "files": files})


@routes.patch(r"/projects/{project:\d+}")
async def rename_project(request: web.Request) -> web.Response:
    """Rename a project; the event keeps the old and the new name."""
    account = _session(request).account
    project = _project(request)
    old, project.name = project.name, str((await request.json())["name"])
    enhanced_logger.log_event(
        category=EventCategory.DATA_MANAGEMENT,
        action=ActivityAction.UPDATE,
        entity_type="project",
        entity_id=project.id,
        entity_name=project.name,
        user_id=account.id,
        username=account.username,
        description=f"Renamed project: {old} is now {project.name}",
        changes={"name": {"old": old, "new": project.name}},
        request=request,
    )
    return web.json_response(_shown(project))


@routes.delete(r"/projects/{project:\d+}")
async def delete_project(request: web.Request) -> web.Response:
    """Delete a project; only its owner or an admin may."""
    account = _session(request).account
    project = _project(request)
    if account.username != project.owner:
        _admin(request)
    del request.app[STATE].projects[project.id]
    _data(
        request,
        ActivityAction.DELETE,
        "project",
        project.id,
        project.name,
        f"Deleted project: {project.name}",
    )
    return web.Response(status=204)


@routes.get(r"/projects/{project:\d+}/report")
async def report(request: web.Request) -> web.Response:
    """Return the mean size of a project's files."""
    _session(request)
    project = _project(request)
    return web.json_response({"project": project.id, "average_bytes": project.average_size()})


@routes.put(r"/projects/{project:\d+}/files/{name}")
async def upload(request: web.Request) -> web.Response:
    """Store a file."""
    account = _session(request).account
    project = _project(request)
    stored = request.app[STATE].add_file(project, request.match_info["name"], await request.read())
    enhanced_logger.log_event(
        category=EventCategory.FILE_MANAGEMENT,
        action=ActivityAction.FILE_UPLOAD,
        entity_type="file",
        entity_id=stored.id,
        entity_name=stored.name,
        user_id=account.id,
        username=account.username,
        description=f"Uploaded {stored.name} to {project.name}",
        request=request,
        metadata={"bytes": len(stored.content), "project": project.id},
    )
    return web.json_response({"id": stored.id}, status=201)


@routes.get(r"/projects/{project:\d+}/files/{file:\d+}")
async def download(request: web.Request) -> web.Response:
    """Return a file; many in a short time are reported."""
    session = _session(request)
    project = _project(request)
    stored = project.files.get(int(request.match_info["file"]))
    if stored is None:
        raise web.HTTPNotFound(text="no such file")
    recent = session.count_download()
    enhanced_logger.log_event(
        category=EventCategory.FILE_MANAGEMENT,
        action=ActivityAction.FILE_DOWNLOAD,
        entity_type="file",
        entity_id=stored.id,
        entity_name=stored.name,
        description=f"Downloaded {stored.name} from {project.name}",
        request=request,
        metadata={"bytes": len(stored.content), "downloads_last_minute": recent},
    )
    if recent == MASS_DOWNLOADS:
        log_security_event(
            description=f"Mass download: {session.account.username} took {recent} files within a minute",
            level=ActivityLevel.CRITICAL,
            user_id=session.account.id,
            username=session.account.username,
            request=request,
            risk_score=90,
            metadata={"downloads_last_minute": recent},
        )
    return web.Response(body=stored.content, content_type="application/octet-stream")


@routes.get("/export")
async def export(request: web.Request) -> web.Response:
    """Return every project with its files' names, as one document."""
    account = _session(request).account
    projects = [
        {**_shown(project), "files": [stored.name for stored in project.files.values()]}
        for project in request.app[STATE].projects.values()
    ]
    enhanced_logger.log_event(
        category=EventCategory.DATA_MANAGEMENT,
        action=ActivityAction.EXPORT,
        entity_type="project",
        description=f"{account.username} exported {len(projects)} projects",
        request=request,
        metadata={"projects": len(projects)},
        risk_score=30,
    )
    return web.json_response(projects)


@routes.post("/jobs/backup")
async def backup(request: web.Request) -> web.Response:
    """Count what a backup would hold; only service accounts run it."""
    account = _session(request).account
    if account.role != "service":
        _admin(request)
    files = [stored for project in request.app[STATE].projects.values() for stored in project.files.values()]
    size = sum(len(stored.content) for stored in files)
    enhanced_logger.log_event(
        category=EventCategory.WORKFLOW,
        action=ActivityAction.WORKFLOW_EXECUTE,
        entity_type="job",
        entity_name="backup",
        description=f"Backup of {len(files)} files finished",
        request=request,
        metadata={"files": len(files), "bytes": size},
    )
    return web.json_response({"files": len(files), "bytes": size})


@routes.get("/admin/users")
async def admin_users(request: web.Request) -> web.Response:
    """Return every account; admins only."""
    account = _admin(request)
    enhanced_logger.log_event(
        category=EventCategory.USER_MANAGEMENT,
        action=ActivityAction.READ,
        entity_type="user",
        description=f"{account.username} listed the accounts",
        request=request,
    )
    return web.json_response(
        [
            {"id": other.id, "username": other.username, "role": other.role}
            for other in request.app[STATE].accounts.values()
        ]
    )


@routes.post(r"/admin/users/{username}/role")
async def change_role(request: web.Request) -> web.Response:
    """Give an account another role; admins only."""
    admin = _admin(request)
    target = request.app[STATE].accounts.get(request.match_info["username"])
    role = str((await request.json()).get("role"))
    if target is None or role not in ROLES:
        raise web.HTTPUnprocessableEntity(text="no such user or role")
    old, target.role = target.role, role
    enhanced_logger.log_event(
        category=EventCategory.USER_MANAGEMENT,
        action=ActivityAction.PERMISSION_CHANGE,
        entity_type="user",
        entity_id=target.id,
        entity_name=target.username,
        description=f"{admin.username} made {target.username} {role} (was {old})",
        level=ActivityLevel.WARNING,
        changes={"role": {"old": old, "new": role}},
        affected_users_count=1,
        request=request,
        risk_score=60 if role == "admin" else 20,
    )
    return web.json_response({"username": target.username, "role": role})


@routes.get("/admin/settings")
async def admin_settings(request: web.Request) -> web.Response:
    """Return the limits in force; admins only."""
    account = _admin(request)
    enhanced_logger.log_event(
        category=EventCategory.CONFIGURATION,
        action=ActivityAction.READ,
        entity_type="settings",
        description=f"{account.username} looked at the settings",
        request=request,
        level=ActivityLevel.DEBUG,
    )
    return web.json_response({"lock_after": LOCK_AFTER, "lock_seconds": LOCK_SECONDS, "mass": MASS_DOWNLOADS})


def _shown(project: Project) -> dict[str, object]:
    return {"id": project.id, "name": project.name, "owner": project.owner}
