"""Every measurement the daemon makes, as one table; `Metrics` keeps them for Prometheus.

The storage and web layers report by the names in this table through `storage.observer.Observer`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

PREFIX = "watchkeep_"
MetricKind = Literal["count", "gauge", "seconds"]

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metric:
    """One measurement: its name without the prefix, kind, meaning, labels, and bounds of a histogram in seconds."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _FAST


# How a line can end. `lines` is the sum of the others; see `parsers.batch.Counts`.
LINE_RESULTS = ("events", "rejects", "blanks", "oversize", "nul", "torn")

METRICS: tuple[Metric, ...] = (
    # Lines
    Metric("lines", "count", "Lines by how they ended", ("result",)),
    Metric("rejected_lines", "count", "Lines kept as rejects, by reason", ("reason",)),
    Metric("redactions", "count", "Values replaced before anything was stored, by rule", ("rule",)),
    Metric("read_bytes", "count", "Bytes read from log files"),
    Metric("gaps", "count", "Times that bytes turned out to be lost for the archive", ("reason",)),
    Metric("gap_bytes", "count", "Bytes that will never be archived, at least", ("reason",)),
    Metric("pinned_bytes", "gauge", "Bytes of disk that deleted files hold until they are read to their end"),
    Metric("degraded", "gauge", "Things that are wrong although lines are archived, by code", ("code",)),
    Metric("own_events_lost", "count", "Events of the daemon's own that could not be written"),
    Metric(
        "own_log_lost_lines",
        "count",
        "Lines of the daemon's own log that may be missing: it could not be written",
    ),
    Metric("copies", "count", "Files that only repeat another one and are not read"),
    Metric(
        "unreadable_files",
        "count",
        "Compressed files that cannot be read as they are, by reason",
        ("reason",),
    ),
    Metric("rewrites", "count", "Files that were truncated or overwritten"),
    Metric("forks", "count", "Files that lost their end and were read on from the first line that differs"),
    Metric("rotations", "count", "Files that were renamed or removed while they were followed"),
    # The way in
    Metric("visible_seconds", "seconds", "From the last write to a file until its lines answer queries"),
    Metric("parse_seconds", "seconds", "Time to parse one batch", buckets=_SLOW),
    Metric("place_database_changes", "count", "New editions of GeoIP databases taken over", ("use",)),
    Metric(
        "place_database_built_timestamp_seconds", "gauge", "When a GeoIP database in use was built", ("use",)
    ),
    Metric("score_seconds", "seconds", "Time to score one parsed batch"),
    Metric("habits_users", "gauge", "Users whose habits are known"),
    Metric("habits_bytes", "gauge", "Bytes of memory that users' habits take"),
    Metric("habits_forgotten", "count", "Habits forgotten because they took too much memory"),
    Metric("habits_checkpoint_failures", "count", "Checkpoints of habits that could not be written"),
    Metric("append_seconds", "seconds", "Time to make one parsed batch visible"),
    Metric("reading_paused", "gauge", "1 while reading pauses because the disk is nearly full"),
    Metric("queue_bytes", "gauge", "Bytes read and not yet visible"),
    Metric("hot_bytes", "gauge", "Bytes of memory that visible but uncommitted rows hold"),
    Metric("sources", "gauge", "Files by what they are doing", ("state",)),
    Metric(
        "sources_omitted",
        "gauge",
        "Files without a size and a lag of their own here: the 100 that lag most have them",
    ),
    Metric("source_size_bytes", "gauge", "Size of a followed file", ("source",)),
    Metric("source_lag_bytes", "gauge", "Bytes of a followed file that no query can see yet", ("source",)),
    Metric("lag_bytes", "gauge", "Bytes that no query can see yet, over all files"),
    Metric("watcher_restarts", "count", "Times the change notices of the system had to be set up again"),
    Metric("pipeline_failures", "count", "Attempts to parse, append or commit that failed", ("stage",)),
    Metric("loop_delay_seconds", "seconds", "How late the event loop ran a timer"),
    # The archive
    Metric("commit_seconds", "seconds", "Time of one commit", buckets=_SLOW),
    Metric("commits_total", "count", "Commits"),
    Metric("seal_seconds", "seconds", "Time to seal the live files", buckets=_SLOW),
    Metric("fold_seconds", "seconds", "Time to fold live files", buckets=_SLOW),
    Metric("publish_seconds", "seconds", "Time to write the view files", buckets=_SLOW),
    Metric("upkeep_failures", "count", "Upkeep steps that failed", ("step",)),
    Metric("archive_bytes", "gauge", "Bytes of committed files", ("kind", "state")),
    Metric("archive_files", "gauge", "Committed files", ("kind", "state")),
    Metric(
        "late_rows", "gauge", "Committed rows that came when their day was over and wait for a sealed file"
    ),
    Metric("archive_rows", "gauge", "Committed rows", ("kind",)),
    Metric("disk_free_bytes", "gauge", "Free bytes where the archive lies"),
    Metric("last_commit_timestamp_seconds", "gauge", "When the last commit became durable"),
    # Detection
    Metric("detection_seconds", "seconds", "Time of one look of the rules", buckets=_SLOW),
    Metric("detection_rows", "count", "Events that the rules looked at"),
    Metric("detection_lag_rows", "gauge", "Visible events that the rules have not looked at"),
    Metric("detection_lag_seconds", "gauge", "How long the rules have been behind"),
    Metric("detection_match_bytes", "gauge", "Bytes of memory that kept matches take"),
    Metric("detection_matches_trimmed", "count", "Times that matches were forgotten for want of memory"),
    Metric(
        "detection_archive_reads",
        "count",
        "Times that rules had to read the archive: at a start, and for late events",
    ),
    Metric("detection_withdrawn", "count", "Times a rule had fired that late events took away again"),
    Metric("detection_failures", "count", "Looks of the rules that failed and were tried again"),
    Metric("detections", "count", "Times a rule fired", ("rule",)),
    Metric("rules_active", "gauge", "Rules that look at new events"),
    Metric("alert_changes", "count", "Changes of alerts", ("kind",)),
    Metric("alerts_open", "gauge", "Alerts that are not resolved"),
    Metric("alerts_forgotten", "count", "Open alerts dropped from memory because there were too many"),
    # What is kept
    Metric("dropped_events", "count", "Events removed by retention", ("retention_class",)),
    Metric("dropped_bytes", "count", "Bytes of files removed by retention", ("retention_class",)),
    Metric("budget_over_bytes", "gauge", "Bytes above the disk budget that may not be removed"),
    Metric("holds", "gauge", "Legal holds in force"),
    Metric("exports", "count", "Days exported, or attempts that failed", ("export", "result")),
    Metric("export_waiting_days", "gauge", "Finished days that an export has not written", ("export",)),
    Metric("removed_log_files", "count", "Log files removed by retention"),
    Metric("compressed_log_files", "count", "Log files compressed by retention"),
    Metric("log_file_failures", "count", "Old log files that could not be compressed or removed"),
    # Queries and HTTP
    Metric("query_seconds", "seconds", "Time to answer a question, by shape", ("shape",), _SLOW),
    Metric("queries", "count", "Questions by shape and how they ended", ("shape", "result")),
    Metric("query_files", "count", "Files of the archive that questions read or left out", ("outcome",)),
    Metric("query_row_groups", "count", "Row groups that questions read or left out", ("outcome",)),
    Metric("query_rows", "count", "Rows in the row groups that questions read or left out", ("outcome",)),
    Metric(
        "rollup_cache",
        "count",
        "Decoded roll-ups that were there, were made, or were dropped for others",
        ("outcome",),
    ),
    Metric("facets_timed_out", "count", "Facets left out because counting them took too long"),
    Metric("rollup_cache_bytes", "gauge", "Bytes of memory that decoded roll-ups hold"),
    Metric("queries_running", "gauge", "Questions being answered"),
    Metric("queries_waiting", "gauge", "Questions that wait for a thread"),
    Metric(
        "http_request_seconds", "seconds", "Time to answer a request", ("method", "route", "status"), _SLOW
    ),
    Metric("http_requests_in_flight", "gauge", "Requests being answered"),
    Metric(
        "unreadable_archive_files", "count", "Questions that met a damaged file of the archive", ("file",)
    ),
    Metric("sql_statements", "count", "Statements in SQL by how they ended", ("result",)),
    Metric(
        "sql_seconds",
        "seconds",
        "Time of a statement in SQL, from the request to its first row",
        buckets=_SLOW,
    ),
    Metric("sql_start_seconds", "seconds", "Time until a new process for SQL was ready", buckets=_SLOW),
    Metric("sql_children", "gauge", "Processes for SQL by what they do", ("state",)),
    Metric("sql_waiting", "gauge", "Statements in SQL that wait for a process"),
    Metric("http_exports_aborted", "count", "Streamed answers cut off so that none looks whole", ("route",)),
    Metric("http_exports_stalled", "count", "Exports cut off because their reader did not read"),
    Metric("http_requests_refused", "count", "Requests refused before they reached a handler", ("reason",)),
    # Alerts
    Metric("alert_messages", "count", "Attempts to tell of alerts by how they ended", ("channel", "result")),
    Metric("alert_messages_pending", "gauge", "Messages about alerts that wait", ("channel",)),
    Metric("alert_dead_letters", "gauge", "Messages about alerts that were given up"),
    Metric("alert_digests", "count", "Times that several messages were sent as one", ("channel",)),
    Metric("alerts_muted", "count", "Alerts that nobody was told of, by reason", ("reason",)),
    Metric("alert_heartbeats", "count", "Signs of life by how they ended", ("result",)),
    # Live
    Metric("live_clients", "gauge", "Followers of new events"),
    Metric("live_delivered", "count", "Events sent to followers"),
    Metric("live_dropped", "count", "Events that followers were told they will not get, for being slow"),
    Metric("live_stuck", "count", "Followers cut off because they took nothing for too long"),
    Metric("live_refused", "count", "Followers for whom there was no place"),
    Metric("live_failures", "count", "Times that new events could not be read for followers at once"),
)


