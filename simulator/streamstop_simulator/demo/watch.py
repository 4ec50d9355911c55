"""Follows the demo's jobs: a thread collects outcomes, the caller's loop draws the progress and checks processes."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from streamstop import Client, Job, Outcome, QueueUnavailable
from streamstop_simulator import SimulatorClient
from streamstop_simulator.demo.display import Display
from streamstop_simulator.demo.interrupt import Interrupt
from streamstop_simulator.demo.processes import Process
from streamstop_simulator.demo.scenario import LaneScenario
from streamstop_simulator.demo.screen import LaneNow, Totals

#: Several times the duration of the longest lane.
_ALL_END_WITHIN = timedelta(seconds=60)
_REDRAW_EVERY_S = 0.1


@dataclass(frozen=True)
class Ended:
    """An outcome, and the time from the start of the watch until it was received."""

    outcome: Outcome
    after: timedelta


class Watch:
    """Follows the jobs of all lanes, from its creation."""

    def __init__(self, client: Client, simulator: SimulatorClient, jobs: Mapping[LaneScenario, Sequence[Job]]) -> None:
        self._client = client
        self._simulator = simulator
        self._jobs = jobs
        self._began = time.monotonic()
        self._failure: QueueUnavailable | None = None
        #: Job IDs to outcomes.
        self.ended: dict[str, Ended] = {}
        self._thread = threading.Thread(target=self._listen, name="outcomes", daemon=True)
        self._thread.start()

    def follow(self, display: Display, interrupt: Interrupt, running: Iterable[Process]) -> None:
        """Show the progress until every job has ended, at most a minute.

        Raises :class:`~streamstop_simulator.demo.interrupt.Interrupted`,
        :class:`~streamstop_simulator.demo.processes.ProcessFailed` and :class:`~streamstop.errors.QueueUnavailable`.
        """
        listening = True
        while listening:
            self._thread.join(_REDRAW_EVERY_S)
            listening = self._thread.is_alive()
            interrupt.check()
            for process in running:
                process.check()
            if self._failure is not None:
                raise self._failure
            display.show([self._now(scenario) for scenario in self._jobs], self._totals())

    def ended_of(self, scenario: LaneScenario) -> list[Ended]:
        """Return the outcomes of one lane so far."""
        return [self.ended[job.id] for job in self._jobs[scenario] if job.id in self.ended]

    def _listen(self) -> None:
        jobs = [job for jobs in self._jobs.values() for job in jobs]
        try:
            for outcome in self._client.outcomes(jobs, timeout=_ALL_END_WITHIN):
                self.ended[outcome.job_id] = Ended(outcome, self._elapsed())
        except QueueUnavailable as failure:
            self._failure = failure

    def _elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._began)

    def _now(self, scenario: LaneScenario) -> LaneNow:
        (view,) = self._client.lanes([scenario.lane])
        ended = self.ended_of(scenario)
        return LaneNow(
            account=scenario.account,
            operation=scenario.operation.spec.id,
            limit=scenario.limit,
            total=scenario.count,
            ended=len(ended),
            rest=view.rest,
            deferred=view.deferred,
            to_call=view.waiting + view.in_flight,
            pace=view.pace,
            took=max(end.after for end in ended) if len(ended) == scenario.count else None,
        )

    def _totals(self) -> Totals:
        lanes = self._simulator.summary().lanes.values()
        throttled, over_limit = sum(lane.throttled for lane in lanes), sum(lane.over_limit for lane in lanes)
        return Totals(
            elapsed=self._elapsed(),
            ended=len(self.ended),
            total=sum(scenario.count for scenario in self._jobs),
            calls=sum(lane.calls for lane in lanes),
            errors=sum(lane.faults for lane in lanes) - (throttled - over_limit),
            throttled=throttled,
            over_limit=over_limit,
        )
