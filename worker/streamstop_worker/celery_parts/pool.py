"""Pool: a Celery pool that is one event loop in a thread. A job that waits for its slot costs nothing.

Celery's own thread takes jobs and hears of their ends; the loop's thread runs them. What one has to tell the other
goes through a mailbox, many at a time.
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
from streamstop_worker.pipeline.bugs import tell
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End
from streamstop_worker.pipeline.slots import Slots

#: How long a worker that shuts down waits for its last reports, in s.
PATIENCE_S = 330
#: How long a worker that shuts down cold waits until what it has not sent is back in its lane, in s.
COLD_PATIENCE_S = 3

_log = structlog.get_logger("streamstop")

#: Runs a delivery; calls back right before the vendor is called.
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
        #: For Celery's thread, and for the loop's.
        self._mail, self._posted = Mailbox(self._ring), Mailbox(self._call_loop)
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        self._rung.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop = _new_loop()
        started = threading.Event()
        self.loop.call_soon(started.set)
        self._thread = threading.Thread(target=self._run_loop, name="streamstop-loop", daemon=True)
        self._thread.start()
        started.wait()

    def register_with_event_loop(self, hub: Any) -> None:
        """Have Celery's loop look into the mailbox when there is mail."""
        hub.add_reader(self._rung, self.read_mail)

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
        """Run a request in the loop; its callbacks are called in Celery's thread."""
        (request,) = args
        self.post(lambda: self._carry(request, accept_callback, callback, error_callback))

    def post(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine in the loop."""
        self._posted.put(lambda: self._begin(make))

    def tell(self, news: Callable[[], None]) -> None:
        """Have something called in Celery's thread."""
        self._mail.put(news)

    def read_mail(self) -> None:
        """Call what there is to call."""
        with suppress(BlockingIOError):
            self._rung.recv(4096)  # first: a bell that rings from here on is heard again
        self._mail.read()
        if self.on_room is not None:
            self.on_room()

    def on_stop(self) -> None:
        """Take nothing more, and give back what is not sent. Let the calls end and be told; in a cold shutdown do not.

        A worker also comes here without a signal, by ``celery control shutdown``.
        """
        self.on_room = None
        self.loop.call_soon_threadsafe(self.slots.drain)
        until = time.monotonic() + (COLD_PATIENCE_S if state.should_terminate else PATIENCE_S)
        while self._is_needed() and time.monotonic() < until:
            self.read_mail()
            time.sleep(0.005)
        self.read_mail()
        self._end_loop()

    def _is_needed(self) -> bool:
        if not self._thread.is_alive():
            return False  # nothing can end any more
        return (self.slots.unsent if state.should_terminate else self.slots.under_way) > 0

    def on_terminate(self) -> None:
        """Leave what is under way to its leases."""
        self._end_loop()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: a call that is made is made."""

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),  # type: ignore[misc]  # Celery's types do not know it
            "processes": [os.getpid()],
            "under-way": self.slots.under_way,
            "loop": type(self.loop).__module__,
        }

    def _begin(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start what was posted; in the loop's thread."""
        task = self.loop.create_task(make())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _call_loop(self) -> None:
        self.loop.call_soon_threadsafe(self._posted.read)

    async def _carry(
        self,
        request: JobRequest,
        on_accepted: Callable[..., None],
        on_ended: Callable[..., None],
        on_broken: Callable[..., None],
    ) -> None:
        began = time.monotonic()
        signals = TaskSignals(request)

        def on_call() -> None:
            at = time.monotonic()
            self.tell(lambda: on_accepted(os.getpid(), at))
            signals.begin()

        try:
            end = await self.run(request.delivery, on_call)
            runtime_s = time.monotonic() - began
            signals.end(end, runtime_s)
            self._mail.add(lambda: on_ended(end, runtime_s))
        except Exception as error:  # noqa: BLE001  # whatever it is, Celery must hear that the job is over here
            _tell_left(error, request.id)
            broken: BaseException = error
            signals.fail(broken)
            self._mail.add(lambda: on_broken(broken))
        finally:
            self.slots.end()
            self._mail.ring()  # after the end, so that whoever reads the mail finds the room

    async def carry_unseen(self, delivery: Delivery) -> None:
        """Run a delivery that Celery knows nothing of."""
        try:
            await self.run(delivery, lambda: None)
        except Exception as error:  # noqa: BLE001  # nobody else would hear of it
            _tell_left(error, delivery.taken.job_id)
        finally:
            self.slots.end()
            self._mail.ring()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            self._bell.send(b"\0")

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _end_loop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout=5)


def _tell_left(error: Exception, job_id: str) -> None:
    left = "left to its lease"
    tell(_log, error, unreachable=f"a job is {left}", became=left, job_id=job_id)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # it has no build for this platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
