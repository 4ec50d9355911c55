"""Steps: runs the steps of shutdowns, which are jobs in lanes of their own, with leases like any other job.

The steps fan out a shutdown, cancel it, or send its callback. Their synchronous code runs in a few threads, outside of
the worker's event loop.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog

from streamstop import _tracing, callbacks
from streamstop._core.lane_types import LastCall, Taken
from streamstop._core.membership import check_callback
from streamstop._redis.errors import is_unreachable
from streamstop._redis.schedule import Schedule
from streamstop._wire.reports import Renewed
from streamstop.errors import InvalidCommand
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.bugs import handle_bug
from streamstop_worker.pipeline.conclude import Handling, Reporting, conclude
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import Done, End, Ending, GiveBack, GivenBack, Retry, leave_to_another_worker
from streamstop_worker.pipeline.observer import Observer
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.shutdowns.fan_out import Shutdowns
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors.protocol import Request

#: A step renews its lease more often than this. A callback may take as long as a call.
LEASE = timedelta(seconds=15)
#: How many steps may put jobs into lanes or cancel them at the same time.
THREADS = 4
#: While a step waits for a thread: how often it checks for one, and how often it renews its lease, in s.
_CHECK_S, _RENEW_S = 0.1, 3.0

_log = structlog.get_logger("streamstop.control")


class CallbackFailed(Exception):
    """The service did not accept a callback. The message says why."""


class UnknownStep(Exception):
    """This worker does not know the step; a newer one may."""


class LostStep(Exception):
    """The step's lease was lost; another worker may have the step."""


class StoppedStep(Exception):
    """The worker is shutting down. It returns the step, and another worker continues it."""


