"""The Celery app, with every Celery option, and the step that builds a worker's parts when it starts.

``celery -A streamstop_worker worker`` is the whole start command; Celery's own flags go before what is set here.
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.backends.base import DisabledBackend
from kombu import Exchange, Queue

from streamstop.bounded import bound
from streamstop.errors import InvalidSettings
from streamstop.known_accounts import KnownAccounts
from streamstop.lanes import Lanes
from streamstop.lanes.names import READY
from streamstop.rooms import Rooms
from streamstop.settings import RedisSettings
from streamstop_worker import telemetry
from streamstop_worker.accounts import Accounts
from streamstop_worker.control import LEASE, Control
from streamstop_worker.execute import Executor
from streamstop_worker.redis_check import check
from streamstop_worker.set_aside import SetAside
from streamstop_worker.settings import WorkerSettings
from streamstop_worker.shutdowns import Shutdowns
from streamstop_worker.sweep import Sweeper
from streamstop_worker.tasks import ExecuteTask
from streamstop_worker.transport import Transport

_log = structlog.get_logger("streamstop")


class Parts(bootsteps.StartStopStep):
    """Everything that a worker process holds, made before it takes its first message."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        try:
            settings = WorkerSettings.from_environ()
            self.accounts = Accounts(settings.accounts, os.environ)
        except InvalidSettings as mistake:
            sys.exit(f"streamstop: {mistake}")
        self._redis = redis = bound(worker.app.backend.client)
        known_accounts = KnownAccounts(redis)
        lanes = Lanes(redis)
        shutdowns = Shutdowns(Rooms(redis, lanes), lanes, settings.verify_timeout)
        transport = Transport(settings.call_timeout, pool_size=worker.concurrency)
        self.executor = Executor(
            lanes=lanes,
            shutdowns=shutdowns,
            accounts=self.accounts,
            known_accounts=known_accounts,
            transport=transport,
            lease=settings.lease,
            random=random.random,
        )
        set_aside = SetAside(lanes, self.accounts, max(LEASE, settings.lease))
        self.sweeper = Sweeper(lanes, self.accounts, known_accounts, set_aside)
        task = worker.app.tasks[ExecuteTask.name]
        task.set_aside = set_aside
        task.executor = self.executor
        task.control = Control(
            lanes=lanes,
            shutdowns=shutdowns,
            transport=transport,
            send_signature=_signature_sender(worker.app),
            secret=settings.callback_secret,
            random=random.random,
            lease=max(LEASE, settings.lease),
        )

    def start(self, worker: Any) -> None:  # noqa: ARG002  # as Celery calls it
        """Begin to sweep, and listen for SIGHUP."""
        signals.worker_shutting_down.connect(self._drain, weak=False)
        signals.worker_ready.connect(self._check_redis, weak=False)  # once, and Redis is there then
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, self._reload)
        _log.info("accounts are loaded", accounts=sorted(self.accounts.names))
        self.sweeper.start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002  # as Celery calls it
        """Stop to sweep. The calls in flight end after this, so the transport stays open until the process goes."""
        self.sweeper.stop()

    def _drain(self, **_signal: Any) -> None:
        self.executor.draining.set()

    def _check_redis(self, **_signal: Any) -> None:
        check(self._redis)

    def _reload(self, *_signal: Any) -> None:
        """Take over the accounts file as it is now; a file with a mistake changes nothing."""
        try:
            self.accounts.reload()
        except InvalidSettings as mistake:
            _log.error("the accounts stay as they were", mistake=str(mistake))  # it needs no traceback
            return
        _log.info("accounts are loaded", accounts=sorted(self.accounts.names))
        self.sweeper.publish_now()


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
        redis.celery_options(),
        task_queues=[Queue(READY, Exchange(""), routing_key=READY)],
        task_default_queue=READY,
        task_default_exchange="",
        task_default_routing_key=READY,
        worker_pool="threads",
        worker_consumer="streamstop_worker.consumer:Consumer",
        worker_concurrency=settings.concurrency,
        # A worker takes what it can run now, and no more.
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # What Redis refuses for a while (a demoted primary, a full one) does not end a worker.
        broker_channel_error_retry=True,
        # The lease brings back what a lost connection leaves; a call that is made is made.
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    app.steps["worker"].add(Parts)
    execute = app.register_task(ExecuteTask())
    # A message's own ignore_result, false in every producer's, goes before the task's; and Celery would write a record
    # once more after the script that settled it, over whatever another delivery has recorded since.
    execute.backend = DisabledBackend(app)
    return app


app = make_app()


@signals.setup_logging.connect
def _set_up_logging(loglevel: int, logfile: str | None, **_options: Any) -> None:
    settings = WorkerSettings.from_environ()
    level = loglevel if telemetry.level_was_asked_for() else settings.log_level
    telemetry.set_up(level, settings.log_format, logfile)
