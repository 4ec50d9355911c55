"""Parts: builds and connects the parts of a worker process, as a bootstep of Celery's worker."""

import asyncio
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.worker import state

from streamstop import _tracing
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Take
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.batches import Batches
from streamstop._redis.controls import ControlStore
from streamstop._redis.deadline import install_deadline
from streamstop._redis.journal import Journal
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import CALLBACKS, CONTROL, Rooms
from streamstop._redis.schedule import BATCH, Schedule
from streamstop._redis.stream_tasks import StreamTasks
from streamstop._redis.workers import Workers
from streamstop.errors import InvalidSettings
from streamstop_worker import telemetry
from streamstop_worker.account_changes import find_changes
from streamstop_worker.accounts import Accounts
from streamstop_worker.celery_parts import cold_shutdown, remote_control
from streamstop_worker.celery_parts.intake import Intake
from streamstop_worker.celery_parts.not_applicable import leave, refuse_options
from streamstop_worker.celery_parts.pool import EventLoopPool
from streamstop_worker.observing import check_extras, observe, reports
from streamstop_worker.pipeline.bugs import log_broken_lanes
from streamstop_worker.pipeline.cancelled import CancelledJobs
from streamstop_worker.pipeline.deliveries import Delivery, deliveries
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.execute import Executor
from streamstop_worker.pipeline.pacing import book_of
from streamstop_worker.pipeline.reporter import Reporter
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.pipeline.steps import LEASE, Steps
from streamstop_worker.settings import WorkerSettings
from streamstop_worker.shutdowns.ended import log_ended
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.transport import Transport
from streamstop_worker.upkeep.heartbeat import Heartbeat, Ping, Vitals
from streamstop_worker.upkeep.redis_check import check
from streamstop_worker.upkeep.sweep import Sweeper

_log = structlog.get_logger("streamstop")


