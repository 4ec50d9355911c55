"""Consumer: Celery's own, which sets aside what it could not begin instead of dropping it, or ending over it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer

from streamstop.lanes import UNREACHABLE
from streamstop_worker.set_aside import set_aside_of
from streamstop_worker.tasks import ExecuteTask

_log = structlog.get_logger("streamstop")


class Consumer(CeleryConsumer):
    """Looks at every message before Celery does."""

    # Celery's types know none of these.
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]
    loop: Callable[..., None]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Workers have nothing to tell each other at their start; and an answer that comes late would stay in Redis.
        super().__init__(*arguments, **{**options, "without_mingle": True})
        self._celerys_loop = self.loop
        self.loop = self._unending_loop

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and try again every second: Celery's steps grow to half a minute, and so would Redis' absence."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=1, interval_step=0, interval_max=1)
        return super().ensure_connected(conn)

    def _unending_loop(self, *arguments: Any) -> None:
        """Take messages. Where one is such that kombu fails over it, connect anew: its lease ends it in time."""
        try:
            self._celerys_loop(*arguments)
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:
            _log.exception("a message could not be taken; the worker connects anew")
            raise ConnectionResetError("a message could not be taken") from error

    def create_task_handler(self, *arguments: Any) -> Callable[[Any], None]:
        """Return what is called with each message."""
        begin = super().create_task_handler(*arguments)
        task: Any = self.app.tasks[ExecuteTask.name]
        set_aside = task.set_aside

        def on_message(message: Any) -> None:
            try:
                unreadable = set_aside_of(message, set_aside)
            except UNREACHABLE as error:
                _log.warning("Redis did not answer; the job's lease brings it back", error=type(error).__name__)
                unreadable = True
            if unreadable:
                message.ack()
            else:
                begin(message)

        return on_message
