"""Writes what documents the HTTP API: `docs/openapi.json` and `docs/api.md`.

`python -m web.reference` writes them again; with ``--check`` it only says which of them are out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from storage.roles import NONE
from web.bodies import Body
from web.errors import KINDS
from web.openapi import document
from web.params import Filters, Params, hint_of, repeatable
from web.route import Route
from web.routes import ROUTES

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = "docs/openapi.json"
REFERENCE = "docs/api.md"

_HEAD = """\
# The HTTP API

This page and `openapi.json` are written by `python -m web.reference` from the table in `web/routes.py`.
The running daemon serves the document at `/api/v1/openapi.json`. Every path answers with and without `/api/v1`.

```console
$ curl -s 'http://127.0.0.1:8710/api/v1/events?level=error&start_date=-24h&limit=20'
$ curl -s 'http://127.0.0.1:8710/api/v1/events/statistics?hours=24'
$ curl -sOJ 'http://127.0.0.1:8710/api/v1/events/export?format=csv&category=security'
```

## Common rules

- **Times** go in as ISO 8601 (without a zone: UTC), as a date, as `now`, or relative (`-15m`, `-24h`, `-7d`); they come
  out as RFC 3339 in UTC with `Z`. `start_date` and `end_date` are inclusive, and a bare date means its whole UTC day.
- **Filters** are the same for lists, figures and exports. Those marked ✱ may be given several times: values of one
  parameter are alternatives, different parameters must all hold, and a leading `!` excludes.
- **Searches** (`q`) say more than filters can: comparisons, patterns, members of JSON, AND, OR, NOT and brackets.
  [search.md](search.md) has the grammar. An error has the `position` of the character beside `loc`, `msg` and `hint`.
- **Pages** are newest first. `next` (and `Link: rel="next"`) is the cursor of the next page; following it gives every
  event once, whatever comes in meanwhile. `page` and `limit` work as well; give `snapshot` of the first answer back and
  they never shift. `total` is exact unless `total_is_estimate` says that counting took too long; `pages` is then null.
- **Polls** are cheap: an answer with an `ETag` is 304 for `If-None-Match` as long as nothing new came in, without any
  query. Sealing and the daemon's own events do not change it. A relative time is taken as the minute it is asked in.
- **Narrow figures**: `parts` of `/events/statistics` computes only what is named, which takes a few milliseconds from
  roll-ups, whatever the size of the archive; `plan` says whether roll-ups or a scan answered. `/events/trends` counts
  events, or with `of=users` distinct users, in buckets of a calendar in `tz`: a day with a change of clocks has 23 or 25
  hours, and of less than a day the buckets follow the clock on the wall. What has no line of its own is `other`, what has
  no value is `missing`. `/events/facets` has a time limit of its own (`[query] facet_seconds`): a field that is not done
  then says `timed_out`.
- **Figures** of an unchanged archive are given again for up to `[web] statistics_cache_seconds`.
- **The daemon's own events** (who read, exported, removed or was refused something) lie in the same archive. They are
  left out unless `internal=true` (with them) or `internal=only`. Reads are coalesced: one event per caller, view and
  query in ten minutes. An export or a removal that cannot be recorded does not happen.
- **Who may ask**: with API keys (`watchkeep keys create`), who sends one: `Authorization: Bearer wk_…` or `X-API-Key:
  wk_…`. Its role says what it may; a viewer sees personal values masked and may not filter by them (403).
  [access.md](access.md) has the whole of it. Without any key, a caller on this machine is the administrator, and what a
  proxy on this machine forwards may read, but not remove. The `Host` header must name this machine (or one of `[web]
  allowed_hosts`), and a request that changes something must not come from another site's page (`Sec-Fetch-Site`, else
  `Origin`).
- **Errors** are `application/problem+json` (RFC 9457) for every status: `type`, `title`, `status`, `detail`, `instance`,
  `errors[]` with `loc`, `msg` and `hint`, and the `request_id` under which the daemon's log says more.
