"""Events under the later original's paths."""

from __future__ import annotations

from web import activity
from web.errors import NOT_FOUND
from web.eventparams import ActivityParams
from web.params import NoParams
from web.route import Route, for_viewers, in_json, polled_by_viewers

ACTIVITY_ROUTES: tuple[Route, ...] = (
    polled_by_viewers(
        "listActivity",
        "GET",
        "/activity-logs",
        activity.page,
        ActivityParams,
        "Events under the later original's names",
        in_json("ActivityPage"),
        "activity",
        view="events",
    ),
    polled_by_viewers(
        "listEntityActivity",
        "GET",
        "/activity-logs/entity/{entity_type}/{entity_id}",
        activity.page,
        ActivityParams,
        "Events about one thing",
        in_json("ActivityPage"),
        "activity",
        view="events",
    ),
    polled_by_viewers(
        "listUserActivity",
        "GET",
        "/activity-logs/user/{user_id}",
        activity.page,
        ActivityParams,
        "Events of one user",
        in_json("ActivityPage"),
        "activity",
        view="events",
    ),
    for_viewers(
        "getActivity",
        "GET",
        "/activity-logs/{event_id}",
        activity.one,
        NoParams,
        "One event, bare",
        in_json("Event"),
        "activity",
        errors=(NOT_FOUND,),
        view="event",
    ),
)
