"""Rooms: the typed wrapper of the rooms' scripts. No other module calls them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import ResponseError

from streamstop._core.commands import Command, ReceivedCommand
from streamstop._core.constants import CALLBACKS_LANE, CONTROL_LANE, ROOM, SHUTDOWN, STAGED
from streamstop._core.lane import Lane
from streamstop._core.lane_types import MemberResult, Queued
from streamstop._core.membership import task_of
from streamstop._core.pace import Pace
from streamstop._core.progress import RoomView
from streamstop._redis.errors import ERRORS, StagingLost, is_forbidden
from streamstop._redis.lanes import Lanes
from streamstop._redis.scripts import Script, load
from streamstop._redis.shutdown_views import ShutdownViews
from streamstop._redis.staging import STAGING_LOST, pieces, stage_pairs
from streamstop._tracing import Headers, Sending
from streamstop._wire.messages import celery_message
from streamstop.settings import RoomSettings

CONTROL = Lane.from_name(CONTROL_LANE)
CALLBACKS = Lane.from_name(CALLBACKS_LANE)
#: Control jobs call no vendor. A few shutdowns are fanned out at the same time.
CONTROL_PACE = Pace(interval_us=1000, window=4)
#: How many tasks one script takes. More are staged as a batch.
AT_ONCE = 200
#: How many tasks of a batch one script applies.
PIECE = 100
#: How many fields one command reads from a hash.
_PAGE = 250
_DEFAULTS = RoomSettings()
_UNTRACED = Sending()


@dataclass(frozen=True)
class Entry:
    """The job of a shutdown's stream task, to be put into its lane."""

    member: str
    #: The command's JSON data, as the registry stores it.
    command: str
    job_id: str
    queued: Queued


