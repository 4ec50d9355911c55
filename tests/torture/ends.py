"""How jobs may end under faults: results, called jobs without an outcome, dead letters, late starts."""

from collections.abc import Iterator, Mapping, Sequence

from streamstop import Outcome, Result
from streamstop._redis.schedule import MOST_LOST_DELIVERIES
from streamstop.operations import OPERATIONS
from streamstop.operations import Kind as OperationKind
from streamstop_simulator import Call, TaskState
from streamstop_worker.pipeline.backoff import Backoff
from tests.torture.causes import Causes, Made, Notes
from tests.torture.evidence import Evidence
from tests.torture.load import name_of
from tests.torture.producer import LateStart, Unsure
from tests.torture.schedule import Kind

#: Account, operation and the task's name. A call and its job have the same.
Key = tuple[str, str, str]
_NEVER = {Result.CANCELLED, Result.EXPIRED, Result.UNVERIFIABLE}
#: The simulator's fault whose answer is a readable ``InternalError`` of the vendor.
_INTERNAL_ERROR = "500"
#: Faults of an answer that the worker counts as no attempt, or not as a fault.
_HARMLESS = {None, "throttle", "latency"}
#: How long a room stays closed after its shutdown, by Redis' clock.
_ROOM_REOPENS_S = 600.0