class Metrics:
    """Implements `storage.observer.Observer`. Thread-safe."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one series less for each; nobody asks when a counter began
        self._registry = CollectorRegistry(auto_describe=False)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._unknown: set[str] = set()
        self._before: list[Callable[[], None]] = []
        self._writing = threading.Lock()
        for metric in METRICS:
            name = PREFIX + metric.name
            if metric.kind == "count":
                self._counters[metric.name] = Counter(
                    name, metric.help, metric.labels, registry=self._registry
                )
            elif metric.kind == "gauge":
                self._gauges[metric.name] = Gauge(name, metric.help, metric.labels, registry=self._registry)
            else:
                self._histograms[metric.name] = Histogram(
                    name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry
                )

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        counter = self._counters.get(name)
        if counter is None:
            self._miss(name)
        else:
            (counter.labels(**labels) if labels else counter).inc(amount)

    def seconds(self, name: str, value: float, **labels: str) -> None:
        """Observe a duration."""
        histogram = self._histograms.get(name)
        if histogram is None:
            self._miss(name)
        else:
            (histogram.labels(**labels) if labels else histogram).observe(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges.get(name)
        if gauge is None:
            self._miss(name)
        else:
            (gauge.labels(**labels) if labels else gauge).set(value)

    def clear(self, name: str) -> None:
        """Forget the labels of a gauge, before it is set anew."""
        self._gauges[name].clear()

    def before_each(self, refresh: Callable[[], None]) -> None:
        """Call ``refresh`` before the measurements are written out; in its thread."""
        self._before.append(refresh)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format. Blocks, with many sources for a while."""
        with self._writing:  # labels are forgotten and set anew: nobody may see the half of them
            for refresh in self._before:
                refresh()
            return generate_latest(self._registry)

    def _miss(self, name: str) -> None:
        # A measurement nobody listed must not fail a commit; a test holds that there is none.
        if name not in self._unknown:
            self._unknown.add(name)
            _log.warning("a measurement is not in the table of metrics", extra={"metric": name})
