"""Recorded rooms: the rooms and shutdowns of a :class:`~streamstop.testing.RecordingClient`.

They follow the rules of real rooms. A room has each task once, and one open shutdown. A task that is registered while
the room closes, or after it closed, is stopped as part of the shutdown.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from streamstop._core.commands import Command
from streamstop._core.membership import task_of
from streamstop._core.progress import LaneProgress, Progress, RoomView, ShutdownStatus
from streamstop.errors import InvalidCommand, quoted
from streamstop.outcomes import Outcome
from streamstop.testing.answers import cancelled_outcome

_T = TypeVar("_T")


@dataclass
class Member:
    """A stream task of a shutdown."""

    task: str
    command: Command
    job_id: str
    outcome: Outcome | None = None


@dataclass
class RecordedShutdown:
    """One bulk stop of a room: its options and its members."""

    room: str
    verify: bool
    callback: Mapping[str, Any] | None
    opened_at: datetime
    members: list[Member] = field(default_factory=list)
    cancelled: bool = False

    @property
    def status(self) -> ShutdownStatus:
        """The shutdown's state."""
        if any(member.outcome is None for member in self.members):
            return ShutdownStatus.OPEN
        if self.cancelled:
            return ShutdownStatus.CANCELLED
        needs_attention = any(outcome.result.needs_person for outcome in self.outcomes)
        return ShutdownStatus.NEEDS_ATTENTION if needs_attention else ShutdownStatus.DONE

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes of the stream tasks that have ended."""
        return [member.outcome for member in self.members if member.outcome is not None]

    def progress(self, shutdown_id: str) -> Progress:
        """Return the progress."""
        outcomes = self.outcomes
        ended = [outcome.ended_at for outcome in outcomes if outcome.ended_at is not None]
        return Progress(
            shutdown=shutdown_id,
            room=self.room,
            status=self.status,
            total=len(self.members),
            results=Counter(outcome.result for outcome in outcomes),
            lanes=self.lanes(),
            opened_at=self.opened_at,
            done_at=None if self.status is ShutdownStatus.OPEN else max(ended, default=self.opened_at),
        )

    def lanes(self) -> list[LaneProgress]:
        """Return the shutdown's share of each lane."""
        totals = Counter(member.command.lane for member in self.members)
        ended = Counter(member.command.lane for member in self.members if member.outcome is not None)
        limits = {member.command.lane: member.command.operation.spec.limit for member in self.members}
        return [
            LaneProgress(
                account=lane.account,
                operation=lane.operation,
                total=totals[lane],
                ended=ended[lane],
                pace=limits[lane],
                rests=0.0,
                backlog=totals[lane] - ended[lane],
            )
            for lane in sorted(totals)
        ]


@dataclass
class _Room:
    tasks: dict[str, Command] = field(default_factory=dict)
    shutdown: str | None = None


