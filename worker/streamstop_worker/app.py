"""The Celery app, with every Celery option, and the step that builds a worker's parts when it starts.

``celery -A streamstop_worker worker`` is the whole start command; Celery's own flags go before what is set here.
"""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.worker import state
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from streamstop._core.lane import QUEUE, Lane
from streamstop._core.lane_types import Take, Taken
from streamstop._core.membership import Membership
from streamstop._redis.accounts import KnownAccounts
from streamstop._redis.batches import Batches
from streamstop._redis.deadline import install_deadline
from streamstop._redis.errors import is_unreachable
from streamstop._redis.lanes import Lanes
from streamstop._redis.rooms import CALLBACKS, CONTROL, Rooms
from streamstop._redis.schedule import BATCH, Schedule
from streamstop._wire.reports import Dropped
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings
from streamstop_worker import telemetry
from streamstop_worker.accounts import Accounts
from streamstop_worker.celery_parts import remote_control
from streamstop_worker.celery_parts.intake import Intake
from streamstop_worker.celery_parts.not_applicable import leave, refuse_options
from streamstop_worker.celery_parts.pool import EventLoopPool
from streamstop_worker.celery_parts.tasks import register
from streamstop_worker.pipeline.bugs import tell, tell_broken
from streamstop_worker.pipeline.deliveries import Delivery, argument_of, deliveries
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.execute import Executor
from streamstop_worker.pipeline.pacing import book_of
from streamstop_worker.pipeline.reporter import Reporter
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.pipeline.steps import LEASE, Steps
from streamstop_worker.settings import WorkerSettings, celery_options
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.transport import Transport
from streamstop_worker.upkeep.redis_check import check
from streamstop_worker.upkeep.sweep import Sweeper

_log = structlog.get_logger("streamstop")

_NOT_COUNTED = "what had ended is not counted yet"
_POOL = "streamstop_worker.celery_parts.pool:EventLoopPool"
#: The name by which Celery's banner and its messages call our transport, where a module's name would be shown else.
_TRANSPORT = "redis-lanes"
TRANSPORT_ALIASES[_TRANSPORT] = "streamstop_worker.celery_parts.transport:Transport"
# When kombu goes on to the next of several addresses, it takes the transport from that address' scheme, whatever it was
# told before. So the scheme itself must name ours.
TRANSPORT_ALIASES["sentinel"] = "streamstop_worker.celery_parts.transport:SentinelTransport"


