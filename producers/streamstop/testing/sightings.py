"""Recorded sightings: what a search of a :class:`~streamstop.testing.RecordingClient` finds."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from streamstop._core.commands import Command
from streamstop._core.sightings import Sighting, Wanted, Where
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
