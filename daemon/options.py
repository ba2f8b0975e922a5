"""Turns the settings into the options of each part. Parts define their options themselves and know no settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from daemon.discovery import Root

if TYPE_CHECKING:  # a command imports only the parts it uses
    from daemon.atlas import AtlasOptions
    from daemon.detection import DetectionOptions
    from daemon.exporting import Planned
    from daemon.kept import KeeperOptions
    from daemon.outbound.sender import Channel
    from daemon.outbound.teller import TellerOptions
    from daemon.pipeline import PipelineOptions
    from daemon.recipients import AlertChannel
    from daemon.scoring import ScoringOptions
    from daemon.settings import Settings
    from daemon.tailer import TailOptions
    from parsers.sigma.routing import Route
    from storage.archiveoptions import ArchiveOptions
    from storage.engine import EngineOptions
    from storage.hub import HubOptions
    from storage.retention import Policy
    from storage.spares import SpareOptions
    from storage.transform import ParseOptions
    from web.access import AccessOptions
    from web.keys import WebOptions

LOST_WAIT_LISTINGS = 6  # what was renamed or copied is found by one of so many listings, or is lost


def roots(settings: Settings) -> tuple[Root, ...]:
    """Return the followed folders."""
    logs = settings.logs
    return tuple(
        Root(
            path=os.fsencode(folder),
            include=logs.include,
            exclude=logs.exclude,
            profile=logs.profiles.get(folder, logs.profile),
        )
        for folder in logs.directories
    )


def tail_options(settings: Settings, own_log: str) -> TailOptions:
    """Return what is followed and how; ``own_log`` is the folder of the daemon's own events."""
    from daemon.descriptors import kept_descriptors
    from daemon.losses import LOST_WAIT_SECONDS
    from daemon.selflog import root_of
    from daemon.tailer import TailOptions

    logs = settings.logs
    return TailOptions(
        roots=(*roots(settings), root_of(own_log)),
        max_line_bytes=logs.max_line_bytes,
        scan_seconds=logs.scan_seconds,
        max_open_files=kept_descriptors(),
        pinned_bytes=logs.pinned_bytes,
        max_unpacked_bytes=logs.max_unpacked_bytes,
        on_copy=logs.on_copy,
        lost_wait_seconds=min(LOST_WAIT_SECONDS, LOST_WAIT_LISTINGS * logs.scan_seconds),
    )


def pipeline_options(settings: Settings) -> PipelineOptions:
    """Return how much waits between reading and the archive, and when it is committed."""
    from daemon.pipeline import PipelineOptions

    return PipelineOptions(
        queue_bytes=settings.logs.queue_bytes,
        commit_bytes=settings.archive.commit_bytes,
        commit_seconds=settings.archive.commit_seconds,
    )


def archive_options(settings: Settings) -> ArchiveOptions:
    """Return how the archive is written."""
    from storage.archiveoptions import ArchiveOptions

    archive = settings.archive
    return ArchiveOptions(
        path=archive.path,
        node=archive.node,
        commit_bytes=archive.commit_bytes,
        commit_seconds=archive.commit_seconds,
        seal_bytes=archive.seal_bytes,
        seal_seconds=archive.seal_seconds,
        fold_files=archive.fold_files,
        late_seconds=archive.late_seconds,
        late_files=archive.late_files,
        grace_seconds=archive.grace_seconds,
        policy=policy(settings),
    )


def policy(settings: Settings) -> Policy:
    """Return what retention may drop."""
    from storage.retention import Policy, RetentionClass

    kept = settings.retention
    return Policy(
        classes=tuple(
            RetentionClass(item.name, item.categories, item.minimum_days, item.maximum_days)
            for item in kept.classes
        ),
        event_days=kept.event_days,
        exports=tuple(export.name for export in settings.archive.exports),
        clock_jump_days=kept.clock_jump_days,
    )