- **Too slow, too many**: a query that passes its deadline is cancelled and answered 503 with what to narrow; when all
  places for a kind of query are taken the answer is 429 with `Retry-After`. A client that leaves stops its query.
- **Following**: `/events/live` is described in [live.md](live.md).
- **One user**: `/users/{user_id}` takes an id, or `name:` and a username where events have no id; `/addresses/{ip}` and
  `/entities/{entity_type}/{entity_id}` say the same of others. How risky each is, and why: [risk.md](risk.md).
- **SQL** ([docs/sql.md](sql.md)) is off unless `[sql] enabled`. A statement runs in a confined process of its own; its answer
  is complete, within the caps that `X-Truncated` tells of, before its first byte. Every statement that runs leaves a trace.
- **Exports** are streamed at the reader's pace. `X-Total-Count` says how many events there are. One that fails in the
  middle is cut off, so that HTTP clients report it: half an export never looks whole. So is one whose reader takes
  nothing for `[web] export_stall_seconds`. Cells of CSV that a spreadsheet would run as a formula begin with an
  apostrophe. `parquet` and `arrow` have the archive's columns and types ([the table](format.md)), newest first.
  `compress` gives a compressed file; a client that sends `Accept-Encoding: zstd` or `gzip` gets the same file over a
  compressed connection.
- **A Parquet export in parts**: it has an `ETag`, and `Range` with `If-Range: <that tag>` goes on where a download broke
  off, also after new events, a seal or a restart. Without `If-Range` a part is sent only when `snapshot` is given, because
  otherwise it might be of another file. The file is made again for that, not kept.
