"""The load of a run: commands and rooms that the seed determines. Each command has a stream task of its own."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from streamstop import Command
from streamstop._core.lane import Lane
from streamstop._redis.publishing import AT_ONCE
from streamstop.operations import (
    DeleteCloudRecording,
    DescribeStreamIngest,
    GetMPUTaskStatus,
    Operation,
    RtcStopMPUTask,
    StopEdgeTranscodeJob,
    StopLivePullToPush,
    StopMPUTask,
    StopStreamIngest,
)
from streamstop_worker.accounts import Account

#: Every log and Redis are searched for their secrets.
ACCOUNTS = (
    Account("live-a", "aliyun", "key-id-of-live-a", "0f5e-secret-of-live-a-93c1", "77ab-token-of-live-a-1d20"),
    Account("live-b", "aliyun", "key-id-of-live-b", "5b1c-secret-of-live-b-e8f4", signature="v1"),
    Account("trtc-a", "tencent", "key-id-of-trtc-a", "c94d-secret-of-trtc-a-7a06", region="ap-singapore"),
)
#: The limit of every lane in calls per second, for workers and vendors.
LIMIT = 30.0
_LIVE_A, _LIVE_B, _TRTC = (account.name for account in ACCOUNTS)


def _stop_mpu(name: str) -> Operation:
    return StopMPUTask(app_id="app", task_id=name)


def _mpu_status(name: str) -> Operation:
    return GetMPUTaskStatus(app_id="app", task_id=name)


def _stop_pull(name: str) -> Operation:
    return StopLivePullToPush(region="cn-shanghai", task_id=name)


def _stop_transcode(name: str) -> Operation:
    return StopEdgeTranscodeJob(cluster_id="cluster", job_id=name)


def _stop_rtc(name: str) -> Operation:
    return RtcStopMPUTask(app_id="app", task_id=name)


def _stop_ingest(name: str) -> Operation:
    return StopStreamIngest(sdk_app_id=1400000000, task_id=name)


def _ingest_status(name: str) -> Operation:
    return DescribeStreamIngest(sdk_app_id=1400000000, task_id=name)


def _delete_recording(name: str) -> Operation:
    return DeleteCloudRecording(sdk_app_id=1400000000, task_id=name)


#: The operations of single commands.
SINGLES = (
    (_LIVE_A, _stop_mpu),
    (_LIVE_A, _mpu_status),
    (_LIVE_A, _stop_pull),
    (_LIVE_B, _stop_transcode),
    (_LIVE_B, _stop_rtc),
    (_TRTC, _stop_ingest),
    (_TRTC, _ingest_status),
    (_TRTC, _delete_recording),
)
#: The operations of rooms. Each has a status operation.
ROOMED = ((_LIVE_A, _stop_mpu), (_LIVE_B, _stop_rtc), (_TRTC, _stop_ingest))


def lanes() -> list[Lane]:
    """Return every lane that single commands go through."""
    return [Lane(account, make("name").spec.id) for account, make in SINGLES]


def limits() -> dict[str, float]:
    """Return the limits of every operation that a run calls."""
    own = [make("name").spec for _account, make in (*SINGLES, *ROOMED)]
    return {name: LIMIT for spec in own for name in (spec.id, spec.status_twin) if name is not None}


def name_of(params: Mapping[str, Any]) -> str:
    """Return a task's name from the parameters of a command or a call, under the vendor's names."""
    return str(params.get("TaskId") or params.get("JobId"))


@dataclass(frozen=True)
class Batch:
    """Commands that are enqueued together."""

    at: float
    commands: tuple[Command, ...]
    #: Whether its producer dies once Redis has accepted it, so that workers move it into the lanes.
    left: bool = False


@dataclass(frozen=True)
class Room:
    """A room, and when it is shut down."""

    name: str
    at: float
    verify: bool
    registered: tuple[Command, ...]
    #: The commands that are passed to ``stop_room``.
    passed: tuple[Command, ...]
    #: What is registered while the room closes, with the moment.
    late: tuple[tuple[float, Command], ...]

    @property
    def commands(self) -> list[Command]:
        """Return all commands of the room."""
        return [*self.registered, *self.passed, *(command for _at, command in self.late)]


@dataclass(frozen=True)
class Load:
    """Everything that the producers of a run enqueue."""

    batches: tuple[Batch, ...]
    rooms: tuple[Room, ...]

    def commands(self) -> Iterator[Command]:
        """Yield every command, those of rooms included."""
        for batch in self.batches:
            yield from batch.commands
        for room in self.rooms:
            yield from room.commands


def load(seed: int, seconds: float, *, per_second: float, rooms: int) -> Load:
    """Return the load of a run of `seconds`."""
    chance = random.Random(f"load {seed}")
    batches, at, number = [], 0.0, 0
    while at < seconds:
        size = max(1, round(chance.expovariate(1 / 15)))
        commands = tuple(_single(chance, f"s{number + n}") for n in range(size))
        batches.append(Batch(round(at, 3), commands))
        number += size
        at += size / per_second
    # Too many for one script: they are staged, accepted and then moved into their lanes.
    for big in range(2 * max(1, round(seconds / 60))):
        size = chance.randint(AT_ONCE + 1, 2 * AT_ONCE)
        commands = tuple(_single(chance, f"b{big}-{n}") for n in range(size))
        batches.append(Batch(round(chance.uniform(1, seconds * 0.9), 3), commands, left=big % 2 == 0))
    batches.sort(key=lambda batch: batch.at)
    return Load(tuple(batches), tuple(_room(chance, n, seconds * (n + 0.3) / rooms) for n in range(rooms)))


def _single(chance: random.Random, name: str) -> Command:
    account, make = chance.choice(SINGLES)
    expires = timedelta(days=2) if chance.random() < 0.1 else None
    return Command(operation=make(name), account=account, priority=chance.choice((0, 0, 3, 6, 9)), expires_in=expires)


def _room(chance: random.Random, number: int, at: float) -> Room:
    name = f"room-{number}"
    size = chance.randint(60, 320)  # so many that their registration takes more than one script
    commands = [_roomed(chance, f"r{number}-{n}") for n in range(size)]
    cut = len(commands) * 3 // 4
    late = sorted(round(at + chance.uniform(0.0, 4.0), 3) for _ in range(chance.randint(5, 15)))
    return Room(
        name,
        round(at, 3),
        verify=number % 2 == 1,
        registered=tuple(commands[:cut]),
        passed=tuple(commands[cut:]),
        late=tuple((moment, _roomed(chance, f"r{number}-late{n}")) for n, moment in enumerate(late)),
    )


def _roomed(chance: random.Random, name: str) -> Command:
    account, make = chance.choice(ROOMED)
    return Command(operation=make(name), account=account)


def starts(commands: Sequence[Command]) -> dict[str, list[Operation]]:
    """Return the tasks that must run at the vendors before `commands` come: operations by account."""
    by_account: dict[str, list[Operation]] = {}
    for command in commands:
        by_account.setdefault(command.account, []).append(command.operation)
    return by_account
