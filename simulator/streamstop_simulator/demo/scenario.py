"""The scenario: the stream tasks at each account, the faults, and the expected result of each stop.

The evaluation at the end of the demo compares what happened with this scenario.
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
#: The room of all tasks, and how many tasks of each lane are registered after its shutdown began.
ROOM = "demo-room"
LATE = 3
#: `quick` divides the number of tasks by this.
_QUICK = 4
#: The vendor's hint, in a throttled answer, when to try again.
_HINT = timedelta(seconds=2)


class Fate(Enum):
    """What a stream task does before it is stopped."""

    RUNS = "runs"
    ENDS = "ends"
    """It ends by itself before the stop comes."""
    NEVER_WAS = "never was"
    """The task does not exist: the producer has a wrong id."""


@dataclass(frozen=True)
class StreamTask:
    """A stream task: the command that stops it, and the expected result."""

    command: Command
    fate: Fate
    expected: Result


@dataclass(frozen=True)
class LaneScenario:
    """The scenario of one lane. Tasks are numbered from 0."""

    account: str
    stop: Callable[[int], Operation]
    count: int
    #: The result of stopping a task that has ended by itself.
    of_ended: Result = Result.ALREADY_STOPPED
    ends: Collection[int] = ()
    never_were: Collection[int] = ()
    #: The share of calls that get a 500.
    errors: float = 0.0
    #: The first call for each of these tasks is throttled.
    throttled: Collection[int] = ()

    @property
    def operation(self) -> type[Operation]:
        """The operation that stops the lane's tasks."""
        return type(self.stop(0))

    @property
    def lane(self) -> Lane:
        """The lane of these tasks."""
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
    """Return a smaller scenario."""
    return replace(scenario, count=max(scenario.count // _QUICK, 4))


def set_up(simulator: SimulatorClient, lanes: Collection[LaneScenario]) -> None:
    """Start the tasks and set up the faults in the simulator."""
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
