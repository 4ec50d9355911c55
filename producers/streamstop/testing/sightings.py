"""Recorded sightings: what a search of a :class:`~streamstop.testing.RecordingClient` finds."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from streamstop._core.answers import with_last
from streamstop._core.commands import Command
from streamstop._core.sightings import JobView, Sighting, Wanted, Where
from streamstop.outcomes import Outcome
from streamstop.testing.rooms import RecordedRooms


def find_recorded(
    wanted: Wanted,
    jobs: Iterable[tuple[str, Command]],
    outcomes: Mapping[str, Outcome],
    dead: Collection[str],
    rooms: RecordedRooms,
) -> Iterator[Sighting]:
    """Yield the jobs of a stream task, the members of shutdowns among them, and the task's registrations in rooms."""
    places: dict[str, int] = {}
    for job_id, command in jobs:
        outcome = outcomes.get(job_id)
        if outcome is None:
            places[command.lane.name] = places.get(command.lane.name, 0) + 1
        if wanted.fits(command.lane, command.operation.params):
            yield _sighting(job_id, command, outcome, dead, place=places.get(command.lane.name))
    for shutdown_id, shutdown in rooms.shutdowns.items():
        for member in shutdown.members:
            if wanted.fits(member.command.lane, member.command.operation.params):
                yield _sighting(member.job_id, member.command, member.outcome, dead, shutdown=shutdown_id)
    for room, command in rooms.registered():
        if wanted.fits(command.lane, command.operation.params):
            yield Sighting(
                where=Where.REGISTERED,
                account=command.account,
                operation=command.operation.spec.id,
                params=command.operation.params,
                room=room,
            )


def look_at_recorded(
    job_id: str,
    commands: Mapping[str, tuple[Command, datetime]],
    outcomes: Mapping[str, Outcome],
    dead: Collection[str],
    rooms: RecordedRooms,
) -> JobView | None:
    """Return a job, or that of a member of a shutdown; None if there is none. Every open job waits."""
    if job_id in commands:
        command, enqueued_at = commands[job_id]
        return _view(job_id, command, enqueued_at, outcomes.get(job_id), dead)
    for shutdown_id, shutdown in rooms.shutdowns.items():
        for member in shutdown.members:
            if member.job_id == job_id:
                view = _view(job_id, member.command, shutdown.opened_at, member.outcome, dead)
                return view.model_copy(update={"shutdown": shutdown_id, "room": shutdown.room})
    return None


def _view(
    job_id: str, command: Command, enqueued_at: datetime, outcome: Outcome | None, dead: Collection[str]
) -> JobView:
    return JobView(
        id=job_id,
        where=Where.WAITING if outcome is None else Where.DEAD if job_id in dead else Where.ENDED,
        account=command.account,
        operation=command.operation.spec.id,
        params=command.operation.params,
        enqueued_at=enqueued_at,
        expires_at=command.expires_in and enqueued_at + command.expires_in,
        attempts=0 if outcome is None else outcome.attempts,
        calls=0 if outcome is None else outcome.calls,
        answers=with_last((), outcome),
        outcome=outcome,
    )


def _sighting(
    job_id: str,
    command: Command,
    outcome: Outcome | None,
    dead: Collection[str],
    *,
    place: int | None = None,
    shutdown: str | None = None,
) -> Sighting:
    where = Where.WAITING if outcome is None else Where.DEAD if job_id in dead else Where.ENDED
    return Sighting(
        where=where,
        account=command.account,
        operation=command.operation.spec.id,
        params=command.operation.params,
        job_id=job_id,
        result=None if outcome is None else outcome.result,
        at=None if outcome is None else outcome.ended_at,
        place=place if outcome is None else None,
        shutdown=shutdown,
    )