class Parts(bootsteps.StartStopStep):
    """Everything that a worker process holds, made before it takes its first job."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._reloading = threading.Lock()
        refuse_options(worker)
        remote_control.install()
        try:
            self.settings = WorkerSettings.from_environ()
            self.accounts = Accounts(self.settings.accounts, os.environ)
        except InvalidSettings as mistake:
            leave(worker, str(mistake))

    def start(self, worker: Any) -> None:
        """Make the parts, begin to sweep, and listen for SIGHUP."""
        pool: EventLoopPool = worker.pool
        settings, app = self.settings, worker.app
        self._redis = redis = install_deadline(app.backend.client)
        self.known_accounts = KnownAccounts(redis)
        self.lanes, self.schedule = Lanes(redis), Schedule(redis)
        self.shutdowns = Shutdowns(Rooms(redis, self.lanes), self.lanes, settings.verify_timeout)
        lease_of_step = max(LEASE, settings.lease)
        self.slots = pool.slots = Slots(worker.concurrency)
        self.pool = pool
        self._book = book_of(self.accounts)
        self.intake = pool.intake = Intake(
            self.schedule,
            self.slots,
            book=lambda: self._book,
            lease=settings.lease,
            on_ended=self._on_ended,
            on_unseen=self._carry_unseen,
        )
        asyncio.run_coroutine_threadsafe(self._make_pipeline(app), pool.loop).result()
        pool.run = self._run
        self.sweeper = Sweeper(
            self.schedule,
            self.lanes,
            self.accounts,
            self.known_accounts,
            longest_lease=2 * lease_of_step,  # workers need not have the same settings
            on_unserved=self._take_unserved,
            finish_batches=Batches(redis).finish,
        )
        signals.worker_shutting_down.connect(self._drain, weak=False)
        signals.worker_ready.connect(self._check_redis, weak=False)  # once, and Redis is there then
        signals.worker_ready.connect(_keep_what_is_there, weak=False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, self._reload)
        _log.info("accounts are loaded", accounts=sorted(self.accounts.names))
        self.sweeper.start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002  # as Celery calls it
        """Stop to sweep. The calls under way end after this, in the pool."""
        self.sweeper.stop()

    async def _make_pipeline(self, app: Any) -> None:
        """Make what runs in the event loop."""
        transport = Transport(self.settings.call_timeout, self.slots.concurrency)
        reporter = Reporter(
            self.schedule,
            self.lanes,
            on_due=lambda wait: self.pool.tell(lambda: self.intake.due_in(wait)),
            under_way=lambda: self.slots.under_way,
            draining=lambda: self.slots.draining,
        )
        self.executor = Executor(
            shutdowns=self.shutdowns,
            accounts=self.accounts,
            known_accounts=self.known_accounts,
            transport=transport,
            report=reporter.report,
            slots=self.slots,
            kept=self.settings.outcomes_kept,
            random=random.random,
            is_revoked=lambda job_id: job_id in state.revoked,
        )
        self.steps = Steps(
            schedule=self.schedule,
            shutdowns=self.shutdowns,
            transport=transport,
            send_signature=_signature_sender(app),
            secret=self.settings.callback_secret,
            report=reporter.report,
            slots=self.slots,
            kept=self.settings.outcomes_kept,
            random=random.random,
            lease=max(LEASE, self.settings.lease),
        )

    def _run(self, delivery: Delivery, on_call: Callable[[], None]) -> Coroutine[Any, Any, End]:
        if delivery.taken.lane in {CALLBACKS, CONTROL}:
            return self.steps.execute(delivery, on_call)
        return self.executor.execute(delivery, on_call)

    def _on_ended(self, take: Take) -> None:
        """Count what was cancelled, and remember the lanes that this worker cannot serve."""
        self.sweeper.met(take.unserved_lanes)
        if take.ended:
            self.pool.post(partial(self._record_ended_member, take.ended))

    async def _record_ended_member(self, ended: Sequence[Taken]) -> None:
        """Count jobs that had ended before they were taken. Their leases bring back those that could not be counted."""
        try:
            await asyncio.to_thread(self._settle, ended)
        except Exception as error:  # noqa: BLE001  # nobody else would hear of it
            tell(_log, error, unreachable=_NOT_COUNTED, became=_NOT_COUNTED, jobs=len(ended))

    def _settle(self, ended: Sequence[Taken]) -> None:
        counted = []
        for job in ended:
            membership = Membership.of_message(argument_of(job.message))
            try:
                if membership is not None:
                    self.shutdowns.record_ended_member(job.lane, membership, self.lanes.record_of(job.job_id))
            except Exception as error:
                if is_unreachable(error):
                    raise
                tell(_log, error, unreachable=_NOT_COUNTED, became=_NOT_COUNTED, job_id=job.job_id)
            else:
                counted.append(Dropped(job=job))
        self.schedule.report(counted)

    def _take_unserved(self, lanes: Sequence[Lane]) -> None:
        """Take jobs of accounts that no worker has: they wait for one, and end in time."""
        asked_at = time.monotonic()
        take = self.schedule.take_unserved(lanes, BATCH, lease=self.settings.lease)
        self._on_ended(take)
        tell_broken(_log, take.broken)
        for delivery in deliveries(take, asked_at=asked_at, taken_at=time.monotonic()):
            self.pool.post(partial(self._carry_unserved, delivery))

    async def _carry_unserved(self, delivery: Delivery) -> None:
        self.slots.take_unserved()  # here, for the sweep's thread must not count
        await self.pool.carry_unseen(delivery)

    def _carry_unseen(self, delivery: Delivery) -> None:
        """Run a delivery that Celery knows nothing of."""
        self.pool.post(partial(self.pool.carry_unseen, delivery))

    def _drain(self, **_signal: Any) -> None:
        self.pool.loop.call_soon_threadsafe(self.slots.drain)

    def _check_redis(self, **_signal: Any) -> None:
        check(self._redis)

    def _reload(self, *_signal: Any) -> None:
        """Take over the accounts file as it is now, in a thread: a signal's handler must not wait, nor write a log."""
        threading.Thread(target=self._take_over_accounts, name="streamstop-reload", daemon=True).start()

    def _take_over_accounts(self) -> None:
        """Read the accounts anew, and tell producers at once; a file with a mistake changes nothing."""
        with self._reloading:  # what is read last is what stays
            try:
                self.accounts.reload()
            except InvalidSettings as mistake:
                _log.error("the accounts stay as they were", mistake=str(mistake))  # it needs no traceback
                return
            self._book = book_of(self.accounts)
            _log.info("accounts are loaded", accounts=sorted(self.accounts.names))
            self.sweeper.publish_now()


def _keep_what_is_there(**_signal: Any) -> None:
    """Spare the garbage collector what a worker holds from its start, and most of its runs: a sixth of a job's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _signature_sender(app: Celery) -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
    def send(signature: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        options = dict(signature.get("options") or {})
        if not {"queue", "routing_key", "exchange"} & set(options):
            # The queue that a Celery app has unless it says otherwise; ours is none that the service reads.
            options["queue"] = "celery"
        app.signature({**signature, "options": options}).apply_async(args=(told,), ignore_result=True)

    return send


def make_app() -> Celery:
    """Return the app, set up from the environment. Exits with one message where a setting is wrong."""
    try:
        redis, settings = RedisSettings.from_environ(), WorkerSettings.from_environ()
    except InvalidSettings as mistake:
        sys.exit(f"streamstop: {mistake}")
    app = Celery("streamstop")
    app.conf.update(
        celery_options(redis),
        broker_transport=_TRANSPORT if redis.master is None else None,
        task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE)],
        task_default_queue=QUEUE,
        task_default_exchange="",
        task_default_routing_key=QUEUE,
        worker_pool=_POOL,
        worker_consumer="streamstop_worker.celery_parts.consumer:Consumer",
        worker_concurrency=settings.concurrency,
        # How many jobs a worker holds is its own to say: see Slots.
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # What Redis refuses for a while (a demoted primary, a full one) does not end a worker.
        broker_channel_error_retry=True,
        # The lease brings back what a lost connection leaves; a call that is made is made.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Else a worker that connects anew listens for wakes only while it has next to nothing under way, ever after.
        worker_enable_prefetch_count_reduction=False,
    )
    app.steps["worker"].add(Parts)
    register(app)
    return app


app = make_app()


@signals.setup_logging.connect
def _set_up_logging(loglevel: int, logfile: str | None, **_options: Any) -> None:
    settings = WorkerSettings.from_environ()
    level = loglevel if telemetry.level_was_asked_for() else settings.log_level
    telemetry.set_up(level, settings.log_format, logfile)