class Ends:
    """Compares how a run's jobs ended with what its faults allow."""

    def __init__(
        self,
        evidence: Evidence,
        notes: Notes,
        causes: Causes,
        *,
        jobs: Mapping[Key, Sequence[str]],
        calls: Mapping[Key, Sequence[Call]],
        made: Mapping[str, Sequence[Made]],
    ) -> None:
        self._evidence = evidence
        self._notes = notes
        self._causes = causes
        self._jobs = jobs
        self._calls = calls
        self._made = made
        self._states = {(task.account, name_of(task.params)): task.state for task in evidence.tasks}

    def wrong_results(self) -> Iterator[str]:
        """Yield the outcomes that no fault of the run explains."""
        judged = {(one.job_id, one.result): one for one in self._evidence.held.values()}
        for shutdown in self._evidence.shutdowns:
            judged |= {(one.job_id, one.result): one for one in shutdown.outcomes.values()}
        for outcome in judged.values():
            if not self._allowed(outcome):
                reason = f" ({outcome.code}: {outcome.message})" if outcome.code or outcome.message else ""
                yield f"{outcome.job_id} ended {outcome.result} after {outcome.attempts} attempts{reason}"

    def _allowed(self, outcome: Outcome) -> bool:
        match outcome.result:
            case Result.GAVE_UP:
                return self._may_give_up(outcome)
            case Result.NOT_FOUND:
                return self._may_be_unknown(outcome)
            case Result.REFUSED:  # no command of a run is wrong, so only a revoked key can cause this
                return any(not one.call.authenticated for one in self._made.get(outcome.job_id, ()))
            case Result.NOT_VERIFIED:  # the simulator stops a task at once, so only a failed query can cause this
                return any(
                    one.result in {Result.GAVE_UP, Result.REFUSED}
                    and not _stops(one)
                    and _task_of(one) == _task_of(outcome)
                    for one in self._evidence.held.values()
                )
            case _:
                return outcome.result not in _NEVER

    def _may_give_up(self, outcome: Outcome) -> bool:
        job, most = outcome.job_id, Backoff().attempts
        if outcome.code is None and outcome.attempts < most:  # no vendor answered: its workers died
            accepted, seen = self._evidence.accepted.get(job), self._evidence.seen.get(job)
            since = accepted.answered if accepted else 0.0
            return self._causes.lost_leases(since, seen[0].at if seen else float("inf")) >= MOST_LOST_DELIVERIES
        spoiled = sum(one.met is None and one.call.fault not in _HARMLESS for one in self._made.get(job, ()))
        return spoiled + self._notes.lost_answers(job) >= most

    def _may_be_unknown(self, outcome: Outcome) -> bool:
        state = self._states.get(_task_of(outcome))
        if state is None:
            return True  # it was never started
        if not _stops(outcome):
            return state is TaskState.STOPPED
        own = self._made.get(outcome.job_id, ())
        until = own[-1].call.arrived_at if own else 0.0
        return any(
            one.call.carried_out
            and one.call.arrived_at < until
            and (
                job != outcome.job_id
                or (one.call.fault == _INTERNAL_ERROR and one.met is None)
                or self._causes.lost_with_redis(one.call.arrived_at)
            )
            for job in self._jobs[_key(outcome)]
            for one in self._made.get(job, ())
        )

    def unended(self) -> Iterator[str]:
        """Yield jobs without an outcome that were called, or that are part of an enqueued batch."""
        recorded, accepted = self._evidence.held, self._evidence.accepted
        for key, calls in self._calls.items():
            if not any(job in recorded or job in accepted for job in self._jobs.get(key, ())):
                first, last = calls[0].arrived_at, calls[-1].arrived_at
                if not self._causes.lost_with_redis(first, last):
                    yield f"{'.'.join(key)} was called, and no job of it has an outcome"
        for job, (first, last) in self._notes.called().items():
            if job not in recorded and job not in accepted and not self._causes.lost_with_redis(first, last):
                yield f"{job} called, and has no outcome"
        for unsure in self._evidence.uncertain:
            yield from self._torn(unsure)

    def _torn(self, unsure: Unsure) -> Iterator[str]:
        lacking = []
        for command in unsure.commands:
            key = (command.account, command.operation.spec.id, name_of(command.operation.params))
            if not any(job in self._evidence.held for job in self._jobs.get(key, ())):
                lacking.append(".".join(key))
        if 0 < len(lacking) < len(unsure.commands):
            yield f"of a batch of {len(unsure.commands)} that was not surely enqueued, {len(lacking)} have no outcome"

    def wrong_letters(self) -> Iterator[str]:
        """Yield the outcomes that need a person and have no letter, and the letters without such an outcome."""
        commands = [accepted.command for accepted in self._evidence.accepted.values()]
        commands += [command for unsure in self._evidence.uncertain for command in unsure.commands]
        singles = {(one.account, one.operation.spec.id, name_of(one.operation.params)) for one in commands}
        # For a job of a shutdown, the shutdown's outcome counts.
        ended = [outcome for outcome in self._evidence.held.values() if _key(outcome) in singles]
        ended += [outcome for shutdown in self._evidence.shutdowns for outcome in shutdown.outcomes.values()]
        wanted = {outcome.job_id for outcome in ended if outcome.result.needs_person}
        letters = set(self._evidence.letters)
        yield from (f"{job} needs a person, and no letter tells" for job in sorted(wanted - letters))
        yield from (f"there is a letter of {letter}, which needs nobody" for letter in sorted(letters - wanted))

    def why_unjoined(self, start: LateStart) -> str | None:
        """Return why a task that started while its room closed was not stopped; None if nothing explains it."""
        if self._causes.lost_with_redis(start.closed, until=start.closed, before=start.answered):
            return "its shutdown was asked for just before Redis was killed"
        jumps = self._causes.jumped_s({Kind.CLOCK}, start.closing, start.answered)
        if jumps and jumps + start.answered - start.closing >= _ROOM_REOPENS_S:
            return "the clock jumped, and its room was open again"
        return None


def _key(outcome: Outcome) -> Key:
    return outcome.account, outcome.operation, name_of(outcome.params or {})


def _task_of(outcome: Outcome) -> tuple[str, str]:
    return outcome.account, name_of(outcome.params or {})


def _stops(outcome: Outcome) -> bool:
    """Return whether the outcome is that of a stop, not of a status query."""
    return OPERATIONS[outcome.operation].spec.kind is OperationKind.STOP
