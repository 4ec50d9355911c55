"""The invariants that hold at the end of every run, whatever its faults. Pure: evidence in, findings out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from streamstop import Outcome, Result
from streamstop_simulator import Call, TaskState
from tests.torture.causes import Causes, Made, Notes
from tests.torture.controls import Controls
from tests.torture.ends import Ends, Key
from tests.torture.evidence import Evidence, ShutdownFacts, member_of
from tests.torture.finding import Finding
from tests.torture.load import name_of

_ENDED_WELL = {Result.STOPPED, Result.ALREADY_STOPPED, Result.VERIFIED}
_NEEDS_ATTENTION = "needs_attention"


class Judge:
    """Checks the evidence of a run against the invariants."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._notes = Notes(evidence.notes)
        self._causes = Causes(evidence.faults)
        jobs, calls = self._jobs(), self._calls()
        #: Calls by job, in the order of their arrival.
        self.made: dict[str, list[Made]] = {}
        for key, arrived in calls.items():
            self.made |= self._notes.made(jobs.get(key) or ["unknown"], arrived)
        self._ends = Ends(evidence, self._notes, self._causes, jobs=jobs, calls=calls, made=self.made)
        self._controls = Controls(evidence, self._causes, self.made)
        #: Why jobs were called again, and how often.
        self.extra: Counter[str] = Counter()

    def findings(self) -> list[Finding]:
        """Return every invariant's finding."""
        checks: Iterable[tuple[str, Callable[[Finding], None]]] = (
            ("every accepted command has exactly one outcome, which never changes", self._one_outcome),
            ("what was called has an outcome, and of a batch all or none", self._unended),
            ("every result is what the faults allow", self._results),
            ("dead letters tell what needs a person, and nothing else", self._letters),
            ("what ended well is stopped at the vendor", self._stopped),
            ("no lane over its limit", self._controls.vendor_limits),
            ("no second with more calls than the limits in force", self._controls.set_limits),
            ("no call of a paused lane later than a second after", self._controls.pauses),
            ("at most five jobs end refused for each revoked key", self._controls.keys),
            ("no call after the outcome was recorded", self._no_late_call),
            ("every further call has its cause", self._further_calls),
            ("shutdowns: counters exact, every member with its outcome", self._shutdowns),
            ("a room that closes stops what starts late", self._late_starts),
            ("nothing is left over, and every worker serves", self._nothing_left),
            ("no secret in a log or in Redis", self._no_leak),
            ("nothing happened that never should", self._no_alarm),
        )
        found = []
        for name, check in checks:
            finding = Finding(name)
            check(finding)
            found.append(finding)
        return found

    def _one_outcome(self, finding: Finding) -> None:
        for job, accepted in self._evidence.accepted.items():
            seen = self._evidence.seen.get(job, ())
            if not seen or job not in self._evidence.held:
                if not seen and self._causes.lost_with_redis(accepted.answered):
                    finding.apart["accepted just before Redis was killed, and gone with what it had not written"] += 1
                else:
                    finding.broken.append(f"{job} has no outcome" if not seen else f"{job} lost its outcome")
            elif len(seen) > 1:
                self._changed(finding, job, self._recorded(job), [one.outcome for one in seen])
        by_command = Counter(
            (outcome.account, outcome.operation, name_of(outcome.params or {}))
            for outcome in self._evidence.held.values()
            if outcome.job_id not in self._evidence.accepted
        )
        for command in (command for unsure in self._evidence.uncertain for command in unsure.commands):
            lane = command.lane
            if by_command[lane.account, lane.operation, name_of(command.operation.params)] > 1:
                finding.broken.append(f"{command.operation!r} was enqueued once, and has more than one outcome")

    def _changed(self, finding: Finding, job: str, moments: Sequence[float], outcomes: Sequence[Outcome]) -> None:
        if all(self._causes.lost_with_redis(moment) for moment in moments[:-1]):
            finding.apart["recorded just before Redis was killed, and made again"] += 1
        else:
            finding.broken.append(f"{job} changed: {' then '.join(outcome.result for outcome in outcomes)}")

    def _recorded(self, job: str) -> list[float]:
        """Return, for each outcome of a job that was seen, the latest moment at which it can have been recorded.

        On a busy machine an outcome is seen seconds after its worker noted that it is recorded.
        """
        moments: list[float] = []
        before = float("-inf")
        for one in self._evidence.seen.get(job, ()):
            moments.append(self._notes.recorded_between(job, before, one.at) or one.at)
            before = one.at
        return moments

    def _unended(self, finding: Finding) -> None:
        finding.broken += self._ends.unended()

    def _results(self, finding: Finding) -> None:
        finding.broken += self._ends.wrong_results()

    def _letters(self, finding: Finding) -> None:
        finding.broken += self._ends.wrong_letters()

    def _late_starts(self, finding: Finding) -> None:
        for start in self._evidence.unjoined:
            cause = self._ends.why_unjoined(start)
            if cause is None:
                finding.broken.append(f"{start.room}: {start.command.operation!r} was started late, and not stopped")
            else:
                finding.apart[cause] += 1

    def _stopped(self, finding: Finding) -> None:
        states = {(task.account, name_of(task.params)): task.state for task in self._evidence.tasks}
        for outcome in self._evidence.outcomes():
            if outcome.result in _ENDED_WELL:  # which no status command can be
                state = states.get((outcome.account, name_of(outcome.params or {})))
                if state is not TaskState.STOPPED:
                    finding.broken.append(f"{outcome.job_id} is {outcome.result}, and its task {state}")

    def _no_late_call(self, finding: Finding) -> None:
        for job, calls in self.made.items():
            seen = self._recorded(job)
            moments = seen[:1]
            moments += [moment for moment in [self._notes.recorded_at(job)] if moment is not None]
            if not moments or any(self._causes.lost_with_redis(moment) for moment in seen[:-1]):
                continue
            recorded = min(moments)
            for made in calls:
                if made.call.arrived_at > recorded:
                    self._judge_late(finding, job, made, recorded)

    def _judge_late(self, finding: Finding, job: str, made: Made, recorded: float) -> None:
        late = made.call.arrived_at - recorded
        begun = float("inf") if made.note is None else float(made.note["begun"])
        process = "nobody known" if made.note is None else str(made.note["process"])
        cause = self._causes.of_overlap(begun, made.call.arrived_at, process) if begun <= recorded else None
        if cause is None:
            finding.broken.append(f"{job} was called {late:.3f} s after its outcome was recorded, by {process}")
        else:
            finding.apart[f"begun before, and sent late: {cause}"] += 1

    def _further_calls(self, finding: Finding) -> None:
        for job, calls in self.made.items():
            for first, then in pairwise(calls):
                cause = self._causes.of_next(first, then)
                if cause is None and _asks_again(first):
                    cause = "the vendor said that it still runs"
                if cause is None:
                    apart = then.call.arrived_at - first.call.arrived_at
                    finding.broken.append(f"{job} was called again {apart:.3f} s later, and nothing explains it")
                else:
                    self.extra[cause] += 1

    @property
    def misread(self) -> int:
        """How many stops ended as not found although an earlier call of the same job had stopped the task."""
        return sum(
            any(one.call.carried_out for one in calls[:-1])
            for job, calls in self.made.items()
            if job in self._evidence.held and self._evidence.held[job].result is Result.NOT_FOUND
        )

    def _shutdowns(self, finding: Finding) -> None:
        by_room: dict[str, set[str]] = defaultdict(set)
        for one in self._evidence.shutdowns:
            by_room[one.room] |= {member.partition("\n")[0] for member in one.members}
            finding.broken += _inexact(one)
        for room, commands in self._evidence.shut_down.items():
            finding.broken += [
                f"{room}: {member} is in no shutdown"
                for member in map(member_of, commands)
                if member not in by_room[room]
            ]

    def _nothing_left(self, finding: Finding) -> None:
        finding.broken += self._evidence.left

    def _no_leak(self, finding: Finding) -> None:
        finding.broken += self._evidence.leaks

    def _no_alarm(self, finding: Finding) -> None:
        finding.broken += self._evidence.alarms

    def _jobs(self) -> dict[Key, list[str]]:
        jobs: dict[Key, list[str]] = defaultdict(list)
        for job, accepted in self._evidence.accepted.items():
            lane = accepted.command.lane
            jobs[lane.account, lane.operation, name_of(accepted.command.operation.params)].append(job)
        for job, outcome in self._evidence.held.items():
            key = (outcome.account, outcome.operation, name_of(outcome.params or {}))
            if job not in jobs[key]:
                jobs[key].append(job)
        return jobs

    def _calls(self) -> dict[Key, list[Call]]:
        calls: dict[Key, list[Call]] = defaultdict(list)
        for call in sorted(self._evidence.calls, key=lambda call: call.arrived_at):
            calls[str(call.account), str(call.operation), name_of(call.params)].append(call)
        return calls


