"""The daemon as a whole: builds every part from the settings, runs them together, and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from daemon import options, rulebook, signals
from daemon.announcer import Announcer
from daemon.atlas import Atlas
from daemon.control import ControlSocket
from daemon.descriptors import raise_limit
from daemon.detection import Detection
from daemon.exporting import Exporter
from daemon.gaps import GapTeller
from daemon.keeping import Keeper
from daemon.keykeeper import KeyKeeper, refuse_open_doors
from daemon.ladder import ArchiveLadder
from daemon.live import LiveDaemon
from daemon.metrics import Metrics
from daemon.notify import Notifier
from daemon.outbound.around import Around
from daemon.outbound.teller import Teller
from daemon.ownlog import OwnLog
from daemon.pipeline import Pipeline
from daemon.pulse import Pulse
from daemon.scoring import Scorer
from daemon.selflog import SelfLog, program_version
from daemon.settings import Settings, reloadable
from daemon.space import Floor
from daemon.surroundings import LiveSurroundings
from daemon.tailer import Tailer
from daemon.upkeep import Upkeep
from daemon.watcher import Watcher
from storage.archive import Archive
from storage.committed import Committed
from storage.courtesy import take_short_turns
from storage.engine import Engine
from storage.errors import ArchiveError
from storage.fieldnames import seen_names
from storage.fs import Disk
from storage.hub import Hub
from storage.keyring import Keyring
from storage.layout import Layout
from storage.masking import Mask
from storage.queries import Queries
from storage.spares import Spares
from storage.transform import Transformer
from web.app import create_app, create_runner

# Of the queue before parsing: with more in it detection waits. Five thousand events a second on a busy machine keep some
# four of its 64 MB filled, and what is below an eighth is parsed in less time than detection needs to begin.
BACKLOG_SHARE = 1 / 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the daemon answers, once it does."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Return the dashboard's address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def run(
    settings: Settings,
    *,
    reload: Callable[[], Settings] | None = None,
    on_listening: Callable[[Listening], None] | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run the daemon until SIGTERM, Ctrl-C or ``stop``. Returns 0.

    ``reload`` reads the settings again on SIGHUP; ``on_listening`` is told the address. Raises LockedError when
    another daemon writes this archive, OSError when the address or the archive cannot be used.
    """
    own_log = OwnLog(level=settings.daemon.log_level, file=settings.daemon.log_file)
    raise_limit()
    try:
        take_short_turns()
        service = await Service.build(settings)
        await service.run(
            reload=reload, on_listening=on_listening, stop=stop or asyncio.Event(), own_log=own_log
        )
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        await asyncio.to_thread(own_log.close)
    return 0


