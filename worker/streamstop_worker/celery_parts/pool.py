"""Pool: a Celery pool that is one event loop in a thread. A job that waits for its slot costs nothing.

Celery's own thread takes jobs and hears of their ends; the loop's thread runs them. What one has to tell the other
goes through a mailbox, many at a time.
"""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from celery.concurrency.base import BasePool
from celery.worker import state

from streamstop.lanes import UNREACHABLE
from streamstop_worker.celery_parts.request import JobRequest
from streamstop_worker.pipeline.execute import End
from streamstop_worker.pipeline.slots import Slots

#: How long a worker that shuts down waits for its last reports, in s.
PATIENCE_S = 330
#: How long a worker that shuts down cold waits until what it has not sent is back in its lane, in s.
COLD_PATIENCE_S = 3

_log = structlog.get_logger("streamstop")

#: Runs the delivery of a request; calls back right before the vendor is called.
Runner = Callable[[JobRequest, Callable[[], None]], Coroutine[Any, Any, End]]


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
        self._mail: deque[Callable[[], None]] = deque()
        self._out: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
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
        self._out.append(make)
        if len(self._out) == 1:
            self.loop.call_soon_threadsafe(self._begin)

    def tell(self, news: Callable[[], None]) -> None:
        """Have something called in Celery's thread."""
        self._mail.append(news)
        if len(self._mail) == 1:
            self._ring()

    def read_mail(self) -> None:
        """Call what there is to call."""
        with contextlib.suppress(BlockingIOError):
            self._rung.recv(4096)
        for _ in range(len(self._mail)):
            self._mail.popleft()()
        if self._mail:
            self._ring()
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

    def _begin(self) -> None:
        """Start what was posted; in the loop's thread."""
        for _ in range(len(self._out)):
            task = self.loop.create_task(self._out.popleft()())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._out:
            self.loop.call_soon(self._begin)

    async def _carry(
        self,
        request: JobRequest,
        on_accepted: Callable[..., None],
        on_ended: Callable[..., None],
        on_broken: Callable[..., None],
    ) -> None:
        began = time.monotonic()

        def on_call() -> None:
            at = time.monotonic()
            self.tell(lambda: on_accepted(os.getpid(), at))

        try:
            end = await self.run(request, on_call)
        except UNREACHABLE as error:
            _log.warning(
                "Redis did not answer; the job's lease brings it back",
                job_id=request.id,
                error=type(error).__name__,
            )
            broken: BaseException = error
            self.tell(lambda: on_broken(broken))
        except Exception as error:  # noqa: BLE001  # whatever it is, Celery must hear that the job is over here
            _log.exception("a fault of streamstop; the job's lease brings it back", job_id=request.id)
            broken = error
            self.tell(lambda: on_broken(broken))
        else:
            runtime_s = time.monotonic() - began
            self.tell(lambda: on_ended(end, runtime_s))
        finally:
            self.slots.end()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            self._bell.send(b"\0")

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _end_loop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # it has no build for this platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
