"""Reporter: gathers what became of jobs, and tells Redis in batches.

One rule: a job has ended when Redis has said so. A report that Redis does not take is made again, while the job's
lease still runs; so nobody else has the job meanwhile.
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

#: How long reports are gathered while many jobs are under way; a batch costs little more than one.
GATHER_S = 0.003
#: How many jobs are many.
MANY = 8
#: How long to wait before a report that Redis did not take is made again; the sum is within every lease.
AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.6)

_log = structlog.get_logger("streamstop")

Answer = timedelta | None


@dataclass
class _Waiting:
    report: Report
    answer: asyncio.Future[Answer]


class Reporter:
    """Reports from a thread of its own, through the connections that everything else of the worker uses too."""

    def __init__(
        self,
        schedule: Schedule,
        lanes: Lanes,
        *,
        on_due: Callable[[timedelta], None],
        under_way: Callable[[], int],
        draining: Callable[[], bool],
    ) -> None:
        """`on_due` is told how long it is until a lane can give jobs again; `under_way` counts the jobs."""
        self._schedule = schedule
        self._lanes = lanes
        self._on_due = on_due
        self._under_way = under_way
        self._draining = draining
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._arrived = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="streamstop-reports", daemon=True)
        self._thread.start()

    async def report(self, report: Report) -> Answer:
        """Report, and return how long the job's lane rests for its sake; None where the job is another's by now.

        Raises the error where Redis does not take it for as long as a lease allows, and at once where it is a bug.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.append(_Waiting(report, answer))
        self._arrived.set()
        return await answer

    def close(self) -> None:
        """Report what is there, and end."""
        self._closed = True
        self._arrived.set()
        self._thread.join(timeout=sum(AGAIN_S) + 5)

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            if self._under_way() > MANY and not self._closed:
                time.sleep(GATHER_S)
            self._arrived.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                self._make(batch)
            if self._closed:
                return

    def _make(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._answers([waiting.report for waiting in batch])
        except Exception as error:  # noqa: BLE001  # whatever it is, the jobs' own tasks must hear of it
            if len(batch) > 1 and (isinstance(error, ResponseError) or not is_unreachable(error)):
                # One of them may be the cause; the others must not fail with it.
                for one in batch:
                    self._make([one])
                return
            answers = [error] * len(batch)
        self._loop.call_soon_threadsafe(_settle, batch, answers)

    def _answers(self, reports: Sequence[Report]) -> list[Answer | Exception]:
        for delay_s in (*AGAIN_S, None):
            try:
                reported = self._schedule.report(reports, wake=self._draining())
            except ERRORS as error:
                if delay_s is None or not is_unreachable(error):
                    raise
                _log.warning(
                    "Redis did not take the reports; they are made again",
                    jobs=[report.job.job_id for report in reports],
                    reason=reason(error),
                )
                time.sleep(delay_s)
            else:
                break
        if reported.next_in is not None:
            self._on_due(reported.next_in)
        return [self._believed(report, rest) for report, rest in zip(reports, reported.rests, strict=True)]

    def _believed(self, report: Report, rest: Answer) -> Answer | Exception:
        """Return Redis' answer; an earlier report may have been taken, and only the answer to it lost."""
        if rest is None and isinstance(report, Ended):
            try:
                recorded = self._lanes.record_of(report.job.job_id)
            except ERRORS as error:
                return error  # of this job nobody knows; what Redis has said of the others stands
            return timedelta(0) if recorded == report.record.encode() else None
        return rest


def _settle(batch: Sequence[_Waiting], answers: Sequence[Answer | Exception]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if waiting.answer.done():
            continue
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
