"""Field names of rules to columns: our own names, ECS and OpenTelemetry, OCSF, and the W3C log format of web rules.

A name that nobody knows is a field of the line: it lies in `extra` if it stood at the top, or in `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from parsers.columns import BY_NAME
from parsers.fields import JSON, resolve
from parsers.names import NAMES as LINE_NAMES
from parsers.sigma.matching import Target

# Names of the W3C extended log format, as SigmaHQ's web rules use them.
W3C: Final = {
    "cs-method": "method",
    "cs-uri": "path",
    "cs-uri-stem": "path",
    "cs-uri-query": "path",
    "cs-user-agent": "user_agent",
    "c-useragent": "user_agent",
    "c-ip": "ip",
    "cs-ip": "ip",
    "cs-username": "username",
    "sc-status": "status_code",
    "time-taken": "response_time_ms",
    "s-computername": "server",
    "cs-host": "server",
}
# Names of OCSF 1.7 that have a column; deeper ones follow the path of the object.
OCSF: Final = {
    "actor.user.uid": "user_id",
    "actor.user.name": "username",
    "user.uid": "user_id",
    "src_endpoint.ip": "ip",
    "src_endpoint.location.country": "country_code",
    "src_endpoint.location.city": "city",
    "http_request.http_method": "method",
    "http_request.url.path": "path",
    "http_request.user_agent": "user_agent",
    "http_response.code": "status_code",
    "metadata.uid": "event_id",
    "metadata.correlation_uid": "correlation_id",
    "status": "outcome",
    "device.hostname": "server",
}
# Names that rules for applications use without a family.
PLAIN: Final = {
    "user": "username",
    "username": "username",
    "userid": "user_id",
    "sourceip": "ip",
    "src_ip": "ip",
    "clientip": "ip",
    "useragent": "user_agent",
    "message": "description",
    "msg": "description",
    "eventid": "event_id",
    "hostname": "server",
}
FAMILIES: Mapping[str, Mapping[str, str]] = MappingProxyType({"w3c": W3C, "plain": PLAIN, "ocsf": OCSF})


def target_of(name: str) -> Target:
    """Return where a field of a rule lies."""
    lowered = name.lower()
    for family in FAMILIES.values():
        if lowered in family:
            return Target(name, ((family[lowered], ()),))
    segments = tuple(name.split("."))
    found = resolve(segments, len(segments))
    if found is not None and found[0].column in BY_NAME:
        field, rest = found
        # Rules compare addresses as texts, unless they say that it is a network.
        column = "ip" if field.column == "ip_bytes" else field.column
        return Target(name, ((column, rest if field.kind is JSON else ()),))
    of_line = LINE_NAMES.get(name) or LINE_NAMES.get(lowered)
    if of_line is not None:
        return Target(name, ((of_line[0], ()),))
    return Target(name, (("extra", segments), ("metadata", segments)))


def known(target: Target) -> bool:
    """Return whether a field has a column of its own, or says itself that it lies in one of the application's."""
    return len(target.places) == 1
