"""Evaluates the demo: collects the counts and results of each lane, and lists every deviation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from streamstop import Job
from streamstop_simulator import Call, SimulatorClient, Summary, TaskState
from streamstop_simulator.demo.scenario import LaneScenario
from streamstop_simulator.demo.screen import LaneEnd
from streamstop_simulator.demo.watch import Watch

_MAX_LISTED = 5


@dataclass(frozen=True)
class Evaluation:
    """The result of the demo."""

    lanes: Sequence[LaneEnd]
    over_limit: int
    #: How many jobs have not ended.
    still_open: int
    #: The deviations from the scenario, one sentence each.
    problems: Sequence[str]


def evaluate(simulator: SimulatorClient, watch: Watch, jobs: Mapping[LaneScenario, Sequence[Job]]) -> Evaluation:
    """Compare the outcomes, the vendors' tasks and the vendors' counts with the scenario."""
    summary, calls = simulator.summary(), simulator.calls()
    still_running = len(simulator.tasks(state=TaskState.RUNNING))
    still_open = sum(scenario.count - len(watch.ended_of(scenario)) for scenario in jobs)
    problems = [*_wrong_outcomes(watch, jobs), *_wrong_at_the_vendors(summary, still_running)]
    if still_open:
        problems.append(f"jobs that have not ended: {still_open}")
    return Evaluation(_lane_ends(summary, calls, watch, jobs), summary.over_limit, still_open, problems)


def _lane_ends(
    summary: Summary, calls: Sequence[Call], watch: Watch, jobs: Mapping[LaneScenario, Sequence[Job]]
) -> list[LaneEnd]:
    first = min((call.arrived_monotonic for call in calls), default=0.0)
    ends = []
    for scenario in jobs:
        lane_calls = [
            call for call in calls if (call.account, call.operation) == (scenario.account, scenario.operation.spec.id)
        ]
        seconds = Counter(int(call.arrived_monotonic - first) for call in lane_calls)
        counted = summary.lanes.get((scenario.account, scenario.operation.spec.id))
        ended = watch.ended_of(scenario)
        ends.append(
            LaneEnd(
                account=scenario.account,
                operation=scenario.operation.spec.id,
                limit=scenario.limit,
                results=Counter(end.outcome.result for end in ended),
                calls_per_second=[seconds[second] for second in range(max(seconds, default=-1) + 1)],
                errors=sum(call.fault == "500" for call in lane_calls),
                throttled=counted.throttled if counted else 0,
                most_in_a_second=counted.most_in_a_second if counted else 0,
                took=max((end.after for end in ended), default=timedelta(0)),
            )
        )
    return ends


def _wrong_outcomes(watch: Watch, jobs: Mapping[LaneScenario, Sequence[Job]]) -> list[str]:
    wrong = []
    for scenario in jobs:
        for job, task in zip(jobs[scenario], scenario.tasks(), strict=True):
            ended = watch.ended.get(job.id)
            if ended is not None and ended.outcome.result is not task.expected:
                outcome = ended.outcome
                reason = f" ({outcome.code}: {outcome.message})" if outcome.code else ""
                wrong.append(f"job {job.id} ended {outcome.result}{reason}, not {task.expected}")
    unlisted = len(wrong) - _MAX_LISTED
    return wrong[:_MAX_LISTED] + ([f"more jobs with an unexpected result: {unlisted}"] if unlisted > 0 else [])


def _wrong_at_the_vendors(summary: Summary, still_running: int) -> list[str]:
    problems = [f"calls that the vendors rejected with {code}: {count}" for code, count in summary.refusals.items()]
    if still_running:
        problems.append(f"stream tasks that still run at the vendors: {still_running}")
    return problems + [
        f"calls of {lane.operation} by {lane.account} over its limit of {lane.limit:g}/s: {lane.over_limit}"
        for lane in summary.lanes.values()
        if lane.over_limit
    ]
