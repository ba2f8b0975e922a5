"""Thirty situations, each with the score and the reasons that it gets: the table of docs/risk.md, and a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Scenario:
    """``habit``: how often the usual event comes before (every hour, from Berlin); ``before``: events just before.

    Times of ``before`` and ``event`` are in seconds after the habit's last event. Events are lines as applications
    write them, less what the usual one says already.
    """

    title: str
    event: Mapping[str, Any]
    score: int
    reasons: tuple[str, ...]
    habit: int = 0
    before: tuple[Mapping[str, Any], ...] = ()
    after_seconds: int = 3600
    others: int = 0  # other users with the same habit


_LOGIN = {"category": "authentication", "action": "login"}
_FAILED = {**_LOGIN, "outcome": "failure", "level": "warning"}
_EXPORT = {"category": "data_management", "action": "export"}
_TOKYO = {
    "location": {"country": "JP", "city": "Tokyo", "latitude": 35.7, "longitude": 139.7},
    "request": {"ip": "203.0.113.9", "userAgent": "Mozilla/5.0 (Windows NT 10.0) Firefox/130.0"},
}
_OTHER_PLACE = {"location": {"country": "DE", "city": "Munich", "latitude": 48.1, "longitude": 11.6}}
HABIT = 240  # hours: ten days, so that a user is known

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("a read", {"action": "read"}, 0, ()),
    Scenario("a login", {**_LOGIN, "outcome": "success"}, 0, ()),
    Scenario("an update", {"category": "data_management", "action": "update"}, 5, ("base",)),
    Scenario("a deletion", {"category": "data_management", "action": "delete"}, 15, ("base",)),
    Scenario("an export", _EXPORT, 25, ("base",)),
    Scenario("a lone failed login", _FAILED, 24, ("base", "level")),
    Scenario("a login that was denied", {**_LOGIN, "outcome": "denied", "level": "warning"}, 28, ("base", "level")),
    Scenario("an error", {"action": "api_call", "category": "api", "level": "error", "outcome": "failure"}, 24, ("base", "level")),
    Scenario("a critical event", {"category": "system_management", "action": "system_event", "level": "critical"}, 50, ("level",)),
    Scenario("a change of permissions", {"category": "authorization", "action": "permission_change"}, 25, ("base",)),
    Scenario("a change of permissions that was denied", {"category": "authorization", "action": "permission_change", "outcome": "denied", "level": "warning"}, 42, ("base", "level")),
    Scenario("a critical security event", {"category": "security", "action": "security_event", "level": "critical"}, 70, ("base", "level")),
    Scenario("a deleted account", {"category": "user_management", "action": "delete"}, 30, ("base",)),
    Scenario("an export that touches 5,000 people", {**_EXPORT, "affectedUsersCount": 5000}, 48, ("base", "scale")),
    Scenario("the application's own score", {**_EXPORT, "riskScore": 75}, 75, ("application",)),
    Scenario("the application says that nothing is wrong", {**_EXPORT, "level": "critical", "riskScore": 0}, 0, ()),
    Scenario("the usual, by a user with a habit", {"action": "read"}, 0, (), habit=HABIT),
    Scenario("everything new, by a user with two days of history", {**_EXPORT, **_TOKYO}, 25, ("base",), habit=48),
    Scenario("a read from a new country, hours after one at home", {"action": "read", **_TOKYO}, 56, ("new_country", "new_country_for_all", "new_network", "new_device"), habit=HABIT, after_seconds=14 * 3600),
    Scenario("a login in Tokyo an hour after one in Berlin", {**_LOGIN, **_TOKYO}, 76, ("new_country", "new_country_for_all", "new_network", "new_device", "impossible_travel"), habit=HABIT),
    Scenario("an export from a new country, by a new device, a day later", {**_EXPORT, **_TOKYO}, 67, ("base", "new_country", "new_country_for_all", "new_network", "new_device"), habit=HABIT, after_seconds=25 * 3600),
    Scenario("a mass export from a new country by a new device", {**_EXPORT, **_TOKYO, "affectedUsersCount": 5000}, 77, ("base", "scale", "new_country", "new_country_for_all", "new_network", "new_device"), habit=HABIT, after_seconds=25 * 3600),
    Scenario("a trip within the country", {"action": "read", **_OTHER_PLACE}, 0, (), habit=HABIT),
    Scenario("a new browser at home", {"action": "read", "request": {"ip": "198.51.100.7", "userAgent": "curl/8.1"}}, 20, ("new_device",), habit=HABIT),
    Scenario("the same browser after an update", {"action": "read", "request": {"ip": "198.51.100.7", "userAgent": "Mozilla/5.0 (X11; Linux) Firefox/141.0"}}, 0, (), habit=HABIT),
    Scenario("the fifth failed login in a row", _FAILED, 37, ("base", "level", "failed_streak_5"), habit=HABIT, before=(_FAILED,) * 4),
    Scenario("the tenth failed login in a row", _FAILED, 46, ("base", "level", "failed_streak_10"), habit=HABIT, before=(_FAILED,) * 9),
    Scenario("a login after six failed ones", {**_LOGIN, "outcome": "success"}, 35, ("success_after_failures",), habit=HABIT, before=(_FAILED,) * 6),
    Scenario("the hundredth read within a minute", {"action": "read"}, 15, ("velocity",), habit=HABIT, before=({"action": "read"},) * 99),
    Scenario("an account that wakes up after 70 days", {**_LOGIN, "outcome": "success"}, 20, ("dormant_account",), habit=HABIT, after_seconds=70 * 86_400),
    Scenario("a permission changed by one who never did, where hardly anybody does", {"category": "authorization", "action": "permission_change"}, 33, ("base", "rare_action"), habit=HABIT, others=30),
)  # fmt: skip

USUAL: Mapping[str, Any] = {
    "level": "info",
    "category": "data_management",
    "action": "read",
    "outcome": "success",
    "user": {"id": "alice", "username": "alice"},
    "request": {"ip": "198.51.100.7", "userAgent": "Mozilla/5.0 (X11; Linux) Firefox/140.0"},
    "location": {"country": "DE", "city": "Berlin", "latitude": 52.5, "longitude": 13.4},
}
