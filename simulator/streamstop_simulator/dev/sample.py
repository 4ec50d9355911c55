"""The sample: stream tasks at the simulated vendors, and rooms in Redis that some of them are registered in."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from streamstop import Client, Command
from streamstop.operations import StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_simulator import DEFAULT_ACCOUNTS, SimulatorClient

#: The room that is being stopped when the sample is ready.
SLOW_ROOM = "room-slow"
SLOW_ROOM_TASKS = 240
#: The rooms whose tasks keep running, and the number of tasks in each.
ROOMS = tuple(f"room-{number}" for number in range(1, 6))
TASKS_PER_ROOM = 12
#: The tasks that are in no room.
SINGLE_TASKS = 20
TASKS = SLOW_ROOM_TASKS + len(ROOMS) * TASKS_PER_ROOM + SINGLE_TASKS

_SLOW, _OTHER, _TENCENT = DEFAULT_ACCOUNTS
#: The first account's limit makes the shutdown of the slow room take two minutes.
ACCOUNTS = (replace(_SLOW, limits={"live.StopMPUTask": 2}), _OTHER, _TENCENT)
SINGLES_ACCOUNT = _OTHER.name
REGION = "cn-shanghai"
_DEAD_LETTER_WITHIN = timedelta(seconds=30)


def create(simulator: SimulatorClient, client: Client) -> None:
    """Start all tasks, register the rooms, begin to stop the slow room, and make one dead letter.

    Raises :class:`~streamstop.errors.StreamstopError`, :class:`~streamstop_simulator.client.ControlError` and
    :class:`OSError`.
    """
    simulator.add_accounts(ACCOUNTS)
    singles = [StopLivePullToPush(region=REGION, task_id=f"pulled-{number}") for number in range(1, SINGLE_TASKS + 1)]
    simulator.start_tasks(SINGLES_ACCOUNT, singles)
    for room, commands in _rooms():
        for account in ACCOUNTS:
            simulator.start_tasks(
                account.name, [command.operation for command in commands if command.account == account.name]
            )
        client.register_many(room, commands)
    client.stop_room(SLOW_ROOM)
    never_started = StopStreamIngest(sdk_app_id=1400000001, task_id="never-started")
    client.enqueue(never_started, account=_TENCENT.name).outcome(_DEAD_LETTER_WITHIN)


def _rooms() -> Iterator[tuple[str, list[Command]]]:
    yield SLOW_ROOM, [_relay(_SLOW.name, f"slow-{number}") for number in range(SLOW_ROOM_TASKS)]
    for room in ROOMS:
        half = range(TASKS_PER_ROOM // 2)
        relays = [_relay(_OTHER.name, f"{room}-relay-{number}") for number in half]
        yield room, relays + [_ingest(f"{room}-ingest-{number}") for number in half]


def _relay(account: str, task_id: str) -> Command:
    return Command(operation=StopMPUTask(app_id="dev-app", task_id=task_id), account=account)


def _ingest(task_id: str) -> Command:
    return Command(operation=StopStreamIngest(sdk_app_id=1400000001, task_id=task_id), account=_TENCENT.name)