class RecordedRooms:
    """Rooms by name, shutdowns by id. The queue calls every method under its lock."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}
        self.shutdowns: dict[str, RecordedShutdown] = {}

    def registered(self) -> Iterator[tuple[str, Command]]:
        """Yield the registered stream tasks with their rooms."""
        for name, room in self._rooms.items():
            for command in room.tasks.values():
                yield name, command

    def register(self, name: str, commands: Sequence[Command]) -> str | None:
        """Register stream tasks; return the id of the shutdown that they joined, None in an open room."""
        room = self._rooms.setdefault(name, _Room())
        room.tasks.update((task_of(command), command) for command in commands)
        if room.shutdown is None or self.shutdowns[room.shutdown].cancelled:
            return None
        self._join(room.shutdown, commands)
        return room.shutdown

    def unregister(self, name: str, command: Command) -> bool:
        """Remove a stream task; return whether it was registered."""
        room = self._rooms.get(name)
        return room is not None and room.tasks.pop(task_of(command), None) is not None

    def view(self, name: str) -> RoomView:
        """Return the registered stream tasks, and the open or latest shutdown."""
        room = self._rooms.get(name, _Room())
        return RoomView(name, tuple(room.tasks.values()), room.shutdown)

    def accounts(self, name: str) -> frozenset[str]:
        """Return the accounts of the registered stream tasks."""
        return frozenset(command.account for command in self.view(name).tasks)

    def open(self, name: str, commands: Sequence[Command], *, verify: bool, callback: Mapping[str, Any] | None) -> str:
        """Open the room's shutdown, or join the open one; return its id."""
        room = self._rooms.setdefault(name, _Room())
        current = None if room.shutdown is None else self.shutdowns[room.shutdown]
        if room.shutdown is None or current is None or current.status is not ShutdownStatus.OPEN:
            room.shutdown = uuid4().hex
            self.shutdowns[room.shutdown] = RecordedShutdown(name, verify, callback, datetime.now(UTC))
            commands = [*room.tasks.values(), *commands]
        self._join(room.shutdown, commands)
        return room.shutdown

    def reopen(self, name: str) -> bool:
        """Let the room be used again after its shutdown; return False if the shutdown is still open."""
        room = self._rooms.setdefault(name, _Room())
        if room.shutdown is not None and self.shutdowns[room.shutdown].status is ShutdownStatus.OPEN:
            return False
        room.shutdown = None
        return True

    def accounts_of(self, shutdown_id: str) -> frozenset[str]:
        """Return the accounts of a shutdown's stream tasks, and of those that are registered while it is open."""
        shutdown = self.shutdowns.get(shutdown_id)
        if shutdown is None:
            return frozenset()
        registered = self.accounts(shutdown.room) if shutdown.status is ShutdownStatus.OPEN else frozenset[str]()
        return registered | {member.command.account for member in shutdown.members}

    def recent(self, most: int) -> list[str]:
        """Return the ids of shutdowns: the open ones, and then the ended ones, the latest first."""
        is_open = {one: shutdown.status is ShutdownStatus.OPEN for one, shutdown in self.shutdowns.items()}
        ended = [one for one in reversed(self.shutdowns) if not is_open[one]]
        return [*(one for one in self.shutdowns if is_open[one]), *ended][:most]

    def cancel(self, shutdown_id: str) -> bool:
        """Cancel the open stream tasks, which stay registered; return False if the shutdown is not open."""
        shutdown = self.shutdowns.get(shutdown_id)
        if shutdown is None or shutdown.status is not ShutdownStatus.OPEN:
            return False
        shutdown.cancelled = True
        for member in shutdown.members:
            if member.outcome is None:
                self.record_outcome(shutdown, member, cancelled_outcome(member.job_id, member.command.lane))
        return True

    def open_members(self) -> Iterator[tuple[RecordedShutdown, Member]]:
        """Yield the open stream tasks, with their shutdowns."""
        for shutdown in self.shutdowns.values():
            for member in shutdown.members:
                if member.outcome is None:
                    yield shutdown, member

    def record_outcome(self, shutdown: RecordedShutdown, member: Member, outcome: Outcome) -> None:
        """Record how a stream task ended. One that ended well leaves the registry."""
        member.outcome = outcome
        if outcome.ok:
            self._rooms[shutdown.room].tasks.pop(member.task, None)

    def _join(self, shutdown_id: str, commands: Sequence[Command]) -> None:
        shutdown = self.shutdowns[shutdown_id]
        open_tasks = {member.task for member in shutdown.members if member.outcome is None}
        for task, command in {task_of(command): command for command in commands}.items():
            if task not in open_tasks:
                shutdown.members.append(Member(task, command, command.lane.new_job_id()))


def page_of(items: Sequence[_T], cursor: str | None, most: int) -> tuple[tuple[_T, ...], str | None]:
    """Return a page of `items`, and the cursor of the next one; None after the last."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20):
        raise InvalidCommand(f"cursor {quoted(cursor)} must be the cursor of an earlier page", field="cursor")
    end = int(cursor or 0) + most
    return tuple(items[end - most : end]), str(end) if end < len(items) else None
