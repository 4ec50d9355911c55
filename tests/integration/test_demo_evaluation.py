"""The demo's evaluation: it lists every deviation from the scenario."""

import io
from collections.abc import Mapping, Sequence

from streamstop import Client, Job, Result
from streamstop_simulator import SimulatorClient
from streamstop_simulator.demo.display import PlainDisplay
from streamstop_simulator.demo.evaluation import Evaluation, evaluate
from streamstop_simulator.demo.interrupt import Interrupt
from streamstop_simulator.demo.scenario import LANES, LaneScenario, set_up
from streamstop_simulator.demo.watch import Watch

PULLED = next(scenario for scenario in LANES if scenario.operation.spec.id == "live.StopLivePullToPush")


def ending_of_cancelled(client: Client, simulator: SimulatorClient) -> tuple[Evaluation, str]:
    """Enqueue the stops of one lane, take all of them back, and return the ending and what was shown before."""
    set_up(simulator, [PULLED])
    jobs: Mapping[LaneScenario, Sequence[Job]] = {
        PULLED: client.enqueue_many([task.command for task in PULLED.tasks()]),
    }
    for job in jobs[PULLED]:
        job.cancel()
    watch = Watch(client, simulator, jobs)
    shown = io.StringIO()
    watch.follow(PlainDisplay(shown), Interrupt(), [])
    return evaluate(simulator, watch, jobs), shown.getvalue()


def test_unexpected_outcomes_are_listed_up_to_a_maximum(client: Client, simulator: SimulatorClient) -> None:
    end, shown = ending_of_cancelled(client, simulator)
    listed = [problem for problem in end.problems if problem.startswith("job ")]
    assert len(listed) == 5
    assert all("ended cancelled, not " in problem for problem in listed)
    assert f"more jobs with an unexpected result: {PULLED.count - 5}" in end.problems
    assert f"{PULLED.count} of {PULLED.count} ended" in shown


def test_tasks_that_still_run_are_told(client: Client, simulator: SimulatorClient) -> None:
    end, _ = ending_of_cancelled(client, simulator)
    running = sum(task.expected is Result.STOPPED for task in PULLED.tasks())
    assert f"stream tasks that still run at the vendors: {running}" in end.problems


def test_a_lane_without_a_call_has_an_empty_plot(client: Client, simulator: SimulatorClient) -> None:
    end, _ = ending_of_cancelled(client, simulator)
    [lane] = end.lanes
    assert (lane.calls, list(lane.calls_per_second), lane.results) == (0, [], {Result.CANCELLED: PULLED.count})
    assert (end.over_limit, end.still_open) == (0, 0)