def _asks_again(made: Made) -> bool:
    """Return whether a call verifies a stop. Such a call may be repeated while the task runs."""
    return made.call.operation is not None and "Stop" not in made.call.operation and made.call.answer == "ok"


def _inexact(one: ShutdownFacts) -> Iterator[str]:
    """Yield the counters of a shutdown that do not add up."""
    name = f"{one.room} ({one.id[:8]})"
    facts = one.facts
    results = Counter(outcome.result.value for outcome in one.outcomes.values())
    counted = {field[2:]: int(count) for field, count in facts.items() if field.startswith("n:")}
    totals = {
        "total": int(facts["total"]),
        "members": len(one.members),
        "ended": int(facts["ended"]),
        "outcomes": len(one.outcomes),
        "total by lane": sum(count for field, count in one.lanes.items() if field.endswith(":total")),
        "ended by lane": sum(count for field, count in one.lanes.items() if field.endswith(":ended")),
    }
    if len(set(totals.values())) != 1:
        yield f"{name}: {', '.join(f'{what} {count}' for what, count in totals.items())}"
    if set(one.outcomes) != one.members:
        yield f"{name}: {len(one.members - set(one.outcomes))} members without outcome"
    if results != Counter(counted):
        yield f"{name}: counted {counted}, ended {dict(results)}"
    if one.todo:
        yield f"{name}: {one.todo} still to be put into lanes"
    by_lane = Counter(f"{outcome.account}.{outcome.operation}:ended" for outcome in one.outcomes.values())
    if by_lane != Counter({field: count for field, count in one.lanes.items() if field.endswith(":ended")}):
        yield f"{name}: by lane {one.lanes}, ended {dict(by_lane)}"
    attention = sum(outcome.result.needs_person for outcome in one.outcomes.values())
    if int(facts["attention"]) != attention:
        yield f"{name}: {facts['attention']} counted for attention, {attention} need it"
    status = _NEEDS_ATTENTION if attention else "done"
    if facts["status"] != status:
        yield f"{name}: is {facts['status']}, should be {status}"
