"""Pool: a Celery pool that is one event loop in a thread. A job that waits for its slot costs nothing.

Celery's thread takes jobs and sends the events of their ends. The loop's thread runs the jobs. Each thread calls the
other through a mailbox, in batches.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from celery.concurrency.base import BasePool
from celery.worker import state

from streamstop_worker.celery_parts.mailbox import Mailbox
from streamstop_worker.celery_parts.request import JobRequest
from streamstop_worker.celery_parts.signals import TaskSignals
from streamstop_worker.pipeline.bugs import log_error
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.slots import Slots

#: How long a warm shutdown waits for the last reports, in s.
WARM_TIMEOUT_S = 330
#: How long a cold shutdown waits until the unsent jobs are back in their lanes, in s.
COLD_TIMEOUT_S = 3

_log = structlog.get_logger("streamstop")

#: Runs a delivery. It calls its second argument right before the vendor.
Runner = Callable[[Delivery, Callable[[], None]], Coroutine[Any, Any, End]]


class EventLoopPool(BasePool):
    """Runs requests as coroutines of one event loop."""

    is_green = False
    uses_semaphore = False
    task_join_will_block = False

    #: Set by the worker's bootstep before the first job is taken.
    slots: Slots
    run: Runner
    #: Takes the jobs; Celery's consumer connects it.
    intake: Any
    #: Called in Celery's thread when jobs have ended.
    on_room: Callable[[], None] | None = None

    def on_start(self) -> None:
        """Start the loop's thread, and wait until it runs."""
        self._calls_to_celery = Mailbox(self._notify_celery_thread)
        self._calls_to_loop = Mailbox(self._notify_loop)
        # A byte on this pair of sockets wakes Celery's event loop.
        self._notify_socket, self._wake_socket = socket.socketpair()
        self._notify_socket.setblocking(False)
        self._wake_socket.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop = _new_loop()
        started = threading.Event()
        self.loop.call_soon(started.set)
        self._thread = threading.Thread(target=self._run_loop, name="streamstop-loop", daemon=True)
        self._thread.start()
        started.wait()

    def register_with_event_loop(self, hub: Any) -> None:
        """Let Celery's event loop run the calls of the mailbox when a byte arrives."""
        hub.add_reader(self._wake_socket, self.run_calls)

    def on_apply(  # as Celery calls it
        self,
        _target: object,
        args: Any = (),
        _kwargs: Any = None,
        *,
        accept_callback: Callable[..., None],
        callback: Callable[..., None],
        error_callback: Callable[..., None],
        **_options: Any,
    ) -> None:
        """Run a request in the loop. Its callbacks run in Celery's thread."""
        (request,) = args
        self.run_in_loop(lambda: self._run_request(request, accept_callback, callback, error_callback))

    def run_in_loop(self, make_coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine in the loop."""
        self._calls_to_loop.put(lambda: self._start_task(make_coroutine))

    def run_in_celery_thread(self, call: Callable[[], None]) -> None:
        """Run a call in Celery's thread."""
        self._calls_to_celery.put(call)

    def run_calls(self) -> None:
        """Run the calls that the loop's thread has made to Celery's thread."""
        with suppress(BlockingIOError):
            self._wake_socket.recv(4096)  # before the read, so that a byte for a later call stays in the socket
        self._calls_to_celery.read()
        if self.on_room is not None:
            self.on_room()

    def wake(self) -> None:
        """Wake Celery's event loop, so that it notices a shutdown at once. For signal handlers too."""
        self._notify_celery_thread()

    def on_stop(self) -> None:
        """Take no more jobs, return the unsent ones, and wait for the calls under way.

        ``celery control shutdown`` leads here without a signal to the process. A SIGQUIT ends the wait.
        """
        self._wind_down(is_cold=lambda: bool(state.should_terminate))

    def on_terminate(self) -> None:
        """Take no more jobs, and return the unsent ones. Other workers take the jobs under way after their leases."""
        self._wind_down(is_cold=lambda: True)

    def _wind_down(self, is_cold: Callable[[], bool]) -> None:
        self.on_room = None
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.slots.drain)
        deadline = time.monotonic() + WARM_TIMEOUT_S
        while self._thread.is_alive() and time.monotonic() < deadline:  # without the loop no job can end any more
            if is_cold():
                deadline = min(deadline, time.monotonic() + COLD_TIMEOUT_S)
            if (self.slots.unsent if is_cold() else self.slots.under_way) <= 0:
                break
            self.run_calls()
            time.sleep(0.005)
        self.run_calls()
        self._end_loop()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: a call under way is not interrupted."""

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),  # type: ignore[misc]  # Celery's types do not know it
            "processes": [os.getpid()],
            "under-way": self.slots.under_way,
            "loop": type(self.loop).__module__,
        }

    def _start_task(self, make_coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self.loop.create_task(make_coroutine())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _notify_loop(self) -> None:
        self.loop.call_soon_threadsafe(self._calls_to_loop.read)

    async def _run_request(
        self,
        request: JobRequest,
        on_accepted: Callable[..., None],
        on_ended: Callable[..., None],
        on_error: Callable[..., None],
    ) -> None:
        started_at = time.monotonic()
        signals = TaskSignals(request)

        def on_call() -> None:
            called_at = time.monotonic()
            self.run_in_celery_thread(lambda: on_accepted(os.getpid(), called_at))
            signals.begin()

        try:
            end = await self.run(request.delivery, on_call)
            runtime_s = time.monotonic() - started_at
            signals.end(end, runtime_s)
            self._calls_to_celery.add(lambda: on_ended(end, runtime_s))
        except Exception as error:  # noqa: BLE001  # after any error Celery must release the request
            _log_left_to_lease(error, request.id)
            caught: BaseException = error
            signals.fail(caught)
            self._calls_to_celery.add(lambda: on_error(caught))
        finally:
            self.slots.end()
            self._calls_to_celery.ring()  # after slots.end, so that on_room finds the free place

    async def run_without_request(self, delivery: Delivery) -> None:
        """Run a delivery for which Celery has no request."""
        try:
            await self.run(delivery, lambda: None)
        except Exception as error:  # noqa: BLE001  # no caller receives it
            _log_left_to_lease(error, delivery.taken.job_id)
        finally:
            self.slots.end()
            self._calls_to_celery.ring()

    def _notify_celery_thread(self) -> None:
        with suppress(BlockingIOError):  # the socket is full of bytes that wake it anyway
            self._notify_socket.send(b"\0")

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _end_loop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout=5)


def _log_left_to_lease(error: Exception, job_id: str) -> None:
    log_error(_log, error, unreachable="a job is left to its lease", became="left to its lease", job_id=job_id)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # it has no build for this platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