class Service:
    """All parts of one daemon."""

    def __init__(self, settings: Settings, archive: Archive, metrics: Metrics, keyring: Keyring) -> None:
        self._settings = settings
        self._metrics = metrics
        self._archive = archive
        self._notifier = Notifier(os.environ)
        program = program_version()
        self._selflog = SelfLog(
            archive.layout.own_log,
            node=settings.archive.node,
            version=program,
            on_lost=lambda: metrics.count("own_events_lost"),
        )
        self._atlas = Atlas(options.atlas_options(settings), archive.layout.places, metrics)
        self._atlas.refresh()
        self._transformer = Transformer(options.parse_options(settings), self._atlas.lookup)
        self._scorer: Scorer | None = None
        if settings.risk.enabled:
            self._scorer = Scorer(options.scoring_options(settings), archive, metrics)
            self._scorer.restore()
        ladder = ArchiveLadder(archive, options.parse_options(settings), settings.logs.max_line_bytes)
        self._tailer = Tailer(options.tail_options(settings, archive.layout.own_log), archive, ladder=ladder)
        self._watcher = Watcher(self._noticed, on_restart=lambda: metrics.count("watcher_restarts"))
        self._gaps = GapTeller(archive, self._selflog, metrics, node=settings.archive.node)
        self._announcer = Announcer(archive, self._selflog, self._gaps, metrics)
        self._pipeline = Pipeline(
            options.pipeline_options(settings),
            self._tailer,
            self._transformer,
            archive,
            metrics,
            on_notes=self._announcer.note,
            on_turn=lambda: self._watcher.seen(*self._tailer.watchable()),
            on_commit=self._gaps.tell,
            floor=Floor(
                settings.archive.path,
                settings.archive.pause_free_bytes,
                metrics,
                on_pause=self._announcer.paused,
            ),
            scorer=self._scorer,
        )
        self._pulse = Pulse(metrics, self._notifier, lambda: self._pipeline.progress)
        self._upkeep = Upkeep(archive, metrics)
        exporter = Exporter(archive, metrics, options.exports(settings), version=program)
        surroundings = LiveSurroundings(self._announcer, self._upkeep, self._pipeline, self._tailer)
        self._keeper = Keeper(archive, metrics, options.keeper_options(settings), exporter, surroundings)
        self._engine = Engine(options.engine_options(settings), metrics)
        self._detection: Detection | None = None
        if settings.rules.enabled:
            self._detection = Detection(
                archive,
                self._selflog,
                metrics,
                options.detection_options(settings),
                self._read_rules,
                files=lambda: rulebook.dated(options.rule_paths(self._settings)),
                judge=self._judge_rules,
                busy=lambda: self._pipeline.queue.bytes > BACKLOG_SHARE * settings.logs.queue_bytes,
            )
            self._detection.prepare()
        self._live = LiveDaemon(
            archive=archive,
            tailer=self._tailer,
            pipeline=self._pipeline,
            watcher=self._watcher,
            upkeep=self._upkeep,
            keeper=self._keeper,
            selflog=self._selflog,
            metrics=metrics,
            pruning=self._engine.pruning,
            atlas=self._atlas,
            version=program,
            directories=settings.logs.directories,
        )
        self._teller = self._live.teller = Teller(
            options.teller_options(settings),
            archive.layout.outbox,
            metrics,
            os.environ,
            Around(
                sources=self._live.sources,
                degraded=self._live.degraded,
                ready=self._live.ready,
                audit=lambda event: self._live.audit(event, durable=True),
                dashboard=lambda: self._live.url or "",
                alerts=self._detection.changes if self._detection is not None else tuple,
                logged=self._selflog.holds,
            ),
        )
        if self._detection is not None:
            self._detection.add_listener(self._teller.hear)
        web_options = options.web_options(settings, program)
        self._keyring = keyring
        mask = Mask(web_options.masking, lambda: keyring.pseudonym_secret)
        queries = self._queries = Queries(self._engine, lambda: archive.snapshot, mask)
        hub = Hub(
            self._engine,
            lambda: archive.snapshot,
            archive.add_listener,
            lambda: archive.run,
            options.hub_options(settings),
            metrics,
            mask,
        )
        self._spares = self._made_spares() if settings.sql.enabled else None
        app = create_app(
            web_options,
            queries,
            self._live,
            hub,
            observer=metrics,
            keyring=keyring,
            spares=self._spares,
            detection=self._detection,
            telling=self._teller,
        )
        self._runner = create_runner(app)
        keys = KeyKeeper(keyring, self._live.audit)
        self._control = ControlSocket(
            archive.layout.control_socket, self._live, keys, self._teller, self._detection
        )

    def _made_spares(self) -> Spares:
        archive = self._archive
        committed = Committed(archive.layout, Disk(), lambda: archive.snapshot)
        limits = options.spare_options(self._settings)
        return Spares(archive.options.path, committed.views, limits, self._metrics)

    @classmethod
    async def build(cls, settings: Settings) -> Service:
        """Open the archive (recovering it if need be) and build every part; nothing runs yet."""

        def build() -> Service:
            metrics = Metrics()
            layout = Layout(settings.archive.path, settings.archive.node)
            keyring = Keyring.open(layout.keys)
            refuse_open_doors(settings, keyring)  # before anything is written
            archive = Archive.open(options.archive_options(settings), observer=metrics)
            try:
                os.makedirs(archive.layout.own_log, exist_ok=True)
                if settings.web.trusted_header is not None:
                    keyring.keep_secret()
                return cls(settings, archive, metrics, keyring)
            except BaseException:
                archive.abandon()
                raise

        return await asyncio.to_thread(build)

    async def run(
        self,
        *,
        reload: Callable[[], Settings] | None,
        on_listening: Callable[[Listening], None] | None,
        stop: asyncio.Event,
        own_log: OwnLog,
    ) -> None:
        """Start everything, wait for a reason to stop, stop everything."""
        loop = asyncio.get_running_loop()
        own_log.on_lost(lambda: self._metrics.count("own_log_lost_lines"))
        self._live.own_log = own_log
        with signals.obeyed(loop, stop, lambda: self._reload(reload, own_log)):
            try:
                async with asyncio.TaskGroup() as group:
                    background = await self._start(group, on_listening)
                    await stop.wait()
                    await self._stop(background)
            finally:
                await asyncio.to_thread(self._release)

    async def _start(
        self, group: asyncio.TaskGroup, on_listening: Callable[[Listening], None] | None
    ) -> list[asyncio.Task[None]]:
        """Start in the order in which parts need each other; returns the tasks that are cancelled in the end."""
        settings = self._settings
        await self._runner.setup()
        site = web.TCPSite(self._runner, settings.web.host, settings.web.port)
        await site.start()  # first: an address in use is the most likely reason not to start
        if self._spares is not None:
            self._spares.start()
        await self._control.start()
        group.create_task(self._pipeline.run(), name="pipeline")
        background = [
            group.create_task(self._watcher.run(), name="watcher"),
            group.create_task(self._upkeep.run(), name="upkeep"),
            group.create_task(self._keeper.run(), name="keeper"),
            group.create_task(self._renew_atlas(), name="atlas"),
            group.create_task(self._pulse.run(), name="pulse"),
            group.create_task(self._teller.run(), name="alerts"),
            group.create_task(self._queries.warm(), name="warming"),
        ]
        if self._detection is not None:
            background.append(group.create_task(self._detection.run(), name="detection"))
        await self._announcer.say("The daemon started", "info", {"problems": len(self._archive.problems)})
        await self._gaps.tell()  # of what a crash left untold
        for problem in self._archive.problems:
            _log.error("found while recovering: %s", problem)
        host, port = self._runner.addresses[0][:2]
        listening = Listening(host, port)
        self._live.url = listening.url
        _log.info("ready", extra={"url": listening.url, "archive": settings.archive.path})
        self._notifier.send(READY="1", STATUS=f"answering on {listening.url}")
        if on_listening is not None:
            on_listening(listening)
        return background

    async def _stop(self, background: list[asyncio.Task[None]]) -> None:
        """Stop within five seconds, whatever is under way."""
        started = time.monotonic()
        self._live.stopping = True  # readiness says no from here on
        self._notifier.send(STOPPING="1", STATUS="stopping")
        await self._announcer.say("The daemon stops", "info", {})  # while it can still be read and archived
        self._keeper.stop()  # an export under way ends at its next block, and is made again
        await self._control.stop()  # no new orders
        for task in background:  # no more wake-ups, no upkeep that would hold up the last commit
            task.cancel()
        await self._runner.cleanup()  # answers under way are finished or cut visibly
        if self._spares is not None:
            await self._spares.close()  # statements under way are killed
        try:
            await self._pipeline.stop()  # what was read becomes visible and durable
            if self._scorer is not None:
                await asyncio.to_thread(self._scorer.checkpoint)  # so that the next start folds nothing again
            await self._upkeep.publish()  # and the view files show it to those who read without us
        except Exception as error:  # noqa: BLE001 - the lines are in their files, the next start reads them
            _log.error("the last commit failed; its lines are read again at the next start", exc_info=error)
        await asyncio.to_thread(self._engine.close)  # no query may outlive what it reads
        _log.info("stopped", extra={"seconds": round(time.monotonic() - started, 3)})

    def _release(self) -> None:
        """Give everything back that the system lends. Blocks."""
        if self._spares is not None:
            self._spares.abandon()
        if self._detection is not None:
            self._detection.close()
        self._pipeline.close()
        self._keeper.close()
        self._upkeep.close()
        self._selflog.close()
        self._teller.close()
        self._tailer.close()
        self._transformer.close()
        self._atlas.close()
        self._archive.abandon()  # last: nobody else may write while a thread of ours could

    # What happens while it runs

    def _noticed(self, paths: set[bytes]) -> None:
        self._pipeline.touch(paths)

    async def _renew_atlas(self) -> None:
        """Look now and then whether a GeoIP database has a new edition."""
        while True:
            await asyncio.sleep(self._settings.places.check_seconds)
            await asyncio.to_thread(self._atlas.refresh)

    def _read_rules(self) -> rulebook.Rulebook:
        settings = self._settings
        seen = seen_names(self._archive.snapshot)
        return rulebook.read(options.rule_paths(settings), options.rule_routes(settings), seen)

    def _judge_rules(self, text: str) -> rulebook.Rulebook:
        settings = self._settings
        return rulebook.read(options.rule_paths(settings), options.rule_routes(settings), given=text)

    def _reload(self, reload: Callable[[], Settings] | None, own_log: OwnLog) -> None:
        """Read the settings again on SIGHUP and apply what can change while running."""
        if reload is None:
            return
        try:
            settings = reload()
        except Exception as error:  # noqa: BLE001 - a mistake in the file must not stop a running daemon
            _log.error("the settings were not read again: %s", error)
            return
        own_log.set_level(settings.daemon.log_level)
        self._settings = reloadable(self._settings, settings).settings
        try:
            self._keyring.reload()  # somebody may have put a copy back
        except (ArchiveError, OSError) as error:
            _log.error("the keys were not read again: %s", error)
        if self._detection is not None:
            self._detection.reload()
        self._renewing = asyncio.ensure_future(self._keeper.use(options.keeper_options(self._settings)))
        _log.info("the settings were read again; keys not marked as live take effect at the next start")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group: the one that ended the others."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