@dataclass(frozen=True)
class Steps:
    """Runs the jobs of the control lanes."""

    schedule: Schedule
    shutdowns: Shutdowns
    transport: Transport
    #: Publishes a Celery signature of the service, with the progress as its argument.
    send_signature: Callable[[Mapping[str, Any], Mapping[str, Any]], None]
    #: The key that signs callbacks to a URL. If it is None, no such callback is sent.
    secret: str | None = field(repr=False)
    #: See :class:`streamstop_worker.pipeline.execute.Executor`.
    report: Reporting
    slots: Slots
    record_ttl: timedelta
    random: Callable[[], float]
    lease: timedelta = LEASE
    backoff: Backoff = field(default_factory=Backoff)
    observer: Observer = field(default_factory=Observer)
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="streamstop-control")
    )
    free_threads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(THREADS))

    async def execute(self, delivery: Delivery, on_call: Callable[[], None]) -> End:
        """Run a step. Raises the errors of an unreachable Redis; the step then runs again after its lease."""
        self.slots.send()
        taken = delivery.taken
        step = delivery.argument if isinstance(delivery.argument, Mapping) else {}
        log = _log.bind(job_id=taken.job_id, step=step.get("step"), shutdown=step.get("shutdown"))
        job = Handling(delivery, log, taken.history)
        self.observer.took(job)
        try:
            end = await self._execute(job, step, on_call)
        except Exception:
            self.observer.left(job)
            raise
        self.observer.ended(job, end)
        return end

    async def _execute(self, job: Handling, step: Mapping[str, Any], on_call: Callable[[], None]) -> End:
        try:
            ending = await self._decide(job, step, on_call)
            return await conclude(job, ending, self.report, self.record_ttl)
        except LostStep:
            job.log.warning("another worker has taken the step")
            return GivenBack()
        except Exception as error:
            if is_unreachable(error):
                raise
            return await handle_bug(job, error, self.report, self.record_ttl)

    async def _decide(self, job: Handling, step: Mapping[str, Any], on_call: Callable[[], None]) -> Ending:
        """Run a step, and return how its delivery ends. Raises LostStep."""
        history, now = job.history, job.delivery.now
        if self.slots.draining:
            return GiveBack()
        on_call()
        try:
            await self._run(job.delivery.taken, step)
        except StoppedStep:
            return GiveBack()
        except UnknownStep as unknown:
            retry = leave_to_another_worker(history, str(unknown), now())
            if retry is not None:
                job.log.warning("left to another worker", problem=str(unknown))
                return retry
            job.log.error("the step is given up", problem=str(unknown))  # noqa: TRY400
        except CallbackFailed as failure:
            attempts = history.attempts + 1
            delay = self.backoff.delay(attempts, self.random)
            if delay is not None:
                job.log.warning("the callback failed and is retried", reason=str(failure), attempt=attempts)
                next_history = replace(history, attempts=attempts, calls=attempts)
                return Retry(delay, next_history, str(failure), LastCall.WELL)
            job.log.error("the callback is given up", reason=str(failure), attempt=attempts)  # noqa: TRY400
        return Done(str(step.get("step")))

    async def _run(self, taken: Taken, step: Mapping[str, Any]) -> None:
        # The job was taken with the lease of a call. The step may take longer until it renews its lease.
        await self._renew(taken)
        shutdown = str(step.get("shutdown"))
        match step.get("step"):
            case "fan_out":
                await self._run_in_thread(taken, self.shutdowns.fan_out(shutdown))
            case "cancel":
                await self._run_in_thread(taken, self.shutdowns.cancel_unclaimed(shutdown))
            case "callback":
                await self._send_callback(shutdown, step.get("to"))
            case other:
                raise UnknownStep(f"this worker knows no step {other!r} of a shutdown")

    async def _run_in_thread(self, taken: Taken, batches: Iterator[int]) -> None:
        """Run the batches in a thread.

        Renew the lease while all threads are busy, so that no other worker begins the step as well.
        """
        renewed_at = time.monotonic()
        while self.free_threads.locked():
            if not await self.slots.wait(time.monotonic() + _CHECK_S):
                raise StoppedStep
            if time.monotonic() - renewed_at > _RENEW_S:
                await self._renew(taken)
                renewed_at = time.monotonic()
        async with self.free_threads:
            await asyncio.get_running_loop().run_in_executor(self.threads, self._run_batches, taken, batches)

    def _run_batches(self, taken: Taken, batches: Iterator[int]) -> None:
        """Run the batches one by one, and renew the lease after each."""
        for _batch in batches:
            if self.slots.draining:
                raise StoppedStep
            if self.schedule.report([Renewed(job=taken, lease=self.lease)]).rests[0] is None:
                raise LostStep

    async def _renew(self, taken: Taken) -> None:
        if await self.report(Renewed(job=taken, lease=self.lease)) is None:
            raise LostStep

    async def _send_callback(self, shutdown: str, target: object) -> None:
        """Send the callback of a shutdown that has ended: the same progress that the shutdown's handle returns."""
        progress = await asyncio.to_thread(self.shutdowns.views.progress, shutdown)
        if progress is None or not isinstance(target, Mapping):
            return
        content = progress.model_dump(mode="json")
        url = target.get("url")
        if url is None:
            try:
                await asyncio.to_thread(self.send_signature, target, content)
            except Exception as error:  # a service's signature can make Celery raise anything
                if is_unreachable(error):
                    raise
                raise CallbackFailed(f"the signature cannot be sent ({type(error).__name__})") from None
            return
        try:
            check_callback(str(url))
        except InvalidCommand as problem:  # a client that can write to Redis can request any URL
            _log.error("the callback URL is not allowed", reason=str(problem), shutdown=shutdown)
            return
        if self.secret is None:
            _log.error("the callback is not sent: STREAMSTOP_CALLBACK_SECRET is not set", shutdown=shutdown)
            return
        body = json.dumps(content, ensure_ascii=False).encode()
        parts = urlsplit(str(url))
        headers = {
            "host": parts.netloc,
            "content-type": "application/json",
            callbacks.HEADER: callbacks.sign(self.secret, int(time.time()), body),
            **_tracing.current(),
        }
        try:
            response = await self.transport.send(Request("POST", str(url), headers, body))
        except TransportFault as fault:
            raise CallbackFailed(f"{parts.hostname}: {fault.answer.code}") from None
        if not 200 <= response.status < 300:
            raise CallbackFailed(f"{parts.hostname} answered HTTP {response.status}")