"""

_DIFFERENCES: tuple[tuple[str, str, str], ...] = (
    ("Errors", '`{"detail": …}`', "RFC 9457 problem+json for every status, 404 and 405 included"),
    ("Unknown parameters", "ignored, so a misspelt filter showed everything", "422 that names them"),
    ("`/events/export`, `/levels`, `/categories`, `/actions`", "404, taken for an event's id", "answered"),
    ("Times", "without a zone", "RFC 3339, UTC, `Z`"),
    (
        "`category` and `action` as filters",
        "another value was 422",
        "any text; unknown words are kept and listed",
    ),
    ("`user_id`", "an integer", "any text; `user.id` comes back as a number where the line had one"),
    (
        "Export",
        "`level`, `category` and dates only; at most 10 000, or 50 000",
        "every filter, no cap unless `limit`",
    ),
    ("CSV", "failed; cells as they are", "streamed; formulas neutralised; nested values as JSON"),
    ("`/events/statistics`", "`hours` up to 168", "up to 8760, or a range; all filters; more figures"),
    (
        "`/events/stats`",
        "days, hours, sessions always empty",
        "counted; `user_id` says whose, without it everybody's",
    ),
    ("`/events/me`", "the user of the token", "without keys nobody is known: `user_id` says whose"),
    (
        "`/events/cleanup`",
        "rows, by anybody",
        "whole UTC days as files; administrator; recorded; `cutoff_date` at 00:00",
    ),
    (
        "`/logs`",
        "one file, the last lines",
        "every file of the day, `next` to page back, redacted; `lines` says where",
    ),
    (
        "Writing",
        "events could be changed and deleted one by one",
        "405: only retention removes, as whole days",
    ),
)


def openapi_text() -> str:
    """Return the committed OpenAPI document, as an installation with the default limits serves it."""
    return json.dumps(document(version=_version()), indent=2, ensure_ascii=False) + "\n"


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def api_page() -> str:
    """Return the page about the API."""
    parts = [
        _HEAD,
        _endpoints(),
        _filters(),
        *(_route(route) for route in ROUTES),
        _problems(),
        _differences(),
    ]
    return "\n".join(parts)


def _endpoints() -> str:
    rows = [(f"{route.method} `{route.path}`", route.summary, _who(route)) for route in ROUTES]
    rows.append(("GET `/openapi.json`", "This contract, for machines", "everybody"))
    return "## Endpoints\n\n" + _table(("method and path", "answer", "who may ask, at least"), rows)


def _who(route: Route) -> str:
    if route.role == NONE:
        return "everybody"
    return f"{route.role}, scope `{route.scope}`" if route.scope else str(route.role)


def _filters() -> str:
    return "## Filters\n\n" + _parameters(Filters, tuple(Filters.model_fields))


def _route(route: Route) -> str:
    fields = route.params.model_fields
    shared = issubclass(route.params, Filters)
    own = tuple(name for name in fields if not (shared and name in Filters.model_fields))
    kinds = ", ".join(f"`{media}`" for media, _ in route.answers)
    schemas = ", ".join(f"`{schema}`" for _, schema in route.answers if schema is not None)
    text = f"## {route.method} {route.path}\n\n{route.summary}. Answers {kinds}"
    text += f" (schema {schemas}).\n" if schemas else ".\n"
    notes = []
    if shared:
        notes.append("Takes every [filter](#filters).")
    if route.polled:
        notes.append("Carries an `ETag`.")
    if route.headers:
        notes.append("Headers: " + ", ".join(f"`{name}`" for name in route.headers) + ".")
    if route.errors:
        notes.append(
            "Besides the common errors: " + ", ".join(f"`{k.code}` ({k.status})" for k in route.errors) + "."
        )
    if notes:
        text += "\n" + " ".join(notes) + "\n"
    if own:
        text += "\n" + _parameters(route.params, own)
    return text + ("\n" + _members(route.body) if route.body is not None else "")


def _members(body: type[Body]) -> str:
    properties: dict[str, Any] = body.model_json_schema().get("properties", {})
    rows = [(f"`{name}`", shape.get("description", "")) for name, shape in properties.items()]
    return _table(("member of the body", "meaning"), rows)


def _parameters(model: type[Params], names: tuple[str, ...]) -> str:
    properties: dict[str, Any] = model.model_json_schema().get("properties", {})
    rows = []
    for name in names:
        shape = properties[name]
        mark = " ✱" if repeatable(model, name) else ""
        rows.append((f"`{name}`{mark}", _values(model, name, shape), shape.get("description", "")))
    return _table(("parameter", "values", "meaning"), rows)


def _values(model: type[Params], name: str, shape: dict[str, Any]) -> str:
    """Return in words what a parameter takes, from its JSON Schema."""
    inner = next((option for option in shape.get("anyOf", ()) if option.get("type") != "null"), shape)
    inner = inner.get("items", inner)
    if "enum" in inner:
        text = ", ".join(f"`{value}`" for value in inner["enum"])
    elif inner.get("type") == "integer":
        low, high = inner.get("minimum"), inner.get("maximum")
        text = f"{low} to {high}" if high is not None else f"from {low}"
    else:
        text = hint_of(model, name) or "text"
    default = shape.get("default")
    return text if default in (None, []) else f"{text}; default `{default}`"


def _problems() -> str:
    rows = [(str(kind.status), f"`{kind.uri}`", kind.title) for kind in KINDS]
    return "## Problems\n\n" + _table(("status", "`type`", "meaning"), rows)


def _differences() -> str:
    head = "## Deliberate differences from the original\n\nNames and success envelopes are the original's; fields are only added.\n\n"
    return head + _table(("what", "the original", "here"), _DIFFERENCES)


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Write both files, or with ``--check`` name those that are out of date."""
    parser = argparse.ArgumentParser(prog="python -m web.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args(argv).check
    stale = 0
    for path, text in ((DOCUMENT, openapi_text()), (REFERENCE, api_page())):
        file = ROOT / path
        if file.exists() and file.read_text("utf-8") == text:
            continue
        stale += 1
        if not check:
            file.write_text(text, "utf-8")
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
