"""Consumer: Celery's consumer. It turns the deliveries of the intake into requests."""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from celery import signals
from celery.exceptions import CPendingDeprecationWarning, WorkerTerminate
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer

from streamstop._core.commands import TASK
from streamstop_worker.celery_parts.intake import Intake
from streamstop_worker.celery_parts.request import JobRequest
from streamstop_worker.pipeline.deliveries import Delivery

#: Headers that Celery and its tools expect to be text. A foreign message may contain anything.
_TEXTS = ("root_id", "parent_id", "group", "origin")

#: The longest pause between two attempts to start on a new connection, in s.
_LONGEST_PAUSE_S = 30

_log = structlog.get_logger("streamstop")


class Consumer(CeleryConsumer):
    """Consumes the jobs that the intake takes."""

    # Celery's types know none of these.
    app: Any
    hub: Any
    pool: Any
    task_consumer: Any
    event_dispatcher: Any
    hostname: str
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]
    loop: Callable[..., None]
    cancel_active_requests: Callable[[], None]
    on_task_request: Callable[[Any], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Workers need no messages from each other, and a late reply to mingle would stay in Redis.
        super().__init__(*arguments, **{**options, "without_mingle": True, "without_gossip": True})
        self._failed_starts = 0
        self._celerys_loop = self.loop
        self.loop = self._unending_loop

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and retry every second. Celery's own interval grows to 32 s and would prolong an outage."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=1, interval_step=0, interval_max=1)
        return super().ensure_connected(conn)

    def on_ready(self) -> None:
        """Note that the consumer has started on its connection."""
        self._failed_starts = 0
        super().on_ready()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Reconnect at once after the loss of a connection that served, and ever later if Redis refuses the start.

        A full Redis accepts the connection, and refuses the binding that kombu writes for remote control.
        """
        with warnings.catch_warnings():
            # Celery warns at each reconnect that calls under way continue. Our option asks for that.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)
        pause = min(_LONGEST_PAUSE_S, 2 ** (self._failed_starts - 1)) if self._failed_starts else 0
        self._failed_starts += 1
        for _ in range(pause):
            state.maybe_shutdown()
            time.sleep(1)

    def _unending_loop(self, *arguments: Any) -> None:
        """Run Celery's loop. Reconnect after an unexpected error instead of ending the worker."""
        try:
            self._celerys_loop(*arguments)
        except WorkerTerminate:
            # A cold shutdown: the connection is still there for the events. Celery does this in its signal handler.
            with suppress(*self.connection_errors):
                self.cancel_active_requests()
            raise
        except (*self.connection_errors, *self.channel_errors):
            raise
        except Exception as error:
            _log.exception("jobs could not be taken; the worker reconnects")
            raise ConnectionResetError("jobs could not be taken") from error

    def create_task_handler(self, *_arguments: Any) -> Callable[[Any], None]:
        """Return the handler of messages. Each message stands for a delivery that the intake has just read."""
        intake: Intake = self.pool.intake
        channel = self.task_consumer.channel
        channel.on_wake, channel.on_wait = intake.on_wake, intake.on_wait
        intake.connect(channel, self.hub)
        self.pool.on_room = intake.on_room

        def on_message(message: Any) -> None:
            self._on_delivery(intake.delivered.pop(message.delivery_tag), message)

        return on_message

    def _on_delivery(self, delivery: Delivery, message: Any) -> None:
        taken = delivery.taken
        tasks = self.app.tasks
        name = taken.lane.operation if taken.lane.operation in tasks else TASK
        argument = delivery.argument if isinstance(delivery.argument, dict) else {}
        params = argument.get("params")
        if not isinstance(params, dict):
            params = {}
        headers = {
            **delivery.headers,
            **{header: None for header in _TEXTS if not isinstance(delivery.headers.get(header), str)},
            "id": taken.job_id,
            "task": name,
            "shadow": taken.lane.name,
            "argsrepr": f"({taken.lane.account!r},)",
            "kwargsrepr": repr(params),
            "retries": taken.history.attempts,
            "expires": None,
            "eta": None,
            "timelimit": None,
            "stamped_headers": None,
            "stamps": None,
            "ignore_result": True,
        }
        request = JobRequest(
            message,
            on_ack=lambda *_: message.ack(),
            hostname=self.hostname,
            eventer=self.event_dispatcher,
            app=self.app,
            task=tasks[name],
            headers=headers,
            body=((taken.lane.account,), params, {}),
            decoded=True,
            connection_errors=self.connection_errors,
        )
        request.delivery, request.dispatcher = delivery, lambda: self.event_dispatcher
        signals.task_received.send(sender=self, request=request)
        if self.event_dispatcher is not None and self.event_dispatcher.enabled:
            request.send_event(
                "task-received",
                name=request.name,
                args=request.argsrepr,
                kwargs=request.kwargsrepr,
                root_id=request.root_id,
                parent_id=request.parent_id,
                retries=taken.history.attempts,
                eta=None,
                expires=None,
            )
        state.task_reserved(request)
        self.on_task_request(request)