class WorkerParts(bootsteps.StartStopStep):
    """Everything that a worker process holds, built before it takes its first job."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._reload_lock = threading.Lock()
        refuse_options(worker)
        remote_control.install()
        try:
            self.settings = WorkerSettings.from_environ()
            check_extras(self.settings)
            self.accounts = Accounts(self.settings.accounts, os.environ)
        except InvalidSettings as error:
            leave(worker, str(error))

    def start(self, worker: Any) -> None:
        """Build the parts, start the sweep, and handle SIGHUP, SIGINT and SIGQUIT."""
        pool: EventLoopPool = worker.pool
        settings, app = self.settings, worker.app
        step_lease = max(LEASE, settings.lease)
        self._redis = redis = install_deadline(app.backend.client)
        self.known_accounts = KnownAccounts(redis)
        self.lanes, self.schedule = Lanes(redis), Schedule(redis)
        self.shutdowns = Shutdowns(Rooms(redis, self.lanes), self.lanes, settings.verify_timeout)
        self.cancelled_jobs = CancelledJobs(self.schedule, self.shutdowns, self.lanes)
        self.slots = pool.slots = Slots(worker.concurrency)
        self.pool = pool
        self._book = book_of(self.accounts)
        self.intake = pool.intake = Intake(
            self.schedule,
            self.slots,
            book=lambda: self._book,
            lease=settings.lease,
            on_ended_or_unserved=self._handle_ended_or_unserved,
            on_undelivered=self._run_without_request,
        )
        asyncio.run_coroutine_threadsafe(self._build_pipeline(app, step_lease), pool.loop).result()
        pool.run = self._run
        self.sweeper = Sweeper(
            self.schedule,
            self.lanes,
            self.accounts,
            self.known_accounts,
            ControlStore(redis),
            longest_lease=2 * step_lease,  # another worker may have longer leases
            on_unserved=self._take_unserved,
            finish_batches=Batches(redis).finish,
            log_ended_shutdowns=partial(log_ended, self.shutdowns.views),
        )
        self.heartbeat = Heartbeat(Workers(redis), Journal(redis), worker.hostname, self._vitals())
        signals.worker_shutting_down.connect(self._drain, weak=False)
        signals.worker_shutdown.connect(self._leave, weak=False)  # after the calls under way
        signals.worker_ready.connect(self._check_redis, weak=False)  # Redis answers by then
        signals.worker_ready.connect(_tune_garbage_collector, weak=False)
        if threading.current_thread() is threading.main_thread():
            cold_shutdown.install_handlers(worker)
            signal.signal(signal.SIGHUP, self._reload_accounts)
        _log.info("accounts are loaded", accounts=sorted(self.accounts.names))
        self.sweeper.start()
        self.heartbeat.start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002  # as Celery calls it
        """Stop the sweep. The pool stops later, when the calls under way have ended."""
        self.sweeper.stop()

    def terminate(self, worker: Any) -> None:
        """Stop the sweep in a cold shutdown too: it would take jobs of accounts that no worker has."""
        self.stop(worker)

    def _vitals(self) -> Vitals:
        return Vitals(
            slots=self.slots,
            book=lambda: self._book,
            looked_at=lambda: self.intake.looked_at,
            swept_at=lambda: self.sweeper.swept_at,
            pings={
                "Celery's thread": Ping(self.pool.run_in_celery_thread),
                "the event loop": Ping(self.pool.loop.call_soon_threadsafe),
            },
        )

    async def _build_pipeline(self, app: Celery, step_lease: timedelta) -> None:
        """Build the parts that belong to the event loop, inside it."""
        transport = Transport(self.settings.call_timeout, self.slots.concurrency)
        reporter = Reporter(
            self.schedule,
            self.lanes,
            on_due=lambda wait: self.pool.run_in_celery_thread(lambda: self.intake.due_in(wait)),
            under_way=lambda: self.slots.under_way,
            draining=lambda: self.slots.draining,
        )
        observer = observe(self.settings, self.slots)
        if (report_lines := reports()) is not None:
            telemetry.watch(report_lines)
        self.executor = Executor(
            shutdowns=self.shutdowns,
            stream_tasks=StreamTasks(self._redis),
            accounts=self.accounts,
            known_accounts=self.known_accounts,
            transport=transport,
            report=reporter.report,
            slots=self.slots,
            record_ttl=self.settings.outcomes_kept,
            random=random.random,
            is_revoked=lambda job_id: job_id in state.revoked,
            observer=observer,
        )
        self.steps = Steps(
            schedule=self.schedule,
            shutdowns=self.shutdowns,
            transport=transport,
            send_signature=_make_signature_sender(app),
            secret=self.settings.callback_secret,
            report=reporter.report,
            slots=self.slots,
            record_ttl=self.settings.outcomes_kept,
            random=random.random,
            lease=step_lease,
            observer=observer,
        )

    def _run(self, delivery: Delivery, on_call: Callable[[], None]) -> Coroutine[Any, Any, End]:
        if delivery.taken.lane in {CALLBACKS, CONTROL}:
            return self.steps.execute(delivery, on_call)
        return self.executor.execute(delivery, on_call)

    def _handle_ended_or_unserved(self, take: Take) -> None:
        """Count the jobs that were cancelled before the take, and pass on the lanes that this worker cannot serve."""
        self.sweeper.add_unserved_lanes(take.unserved_lanes)
        if take.ended:
            self.pool.run_in_loop(partial(self.cancelled_jobs.count, take.ended))

    def _take_unserved(self, lanes: Sequence[Lane]) -> None:
        """Take jobs of accounts that no worker has. Each waits for such a worker, and is refused after ten minutes."""
        asked_at = time.monotonic()
        take = self.schedule.take_unserved(lanes, BATCH, lease=self.settings.lease)
        self._handle_ended_or_unserved(take)
        log_broken_lanes(_log, take.broken)
        for delivery in deliveries(take, asked_at=asked_at, taken_at=time.monotonic()):
            self.pool.run_in_loop(partial(self._run_unserved, delivery))

    async def _run_unserved(self, delivery: Delivery) -> None:
        self.slots.take_unserved()  # in the event loop, because the sweep's thread must not change this counter
        await self.pool.run_without_request(delivery)

    def _run_without_request(self, delivery: Delivery) -> None:
        """Run a delivery for which Celery has no request."""
        self.pool.run_in_loop(partial(self.pool.run_without_request, delivery))

    def _drain(self, **_signal: Any) -> None:
        self.pool.loop.call_soon_threadsafe(self.slots.drain)
        self.pool.wake()

    def _leave(self, **_signal: Any) -> None:
        self.heartbeat.stop()

    def _check_redis(self, **_signal: Any) -> None:
        check(self._redis)

    def _reload_accounts(self, *_signal: Any) -> None:
        """Reload the accounts file in a thread, because a signal handler must neither block nor write to a log."""
        threading.Thread(target=self._read_accounts_again, name="streamstop-reload", daemon=True).start()

    def _read_accounts_again(self) -> None:
        """Reload the accounts file and publish the accounts at once. A file with an error changes nothing."""
        with self._reload_lock:  # the last read must also be the last to be applied
            before = self.accounts.all
            try:
                self.accounts.reload()
            except InvalidSettings as error:
                _log.error("the accounts file has an error and is not loaded", error=str(error))
                return
            self._book = book_of(self.accounts)
            changes = find_changes(before, self.accounts.all)
            _log.info("accounts are loaded", accounts=sorted(self.accounts.names), **changes.fields)
            self.sweeper.publish_now()
            self.sweeper.release_now(changes.changed)
            if changes.text:
                self.heartbeat.note_account_changes(changes.text)


def _tune_garbage_collector(**_signal: Any) -> None:
    """Exempt all objects of the start from garbage collection, and collect less often: saves a sixth of a job's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _make_signature_sender(app: Celery) -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
    def send(signature: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
        options = dict(signature.get("options") or {})
        if not {"queue", "routing_key", "exchange"} & set(options):
            # Celery's default queue. The default queue of our app is not one that the service reads.
            options["queue"] = "celery"
        app.signature({**signature, "options": options}).apply_async(
            args=(progress,), ignore_result=True, headers=dict(_tracing.current())
        )

    return send