class Rooms:
    """Every room and shutdown of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis, lanes: Lanes, settings: RoomSettings = _DEFAULTS) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self.shutdowns = ShutdownViews(redis, lanes)
        self._kept_s = int(settings.kept.total_seconds())
        self._closed_for_s = int(settings.closed_for.total_seconds())

    def register(self, room: str, commands: Iterable[Command], *, now: datetime) -> str | None:
        """Register stream tasks; return the id of the shutdown that they joined, None in an open room."""
        fan_out = _step("fan_out", "@shutdown@")
        joined = self._run("register", room, _pairs(commands, now), ttl=self._kept_s, fan_out=fan_out)
        return joined.decode() or None

    def unregister(self, room: str, commands: Iterable[Command]) -> int:
        """Remove stream tasks; return how many were registered."""
        tasks = [task_of(command) for command in commands]
        return sum(int(self._run("unregister", room, tasks=piece)) for piece in pieces(tasks, AT_ONCE))

    def view(self, room: str) -> RoomView:
        """Return the registered stream tasks of a room, and its open or latest shutdown."""
        shutdown = self.shutdown_of(room)
        registered: dict[str, str] = {}
        cursor: int | None = None
        while cursor != 0:
            cursor, tasks = self.scan(room, cursor or 0, _PAGE)
            registered.update(tasks)  # a page may repeat entries of an earlier one
        return RoomView(room, tuple(map(stop_of, registered.values())), shutdown)

    def shutdown_of(self, room: str) -> str | None:
        """Return the id of a room's open or latest shutdown, after the room's pending batch is applied."""
        while True:
            shutdown, pending = self._redis.hmget(f"{ROOM}{room}:state", "shutdown", "batch")
            if pending is None or not self._apply_if_allowed(room):
                return None if shutdown is None else str(shutdown.decode())

    def open(
        self,
        room: str,
        commands: Iterable[Command],
        *,
        now: datetime,
        verify: bool,
        callback: Mapping[str, Any] | None,
        traced: Sending = _UNTRACED,
    ) -> str:
        """Open a room's shutdown, or join the open one with `commands`; return its id."""
        headers, message = traced.headers, ""
        if callback is not None:
            message = _step("callback", "@shutdown@", job="callback-@call@", headers=headers, to=callback)
        shutdown = self._run(
            "open",
            room,
            _pairs(commands, now),
            ttl=self._kept_s,
            id=uuid4().hex,
            verify=verify,
            callback=message,
            closed_for=self._closed_for_s,
            fan_out=_step("fan_out", "@shutdown@", headers=headers),
            trace=json.dumps(traced.links) if traced.links else "",
        )
        return str(shutdown.decode())

    def reopen(self, room: str) -> bool:
        """Let the room be used again after its shutdown; return False if the shutdown is still open."""
        return bool(self._run("reopen", room))

    def cancel(self, shutdown: str) -> bool:
        """Begin to cancel the jobs that no worker has claimed; return False if the shutdown is not open."""
        return bool(self._scripts["cancel"](id=shutdown, message=_step("cancel", shutdown)))

    def apply(self, room: str) -> None:
        """Apply the room's accepted batch completely, if it has one."""
        for _ in self.applying(room):
            pass

    def _apply_if_allowed(self, room: str) -> bool:
        """Apply the room's batch; return False if this user may only look. Whoever may change the room applies it."""
        try:
            self.apply(room)
        except ERRORS as error:
            if not is_forbidden(error):
                raise
            return False
        return True

    def applying(self, room: str) -> Iterator[int]:
        """Apply the room's accepted batch, if it has one; yield after each piece but the last.

        The batch's producer calls this. If the producer was killed, the next operation on the room does, or the worker
        that fans out.
        """
        while self._scripts["apply"](room=room, most=PIECE):
            yield PIECE

    def server(self) -> str:
        """Return the run id of the server, or an empty text if Redis does not return it.

        The cursor of a scan is valid only for the run of the server that returned it.
        """
        try:
            return str(self._redis.info("server").get("run_id", ""))
        except ResponseError:
            return ""

    def scan(self, room: str, cursor: int, most: int) -> tuple[int, list[tuple[str, str]]]:
        """Return the next cursor (0 after the last page) and a page of the registry: tasks and commands."""
        after, page = self._redis.hscan(f"{ROOM}{room}:tasks", cursor, count=most)
        return after, [(task.decode(), command.decode()) for task, command in page.items()]

    def push(self, shutdown: str, entries: Sequence[Entry], *, passed: int = 0) -> bool:
        """Put jobs into their lanes, each once; return False if the shutdown was cancelled and no job was put.

        `passed` is how many members the caller has skipped because they have their jobs already.
        """
        fields = [
            {
                "member": entry.member,
                "command": entry.command,
                "lane": entry.queued.lane.name,
                "list": entry.queued.list,
                "job_id": entry.job_id,
                "message": entry.queued.message,
            }
            for entry in entries
        ]
        return bool(self._scripts["push"](id=shutdown, passed=passed, entries=fields))

    def scanned(self, shutdown: str) -> None:
        """Record that every registered stream task has its job in a lane."""
        self._scripts["scanned"](id=shutdown)

    def record_member_result(self, lane: Lane, member_result: MemberResult) -> None:
        """Record the result of a stream task whose job ended elsewhere, or that never had a job."""
        self.record_member_results([(lane, member_result)])

    def record_member_results(self, results: Sequence[tuple[Lane, MemberResult]]) -> None:
        """Record several results. A hundred take a few milliseconds of Redis' time."""
        self._scripts["record_results"](member_results=[{"lane": lane.name, **one.fields} for lane, one in results])

    def _run(self, script: str, room: str, pairs: Sequence[str] | None = None, **arguments: Any) -> Any:
        """Run a script on a room, after its pending batch; return the script's reply.

        `pairs` are tasks and commands for the script. If they are too many for one run, they are staged as a batch that
        the script accepts.
        """
        batch = ""
        if pairs is not None:
            entries = [dict(zip(("task", "command"), pair.split("\n", 1), strict=True)) for pair in pairs]
            if len(pairs) > AT_ONCE:
                batch, entries = stage_pairs(self._redis, pairs), []
            arguments |= {"batch": batch, "staged": len(pairs), "entries": entries}
        while (reply := self._scripts[script](room=room, **arguments))[0] == b"pending":
            self.apply(room)
        if reply[0] == b"lost":
            raise StagingLost(STAGING_LOST)
        if batch:
            with suppress(*ERRORS):  # the batch is accepted: the next operation on the room applies it
                self.apply(room)
        return reply[1]

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        # A Redis user who may not enqueue cannot use this key: Redis refuses the script before it begins.
        return load(self._redis, "room", keys=[STAGED])


def stop_of(command: str) -> Command:
    """Return the stop of a registered stream task, from its JSON data in the registry."""
    received = ReceivedCommand.from_message(json.loads(command))
    return Command(operation=received.operation, account=received.account)


def shutdown_channel(shutdown: str) -> str:
    """Return the channel on which every change of a shutdown is published."""
    return f"{SHUTDOWN}{shutdown}"


def _pairs(commands: Iterable[Command], now: datetime) -> list[str]:
    """Return each command as ``<task>``, a newline, and the command's JSON data. Neither part contains a newline."""
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    return [f"{task_of(command)}\n{encode(command.to_message(now=now))}" for command in commands]


def _step(
    step: str, shutdown: str, *, job: str | None = None, headers: Headers = _UNTRACED.headers, **details: Any
) -> str:
    """Return the message of a control job, or of a callback's."""
    lane = CALLBACKS if step == "callback" else CONTROL
    job_id = f"{lane.name}.{step}-{shutdown}-{job or uuid4().hex}"
    return celery_message(job_id, lane, {"step": step, "shutdown": shutdown, **details}, headers=headers)
