"""The producers of a run: they enqueue the load, and note what was accepted."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar
from unittest import mock

from streamstop import Client, Command, QueueUnavailable, Shutdown
from streamstop._redis.publishing import Publisher
from tests.torture.load import Load, Room

_T = TypeVar("_T")


@dataclass(frozen=True)
class Accepted:
    """A command that was accepted, and the moment, in seconds since the epoch."""

    command: Command
    answered: float


@dataclass(frozen=True)
class Unsure:
    """A batch whose enqueueing raised an error. All of it is in the queue, or nothing."""

    commands: tuple[Command, ...]


@dataclass(frozen=True)
class LateStart:
    """A task that was registered after its room was shut down, and joined no shutdown. Seconds since the epoch."""

    room: str
    command: Command
    #: The moments before the call of ``stop_room`` and after its return.
    closing: float
    closed: float
    #: The moment after the return of ``register``.
    answered: float


@dataclass
class Producer:
    """Enqueues from two threads: single commands, and rooms."""

    client: Client
    load: Load
    #: By the job's id.
    accepted: dict[str, Accepted] = field(default_factory=dict)
    uncertain: list[Unsure] = field(default_factory=list)
    #: By the room's name: the commands that certainly belong to one of its shutdowns.
    shut_down: dict[str, list[Command]] = field(default_factory=dict)
    #: Tasks that started late and were not stopped.
    unjoined: list[LateStart] = field(default_factory=list)
    #: How often Redis did not answer.
    unanswered: int = 0
    #: Errors that no fault explains.
    problems: list[str] = field(default_factory=list)
    #: By the room's name: the moments before the call of ``stop_room`` and after its return.
    _closed: dict[str, tuple[float, float]] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, began: float) -> None:
        """Start. The load's moments count from `began` by the monotonic clock."""
        for target in (self._enqueue, self._close_rooms):
            thread = threading.Thread(target=self._guarded, args=(target, began), name=target.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        """Wait until everything was enqueued."""
        for thread in self._threads:
            thread.join()

    def _guarded(self, target: Callable[[float], None], began: float) -> None:
        try:
            target(began)
        except Exception as error:  # noqa: BLE001  # the thread's end would hide it
            self.problems.append(f"a producer met {type(error).__name__}: {error}")

    def _enqueue(self, began: float) -> None:
        for batch in self.load.batches:
            _sleep_until(began + batch.at)
            try:
                with _gone_once_accepted() if batch.left else nullcontext():
                    jobs = self.client.enqueue_many(batch.commands)
            except QueueUnavailable:
                self.unanswered += 1
                self.uncertain.append(Unsure(batch.commands))
                continue
            answered = time.time()
            for job, command in zip(jobs, batch.commands, strict=True):
                self.accepted[job.id] = Accepted(command, answered)

    def _close_rooms(self, began: float) -> None:
        steps: list[tuple[float, Callable[[], None]]] = []
        for room in self.load.rooms:
            steps.append((room.at - 1, lambda room=room: self._register(room)))  # type: ignore[misc]
            steps.append((room.at, lambda room=room: self._stop(room)))  # type: ignore[misc]
            for at, command in room.late:
                steps.append((at, lambda room=room, command=command: self._start_late(room, command)))  # type: ignore[misc]
        for at, step in sorted(steps, key=lambda step: step[0]):
            _sleep_until(began + at)
            step()

    def _register(self, room: Room) -> None:
        self._insist(lambda: self.client.register_many(room.name, room.registered))

    def _stop(self, room: Room) -> None:
        closing = time.time()
        self._insist(lambda: self.client.stop_room(room.name, room.passed, verify=room.verify))
        self._closed[room.name] = (closing, time.time())
        self.shut_down[room.name] = [*room.registered, *room.passed]

    def _start_late(self, room: Room, command: Command) -> None:
        joined: Shutdown | None = self._insist(
            lambda: self.client.register(room.name, command.operation, account=command.account)
        )
        if joined is not None:
            self.shut_down[room.name].append(command)
        else:
            self.unjoined.append(LateStart(room.name, command, *self._closed[room.name], time.time()))

    def _insist(self, call: Callable[[], _T]) -> _T:
        """Repeat the call until Redis answers, as the error's text recommends."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return call()
            except QueueUnavailable:
                self.unanswered += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


@contextmanager
def _gone_once_accepted() -> Iterator[None]:
    """Do not move accepted batches into the lanes, as if the producer was killed when Redis had accepted the batch."""
    with mock.patch.object(Publisher, "spread", return_value=None):
        yield


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