def parse_options(settings: Settings) -> ParseOptions:
    """Return how lines are read."""
    from parsers.classes import Classes
    from parsers.forwarded import Proxies
    from parsers.redact import RedactionOptions
    from storage.transform import ParseOptions

    redaction = settings.redaction
    return ParseOptions(
        node=settings.archive.node,
        timezone=settings.logs.timezone,
        classes=Classes(policy(settings).by_category),
        memory_limit_mb=settings.archive.memory_limit_mb,
        redaction=RedactionOptions(redaction.enabled, redaction.keys, redaction.rules),
        proxies=Proxies(settings.places.trusted_proxies, settings.places.proxy_header),
    )


def atlas_options(settings: Settings) -> AtlasOptions:
    """Return which databases say where an address lies."""
    from daemon.atlas import AtlasOptions

    places = settings.places
    return AtlasOptions(places.database, places.asn_database, places.stale_days, places.embedded)


def scoring_options(settings: Settings) -> ScoringOptions:
    """Return how events are scored; `daemon.sections.risk` has checked the names."""
    from daemon.scoring import ScoringOptions
    from parsers.points import Base, Points

    risk = settings.risk
    rows = tuple(Base(row.points, row.category, row.action, row.outcome, row.level) for row in risk.base)
    points = Points(risk.version, risk.points, risk.levels, rows)
    return ScoringOptions(points, risk.memory_mb << 20, risk.rebuild_events)


def rule_routes(settings: Settings) -> tuple[Route, ...]:
    """Return which events rules of other products are about; `daemon.sections.rules` has checked the searches."""
    from parsers.grammar import parse
    from parsers.sigma.routing import Route

    return tuple(
        Route(s.product, s.category, s.service, parse(s.events).expression if s.events else None)
        for s in settings.rules.sources
    )


def detection_options(settings: Settings) -> DetectionOptions:
    """Return how rules look at new events."""
    from daemon.detection import DetectionOptions
    from storage.detecting import DetectorOptions

    rules = settings.rules
    return DetectionOptions(
        rules.interval_seconds,
        rules.update_seconds,
        rules.most_alerts,
        DetectorOptions(rules.batch_rows, rules.match_memory_mb << 20),
    )


def rule_paths(settings: Settings) -> tuple[str, ...]:
    """Return the files and folders of rules that are there."""
    from daemon.rulebook import PACK

    rules = settings.rules
    given = tuple(path for path in rules.directories if os.path.exists(path))
    return (*((PACK,) if rules.pack else ()), *given)


def engine_options(settings: Settings) -> EngineOptions:
    """Return what queries may cost."""
    from storage.engine import EngineOptions

    query = settings.query
    return EngineOptions(
        threads=query.threads,
        memory_limit_mb=query.memory_limit_mb,
        deadline_seconds=query.deadline_seconds,
        count_seconds=query.count_seconds,
        suggest_seconds=query.suggest_seconds,
        facet_seconds=query.facet_seconds,
        rules_seconds=settings.rules.test_seconds,
        rollup_cache_mb=query.rollup_cache_mb,
    )


def hub_options(settings: Settings) -> HubOptions:
    """Return how many may follow new events, and how far they may fall behind."""
    from storage.hub import HubOptions

    web = settings.web
    return HubOptions(web.live_clients, web.live_queue_events, web.live_queue_bytes)


def spare_options(settings: Settings) -> SpareOptions:
    """Return what statements of people may cost."""
    from storage.adhoc import Limits
    from storage.spares import SpareOptions

    sql = settings.sql
    return SpareOptions(
        children=sql.children,
        waiting=sql.waiting,
        # What a statement reads must stay until it ends, with room for a slow start.
        deadline_seconds=min(sql.deadline_seconds, settings.archive.grace_seconds / 2),
        max_rows=sql.max_rows,
        max_bytes=sql.max_bytes,
        limits=Limits(sql.memory_limit_mb, sql.threads),
    )


def web_options(settings: Settings, version: str) -> WebOptions:
    """Return how the HTTP side is set up."""
    from storage.treatments import MaskOptions
    from web.keys import WebOptions

    web = settings.web
    return WebOptions(
        version=version,
        host=web.host,
        allowed_hosts=web.allowed_hosts,
        page_limit=web.page_limit,
        refresh_seconds=web.refresh_seconds,
        statistics_cache_seconds=web.statistics_cache_seconds,
        export_stall_seconds=web.export_stall_seconds,
        timezone=settings.logs.timezone,
        redaction=parse_options(settings).redaction,
        access=access_options(settings),
        masking=MaskOptions(web.masked, web.masked_keys, hide_text=web.masked_text == "hide"),
        heartbeat_seconds=web.live_heartbeat_seconds,
        stuck_seconds=web.live_stuck_seconds,
    )


