"""Reporter: sends the reports of jobs to Redis in batches.

A job has ended only when Redis has confirmed its report. A report that fails is retried for a time that is shorter than
every lease, so no other worker takes the job meanwhile.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from redis.exceptions import ResponseError

from streamstop._redis.errors import ERRORS, is_unreachable, reason
from streamstop._redis.lanes import Lanes
from streamstop._redis.schedule import BATCH, Schedule
from streamstop._wire.reports import Ended, Report

#: How long reports are gathered for a batch while many jobs are under way. A batch costs little more than one report.
GATHER_S = 0.003
#: With more jobs under way than this, reports are gathered.
MANY = 8
#: How long to wait before each retry of a report. The sum is shorter than every lease.
RETRY_DELAYS_S = (0.1, 0.2, 0.4, 0.8, 1.6)

_log = structlog.get_logger("streamstop")

Answer = timedelta | None


@dataclass
class _Pending:
    """A report, and the future that gets Redis' answer to it."""

    report: Report
    answer: asyncio.Future[Answer]


class Reporter:
    """Sends reports from its own thread. It shares the worker's connections."""

    def __init__(
        self,
        schedule: Schedule,
        lanes: Lanes,
        *,
        on_due: Callable[[timedelta], None],
        under_way: Callable[[], int],
        draining: Callable[[], bool],
    ) -> None:
        """`on_due` receives the time until a lane can give its next job; `under_way` returns the number of jobs."""
        self._schedule = schedule
        self._lanes = lanes
        self._on_due = on_due
        self._under_way = under_way
        self._draining = draining
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Pending] = deque()
        self._arrived = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="streamstop-reports", daemon=True)
        self._thread.start()

    async def report(self, report: Report) -> Answer:
        """Send a report. Return how long the lane rests because of it, or None if the worker has lost the job's lease.

        Raises the error of an unreachable Redis after all retries, and any other error at once.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.append(_Pending(report, answer))
        self._arrived.set()
        return await answer

    def close(self) -> None:
        """Send the pending reports, and end the thread."""
        self._closed = True
        self._arrived.set()
        self._thread.join(timeout=sum(RETRY_DELAYS_S) + 5)

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            if self._under_way() > MANY and not self._closed:
                time.sleep(GATHER_S)
            self._arrived.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                self._send_batch(batch)
            if self._closed:
                return

    def _send_batch(self, batch: Sequence[_Pending]) -> None:
        try:
            answers = self._send([pending.report for pending in batch])
        except Exception as error:  # noqa: BLE001  # the coroutine of each job receives it
            if len(batch) > 1 and (isinstance(error, ResponseError) or not is_unreachable(error)):
                # One report may be the cause. The others must not fail with it.
                for one in batch:
                    self._send_batch([one])
                return
            answers = [error] * len(batch)
        self._loop.call_soon_threadsafe(_set_answers, batch, answers)

    def _send(self, reports: Sequence[Report]) -> list[Answer | Exception]:
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                reported = self._schedule.report(reports, wake=self._draining())
            except ERRORS as error:
                if delay_s is None or not is_unreachable(error):
                    raise
                _log.warning(
                    "the reports failed and are retried",
                    jobs=[report.job.job_id for report in reports],
                    reason=reason(error),
                )
                time.sleep(delay_s)
            else:
                break
        for account, requeue in reported.held.items():
            _log.error("the vendor refuses the account's key: its jobs wait", account=account, requeue=requeue)
        for account in reported.released:
            _log.info("the vendor accepts the account's key again", account=account)
        if reported.next_in is not None:
            self._on_due(reported.next_in)
        return [self._resolve_lost_answer(report, rest) for report, rest in zip(reports, reported.rests, strict=True)]

    def _resolve_lost_answer(self, report: Report, rest: Answer) -> Answer | Exception:
        """Return Redis' answer. If the lease is gone, check whether an earlier try had recorded this outcome."""
        if rest is None and isinstance(report, Ended):
            try:
                recorded = self._lanes.record_of(report.job.job_id)
            except ERRORS as error:
                return error  # for this report only; the answers to the others are known
            return timedelta(0) if recorded == report.record.encode() else None
        return rest


def _set_answers(batch: Sequence[_Pending], answers: Sequence[Answer | Exception]) -> None:
    for pending, answer in zip(batch, answers, strict=True):
        if pending.answer.done():
            continue
        if isinstance(answer, Exception):
            pending.answer.set_exception(answer)
        else:
            pending.answer.set_result(answer)
