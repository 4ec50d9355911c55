"""The scenario: which stream tasks run at which account, what goes wrong on the way, and how each stop is to end.

Everything that happens is decided here, so that the demo can tell at its end whether it went as it should.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

from streamstop import Command, Operation, Result
from streamstop._core.lane import Lane
from streamstop.operations import StopEdgeTranscodeJob, StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_simulator import DEFAULT_ACCOUNTS, FaultKind, SimulatorClient

ACCOUNTS = DEFAULT_ACCOUNTS
#: The room that all tasks run in, and how many of each lane start while it closes already.
ROOM = "demo-room"
LATE = 3
#: Of a smaller scenario, for tests: one task in four.
_QUICK = 4
#: How long a lane that was throttled is told to rest.
_HINT = timedelta(seconds=2)


class Fate(Enum):
    """What a stream task does before somebody stops it."""

    RUNS = "runs"
    ENDS = "ends"
    """It ends by itself before the stop comes."""
    NEVER_WAS = "never was"
    """The producer has a wrong id: there is no such task."""


@dataclass(frozen=True)
class StreamTask:
    """A stream task, by the command that stops it, and how that is to end."""

    command: Command
    fate: Fate
    expected: Result


@dataclass(frozen=True)
class LaneScenario:
    """What happens in one lane. Numbers of tasks are positions in the lane, from 0."""

    account: str
    stop: Callable[[int], Operation]
    count: int
    #: What this vendor says of a task that has ended by itself.
    of_ended: Result = Result.ALREADY_STOPPED
    ends: Collection[int] = ()
    never_were: Collection[int] = ()
    #: The share of calls that get a 500.
    errors: float = 0.0
    #: The calls for these tasks are throttled once each.
    throttled: Collection[int] = ()

    @property
    def operation(self) -> type[Operation]:
        """The operation that stops the lane's tasks."""
        return type(self.stop(0))

    @property
    def lane(self) -> Lane:
        """The lane."""
        return Lane(self.account, self.operation.spec.id)

    @property
    def limit(self) -> float:
        """The vendor's limit, in calls per second."""
        return self.operation.spec.limit

    def tasks(self) -> list[StreamTask]:
        """Return the tasks, in the order in which their stops are enqueued."""
        return [self._task(number) for number in range(self.count)]

    def _task(self, number: int) -> StreamTask:
        command = Command(operation=self.stop(number), account=self.account)
        if number in self.never_were:
            return StreamTask(command, Fate.NEVER_WAS, Result.NOT_FOUND)
        if number in self.ends:
            return StreamTask(command, Fate.ENDS, self.of_ended)
        return StreamTask(command, Fate.RUNS, Result.STOPPED)


ALIYUN_1, ALIYUN_2, TENCENT = (account.name for account in ACCOUNTS)
LANES = (
    LaneScenario(
        ALIYUN_1,
        lambda number: StopMPUTask(app_id="demo-app", task_id=f"relay-{number}"),
        count=92,
        of_ended=Result.NOT_FOUND,
        ends=(3, 40, 70),
        errors=0.1,
    ),
    LaneScenario(
        ALIYUN_1,
        lambda number: StopEdgeTranscodeJob(cluster_id="demo-cluster", job_id=f"transcode-{number}"),
        count=40,
        never_were=(5,),
    ),
    LaneScenario(
        ALIYUN_2,
        lambda number: StopMPUTask(app_id="demo-app", task_id=f"relay-{number}"),
        count=12,
    ),
    LaneScenario(
        ALIYUN_2,
        lambda number: StopLivePullToPush(region="cn-shanghai", task_id=f"pulled-{number}"),
        count=32,
        ends=(2, 9, 20, 21),
        throttled=(6, 17),
    ),
    LaneScenario(
        TENCENT,
        lambda number: StopStreamIngest(sdk_app_id=1400000001, task_id=f"ingest-{number}"),
        count=40,
        ends=(4, 30),
        never_were=(7,),
        errors=0.1,
    ),
)


def quick(scenario: LaneScenario) -> LaneScenario:
    """Return a smaller scenario, for tests."""
    return replace(scenario, count=max(scenario.count // _QUICK, 4))


def set_up(simulator: SimulatorClient, lanes: Collection[LaneScenario]) -> None:
    """Start the tasks at the vendors, and have go wrong what is to go wrong."""
    for seed, scenario in enumerate(lanes):
        tasks = scenario.tasks()
        running = [task.command.operation for task in tasks if task.fate is Fate.RUNS]
        ending = [task.command.operation for task in tasks if task.fate is Fate.ENDS]
        simulator.start_tasks(scenario.account, running)
        simulator.start_tasks(scenario.account, ending, ends_after=timedelta(0))
        account, operation = scenario.account, scenario.operation.spec.id
        for number in scenario.throttled:
            task = scenario.stop(number).params
            simulator.add_fault(FaultKind.THROTTLE, account=account, operation=operation, task=task, retry_after=_HINT)
        if scenario.errors:
            simulator.add_fault(
                FaultKind.ERROR_500, account=account, operation=operation, probability=scenario.errors, seed=seed
            )