def access_options(settings: Settings) -> AccessOptions:
    """Return who may ask over HTTP, and how often."""
    from web.access import AccessOptions
    from web.peers import networks

    web = settings.web
    return AccessOptions(
        loopback_admin=web.loopback_admin,
        proxies=networks(web.trusted_proxies),
        user_header=web.trusted_header,
        groups_header=web.trusted_groups_header,
        roles=web.trusted_roles,
        requests_per_second=web.requests_per_second,
        requests_burst=web.requests_burst,
        failures_per_minute=web.failures_per_minute,
        session_idle_minutes=web.session_idle_minutes,
        session_hours=web.session_hours,
    )


def keeper_options(settings: Settings) -> KeeperOptions:
    """Return what is kept, and for how long."""
    from daemon.kept import KeeperOptions

    kept = settings.retention
    return KeeperOptions(
        policy=policy(settings),
        cleanup_hour=kept.cleanup_hour,
        log_file_days=kept.log_file_days,
        log_files=kept.log_files,
        compression=kept.log_file_compression,
        max_bytes=kept.max_bytes,
        min_free_bytes=kept.min_free_bytes,
    )


def exports(settings: Settings) -> tuple[Planned, ...]:
    """Return the daily exports; `daemon.contradictions` has checked their filters."""
    from daemon.exporting import Planned
    from daemon.wanted import wanted
    from storage.daily import Export

    planned = []
    for item in settings.archive.exports:
        found, scope = wanted(item.filter, now_us=0)
        planned.append(
            Planned(Export(item.name, item.folder, item.format, found, scope), item.hour, item.after_days)
        )
    return tuple(planned)


def channel(item: AlertChannel) -> Channel:
    """Return one channel for alerts."""
    from daemon.outbound.sender import Channel

    return Channel(
        name=item.name,
        type=item.type,
        url=item.url,
        url_file=item.url_file,
        url_env=item.url_env,
        secret_file=item.secret_file,
        secret_env=item.secret_env,
        timeout_seconds=item.timeout_seconds,
        per_minute=item.per_minute,
        host=item.host or "",
        port=item.port,
        tls=item.tls,
        username=item.username,
        sender=item.sender or "",
        to=item.to,
    )


def teller_options(settings: Settings) -> TellerOptions:
    """Return who is told of alerts; `daemon.recipients` has checked matchers and names."""
    from daemon.outbound.dispatcher import Route
    from daemon.outbound.matchers import Inhibition, label, parsed
    from daemon.outbound.mutetimes import MuteTime
    from daemon.outbound.teller import TellerOptions
    from daemon.outbound.watching import Quiet

    told = settings.alerts
    everybody = tuple(item.name for item in told.channels if item.name != told.heartbeat)
    routes = [
        Route(
            item.channels,
            parsed(item.match),
            tuple(map(label, item.group_by)),
            int(item.group_wait_seconds * 1e6),
            int(item.group_interval_seconds * 1e6),
            int(item.repeat_interval_seconds * 1e6),
            item.go_on,
            tuple(map(MuteTime.parse, item.mute)),
        )
        for item in told.routes
    ]
    return TellerOptions(
        channels=tuple(map(channel, told.channels)),
        routes=(*routes, Route(told.receivers or everybody)),
        inhibitions=tuple(
            Inhibition(parsed(item.source), parsed(item.target), tuple(map(label, item.equal)))
            for item in told.inhibitions
        ),
        quiet=tuple(
            Quiet(item.files, item.minutes and item.minutes * 60_000_000, item.level)
            for item in told.quiet_sources
        ),
        own_alerts=told.own_alerts,
        outbox_messages=told.outbox_messages,
        heartbeat=told.heartbeat,
        heartbeat_seconds=told.heartbeat_minutes * 60,
        node=settings.archive.node,
    )
