"""What belongs to every event of a request or job: bound once, in a context variable, seen by every call below."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

_bound: ContextVar[Mapping[str, Any]] = ContextVar("watchkeep_client_bound", default={})  # noqa: B039 - never changed in place


class Binding:
    """What `bind` returns: the values hold from then on, or until the ``with`` block it is used in ends."""

    def __init__(self, token: Token[Mapping[str, Any]]) -> None:
        self._token: Token[Mapping[str, Any]] | None = token

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def undo(self) -> None:
        """Restore what was bound before. A second call does nothing."""
        if self._token is not None:
            _bound.reset(self._token)
            self._token = None


def bind(
    *,
    user: object = None,
    correlation_id: str | None = None,
    session_id: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    tenant: str | None = None,
    on_behalf_of: str | None = None,
) -> Binding:
    """Bind values to every event logged from here on in this task or thread, and in tasks started from it.

    ``user`` is an object with ``id`` and ``username``, a mapping with those keys, a pair ``(id, username)``, or a
    user name. Values left out stay as they are. Use it alone or as a context manager.
    """
    given = {
        "user": None if user is None else user_object(user),
        "correlationId": correlation_id,
        "sessionId": session_id,
        "traceId": trace_id,
        "spanId": span_id,
        "tenant": tenant,
        "onBehalfOf": on_behalf_of,
    }
    fresh = {key: value for key, value in given.items() if value is not None}
    return Binding(_bound.set({**_bound.get(), **fresh}))


def bound() -> Mapping[str, Any]:
    """Return what is bound here, by its name in the event."""
    return _bound.get()


def user_object(user: object) -> dict[str, Any] | None:
    """Return ``{"id": …, "username": …}`` of any of the shapes `bind` takes, without what is missing."""
    if isinstance(user, str):
        return {"username": user}
    if isinstance(user, tuple):
        identity, name = (*user, None)[:2]
    elif isinstance(user, Mapping):
        identity, name = user.get("id"), user.get("username")
    else:
        identity, name = getattr(user, "id", None), getattr(user, "username", None)
    found = {key: value for key, value in (("id", identity), ("username", name)) if value is not None}
    return found or None
