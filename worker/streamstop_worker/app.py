"""The Celery app with all its options.

``celery -A streamstop_worker worker`` is the whole start command. Flags of that command take precedence over the
options that this module sets.
"""

import sys

from celery import Celery, signals
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from streamstop._core.lane import QUEUE
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings
from streamstop_worker import telemetry
from streamstop_worker.celery_parts.tasks import register
from streamstop_worker.parts import WorkerParts
from streamstop_worker.settings import WorkerSettings, celery_options

_POOL = "streamstop_worker.celery_parts.pool:EventLoopPool"
#: The name of our transport in Celery's banner and messages. Without an alias they show the module's name.
_TRANSPORT = "redis-lanes"
TRANSPORT_ALIASES[_TRANSPORT] = "streamstop_worker.celery_parts.transport:Transport"
# When kombu tries the next of several addresses, it chooses the transport by that address's scheme and ignores
# broker_transport. So the scheme itself must lead to our transport.
TRANSPORT_ALIASES["sentinel"] = "streamstop_worker.celery_parts.transport:SentinelTransport"


def make_app() -> Celery:
    """Return the app, configured from the environment. Exit with a one-line message if a setting is invalid."""
    try:
        redis, settings = RedisSettings.from_environ(), WorkerSettings.from_environ()
    except InvalidSettings as error:
        sys.exit(f"streamstop: {error}")
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
        # Slots, not Celery's prefetch count, limits how many jobs a worker holds.
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A temporary error of Redis (a demoted primary, a full memory) must not end a worker.
        broker_channel_error_retry=True,
        # The lease brings back jobs of a lost connection. Calls under way cannot be taken back, so they continue.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Otherwise a worker that has reconnected listens for wake tokens only while it has almost nothing under way.
        worker_enable_prefetch_count_reduction=False,
    )
    app.steps["worker"].add(WorkerParts)
    register(app)
    return app


app = make_app()


@signals.setup_logging.connect
def _set_up_logging(loglevel: int, logfile: str | None, **_options: object) -> None:
    settings = WorkerSettings.from_environ()
    level = loglevel if telemetry.level_was_asked_for() else settings.log_level
    telemetry.set_up(level, settings.log_format, logfile)
