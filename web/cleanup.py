"""`DELETE /events/cleanup`: what retention would remove, or removes, as whole days. Nothing else removes events."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from storage.retention import DropReport, facts
from web.answers import json_answer
from web.keys import AUDIT, CLOCK, DAEMON
from web.serviceparams import CleanupParams
from web.times import day_before


async def cleanup(request: web.Request, params: CleanupParams) -> web.StreamResponse:
    """List the whole UTC days that are older than ``days``; with ``dry_run=false`` remove them.

    The removal is recorded before it happens: a removal without a trace must not be possible.
    """
    first_kept = day_before(request.app[CLOCK](), params.days)
    dry_run = params.dry_run == "true"
    daemon = request.app[DAEMON]
    if not dry_run:
        planned = await daemon.cleanup(first_kept, dry_run=True)
        await request.app[AUDIT].cleaned(request, _facts(planned))
    report = await daemon.cleanup(first_kept, dry_run=dry_run)
    verb = "Would delete" if dry_run else "Deleted"
    message = f"{verb} {report.rows} events older than {params.days} days"
    return json_answer({"success": True, "message": message, "data": _facts(report)})


def _facts(report: DropReport) -> dict[str, Any]:
    return {
        "cutoff_date": f"{report.before}T00:00:00Z",
        "events_count": report.rows,
        "deleted_count": 0 if report.dry_run else report.rows,
        "dry_run": report.dry_run,
        **facts(report),
    }
