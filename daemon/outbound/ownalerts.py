"""The daemon's own alerts: those that no rule made, with what people did about them. Pure; times are given to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.outbound.message import alert_from_json
from parsers.sigma.alert import STATES, Alert, AlertChange, ChangeKind
from parsers.sigma.episodes import DEFAULT_QUIET_US

QUIET = "watchkeep.quiet-source"
TROUBLE = "watchkeep.trouble"
OWN_RULES = (QUIET, TROUBLE)
MOST_OWN = 500  # remembered, half a megabyte; those that are over and were changed longest ago go first


@dataclass(frozen=True, slots=True)
class Own:
    """One of them, with its newest change. ``held``: somebody opened it again, so only a person ends it."""

    alert: Alert
    number: int
    kind: ChangeKind = "opened"
    held: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Own:
        """Return what `to_json` wrote. Raises KeyError or TypeError for anything else."""
        return cls(alert_from_json(given["alert"]), given["number"], given["kind"], given["held"])


class OwnAlerts:
    """All that are remembered, at most `MOST_OWN`."""

    def __init__(self) -> None:
        self._by_id: dict[str, Own] = {}

    def __iter__(self) -> Iterator[Own]:
        return iter(list(self._by_id.values()))

    def get(self, identity: str) -> Own | None:
        """Return one of them."""
        return self._by_id.get(identity)

    def put(self, own: Own) -> None:
        """Remember one in the place of an earlier state of it."""
        self._by_id[own.alert.id] = own
        while len(self._by_id) > MOST_OWN:
            oldest = min(self, key=lambda each: (each.alert.state != "resolved", each.alert.changed_us))
            del self._by_id[oldest.alert.id]

    def take(self, change: AlertChange) -> None:
        """Take a change of any alert; those that rules made are passed over, and what is known already."""
        if change.alert.rule_id not in OWN_RULES:
            return
        before = self._by_id.get(change.alert.id)
        if before is not None and before.number >= change.number:
            return
        held = before is not None and before.held and change.kind == "acknowledged"
        self.put(Own(change.alert, change.number, change.kind, held or change.kind == "reopened"))

    def standing(self, now_us: int) -> dict[str, Own]:
        """Return by id those that are not over, or that a person ended less than an hour ago: nothing is said again so soon."""
        return {
            own.alert.id: own
            for own in self
            if own.alert.state != "resolved"
            or (own.alert.by and now_us - own.alert.changed_us < DEFAULT_QUIET_US)
        }

    def changed(
        self, identity: str, kind: ChangeKind, by: str, comment: str, now_us: int
    ) -> AlertChange | Alert | None:
        """Return the change that a person asks for; the alert where it is so already; None where there is no such alert."""
        own = self._by_id.get(identity)
        if own is None:
            return None
        state = STATES[kind]
        if state == own.alert.state or (kind == "acknowledged" and own.alert.state == "resolved"):
            return own.alert
        alert = dataclasses.replace(own.alert, state=state, by=by, comment=comment, changed_us=now_us)
        return AlertChange(alert, kind, own.number + 1)
