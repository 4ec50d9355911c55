"""Redis backend: the queue of a client in Redis."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any

from streamstop._core.backend import WaitInterval
from streamstop._core.commands import Command
from streamstop._core.constants import EVENTS
from streamstop._core.lane import Lane
from streamstop._core.lane_types import Queued
from streamstop._core.progress import OutcomePage, Progress, RoomPage, RoomView
from streamstop._core.requests import Request
from streamstop._core.sightings import JobView, Sighting, Wanted
from streamstop._core.unique import digest_of
from streamstop._redis.connections import Connections
from streamstop._redis.controls import ControlStore
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.finder import Finder
from streamstop._redis.fleet import RedisFleet
from streamstop._redis.journal import Journal
from streamstop._redis.lanes import Lanes
from streamstop._redis.pages import Pages
from streamstop._redis.requests import OneJob
from streamstop._redis.rooms import shutdown_channel
from streamstop._redis.waiting import changes, wait
from streamstop._tracing import Headers, sending
from streamstop._wire.messages import celery_message
from streamstop._wire.results import outcome_record, read_record
from streamstop.outcomes import Deferral, Outcome
from streamstop.settings import RedisSettings, RoomSettings


class RedisBackend:
    """See :class:`~streamstop._core.backend.Backend`."""

    def __init__(self, settings: RedisSettings, rooms: RoomSettings) -> None:
        self.connections = Connections(settings, rooms)

    def __repr__(self) -> str:
        return repr(self.connections.settings)

    @property
    def timeout(self) -> timedelta:
        """How long one call may wait for Redis."""
        return self.connections.settings.timeout

    @property
    def dead(self) -> DeadLetterStore:
        """The dead letters."""
        return self.connections.dead

    @property
    def lanes(self) -> Lanes:
        """The lanes."""
        return self.connections.lanes

    @property
    def controls(self) -> ControlStore:
        """Pauses, limits and holds."""
        return self.connections.controls

    @property
    def fleet(self) -> RedisFleet:
        """The workers."""
        return RedisFleet(self.connections)

    @property
    def journal(self) -> Journal:
        """The events, and the counts of vendors' errors."""
        return self.connections.journal

    def close(self) -> None:
        """Close the connections. The next use opens new ones."""
        self.connections.close()

    def reaching(self, consequence: str, *, commands: int = 0) -> AbstractContextManager[None]:
        """See :meth:`streamstop._redis.connections.Connections.reaching`."""
        return self.connections.reaching(consequence, commands=commands)

    def following(self, consequence: str) -> AbstractContextManager[None]:
        """See :meth:`streamstop._redis.connections.Connections.following`."""
        return self.connections.following(consequence)

    def now(self) -> datetime:
        """Return the current time by Redis' clock."""
        return self.connections.now()

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts of running workers: names to vendors."""
        return self.connections.known_accounts.vendors()

    def vendor_of(self, account: str) -> str | None:
        """See :meth:`streamstop._redis.accounts.KnownAccounts.vendor_of`."""
        return self.connections.known_accounts.vendor_of(account)

    def enqueue(self, jobs: Sequence[tuple[str, Command]], *, now: datetime, perhaps: str) -> None:
        """Put jobs into their lanes: all of them, or none."""
        with _sending(jobs) as headers:
            queued = [_queued(job_id, command, command.to_message(now=now), headers) for job_id, command in jobs]
            self.connections.publish(queued, [job_id for job_id, _ in jobs], perhaps=perhaps)

    def enqueue_once(
        self,
        jobs: Sequence[tuple[str, Command]],
        *,
        unique: bool,
        request: Request | None,
        now: datetime,
        perhaps: str,
    ) -> list[str]:
        """See :meth:`streamstop._redis.connections.Connections.publish_once`."""
        prepared = []
        with _sending(jobs) as headers:
            for job_id, command in jobs:
                argument, digest = command.to_message(now=now), digest_of(command) if unique else ""
                if unique:
                    argument["unique"] = digest
                expires_at = None if command.expires_in is None else (now + command.expires_in).timestamp()
                expires_at_us = None if expires_at is None else int(expires_at * 1_000_000)
                prepared.append(OneJob(job_id, _queued(job_id, command, argument, headers), digest, expires_at_us))
            accepted = self.connections.publish_once(prepared, request, perhaps=perhaps)
        if accepted.ids or request is None:
            return list(accepted.ids)
        return request.job_ids([command.lane for _, command in jobs], accepted.nonce)

    def look(self, job_id: str) -> JobView | None:
        """See :meth:`streamstop._redis.finder.Finder.look`."""
        return self._finder.look(job_id)

    def exists(self, job_id: str) -> bool:
        """See :meth:`streamstop._redis.finder.Finder.exists`."""
        return self._finder.exists(job_id)

    def find(self, wanted: Wanted) -> Iterator[Sighting | WaitInterval]:
        """See :meth:`streamstop._redis.finder.Finder.find`."""
        return self._finder.find(wanted)

    @property
    def _finder(self) -> Finder:
        return Finder(self.connections.redis, self.connections.lanes, self.connections.dead)

    def record(self, job_id: str) -> Outcome | Deferral | None:
        """Return a job's outcome, or why it waits for another call, or None."""
        record = self.connections.lanes.record_of(job_id)
        return None if record is None else read_record(record)

    def outcomes(self, job_ids: Sequence[str], timeout: timedelta | None) -> Iterator[Outcome | WaitInterval]:
        """Yield the outcomes of jobs as they end, through the client's subscribed connection."""
        return wait(self.connections.redis, self.connections.news, job_ids, timeout)

    def cancel(self, lane: Lane, outcome: Outcome) -> str:
        """See :meth:`streamstop._redis.lanes.Lanes.cancel`."""
        return self.connections.lanes.cancel(lane, outcome.job_id, record=outcome_record(outcome))

    def register(self, room: str, commands: Sequence[Command], *, now: datetime, again: str) -> str | None:
        """Register stream tasks, and wait for the replicas."""
        with self.connections.confirmed("the tasks were registered", again) as rooms:
            return rooms.register(room, commands, now=now)

    def unregister(self, room: str, commands: Sequence[Command]) -> int:
        """Remove stream tasks from a room; return how many were registered."""
        return self.connections.rooms.unregister(room, commands)

    def room(self, room: str) -> RoomView:
        """Return the current state of a room."""
        return self.connections.rooms.view(room)

    def room_page(self, room: str, cursor: str | None, most: int) -> RoomPage:
        """See :meth:`streamstop._redis.pages.Pages.room`."""
        return self._pages.room(room, cursor, most)

    def room_accounts(self, room: str) -> frozenset[str]:
        """See :meth:`streamstop._redis.pages.Pages.room_accounts`."""
        return self._pages.room_accounts(room)

    def stop_room(
        self,
        room: str,
        commands: Sequence[Command],
        *,
        now: datetime,
        verify: bool,
        callback: Mapping[str, Any] | None,
        again: str,
    ) -> str:
        """Open the room's shutdown, or join the open one, and wait for the replicas."""
        with (
            sending(["streamstop.shutdown"]) as traced,
            self.connections.confirmed("the room is closing", again) as rooms,
        ):
            return rooms.open(room, commands, now=now, verify=verify, callback=callback, traced=traced)

    def reopen_room(self, room: str) -> bool:
        """See :meth:`streamstop._redis.rooms.Rooms.reopen`."""
        return self.connections.rooms.reopen(room)

    def progress(self, shutdown: str) -> Progress | None:
        """Return the progress of a shutdown."""
        return self.connections.rooms.shutdowns.progress(shutdown)

    def changes(self, shutdown: str, timeout: timedelta | None) -> Iterator[WaitInterval | None]:
        """Yield at once, and after each change of a shutdown, at most ten times a second."""
        return changes(self.connections.news, shutdown_channel(shutdown), timeout)

    def new_events(self, timeout: timedelta | None) -> Iterator[WaitInterval | None]:
        """Yield at once, and after new events, at most ten times a second."""
        return changes(self.connections.news, EVENTS, timeout)

    def outcomes_of(self, shutdown: str) -> Iterator[Outcome]:
        """Yield the outcomes of a shutdown's stream tasks, read page by page."""
        return self.connections.rooms.shutdowns.outcomes(shutdown)

    def accounts_of(self, shutdown: str) -> frozenset[str]:
        """See :meth:`streamstop._redis.pages.Pages.shutdown_accounts`."""
        return self._pages.shutdown_accounts(shutdown)

    def outcome_page(self, shutdown: str, cursor: str | None, most: int, *, attention: bool) -> OutcomePage:
        """See :meth:`streamstop._redis.pages.Pages.outcomes`."""
        return self._pages.outcomes(shutdown, cursor, most, attention=attention)

    @property
    def _pages(self) -> Pages:
        return Pages(self.connections.redis, self.connections.rooms)

    def recent_shutdowns(self, most: int) -> Sequence[str]:
        """See :meth:`streamstop._redis.shutdown_views.ShutdownViews.recent`."""
        return self.connections.rooms.shutdowns.recent(most)

    def count_open_shutdowns(self) -> int:
        """Return how many shutdowns are open."""
        return self.connections.rooms.shutdowns.count_open()

    def cancel_shutdown(self, shutdown: str) -> bool:
        """See :meth:`streamstop._redis.rooms.Rooms.cancel`."""
        return self.connections.rooms.cancel(shutdown)


@contextmanager
def _sending(jobs: Sequence[tuple[str, Command]]) -> Iterator[Headers]:
    """Trace what the block sends. Give the headers of its messages: the jobs of a batch have traces of their own."""
    only_id = jobs[0][0] if len(jobs) == 1 else None
    with sending([command.lane.queue for _, command in jobs], only_id) as traced:
        yield traced.headers if only_id else traced.links


def _queued(job_id: str, command: Command, argument: Mapping[str, Any], headers: Headers) -> Queued:
    message = celery_message(job_id, command.lane, argument, priority=command.priority, headers=headers)
    return Queued(command.lane, command.priority, message)
