"""Judges what people do in a run, and what workers must obey: pauses, limits that people set, and revoked keys."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamstop import Result
from streamstop._core.lane import Lane
from streamstop_simulator import Call
from tests.torture.causes import Causes, Made
from tests.torture.evidence import Evidence
from tests.torture.finding import Finding
from tests.torture.load import LIMIT
from tests.torture.schedule import Kind

#: How many jobs may end refused for each revocation of their account's key.
MOST_REFUSED = 5
#: A change of a limit holds a second after it was made. The calls of the second after that are counted.
_IN_FORCE_S = 2.0


class Controls:
    """Compares the calls of a run with what held them back."""

    def __init__(self, evidence: Evidence, causes: Causes, made: Mapping[str, Sequence[Made]]) -> None:
        self._evidence = evidence
        self._causes = causes
        self._made = made

    def vendor_limits(self, finding: Finding) -> None:
        """Judge the calls that the vendor counted as over the limit."""
        for call in self._evidence.calls:
            if call.over_limit:
                self._judge_over_limit(finding, call, "a call over the limit")

    def set_limits(self, finding: Finding) -> None:
        """Judge the calls of every second by the highest limit that was in force in it or in the second before."""
        arrived: dict[Lane, list[Call]] = defaultdict(list)
        for call in sorted(self._evidence.calls, key=lambda call: call.arrived_at):
            arrived[Lane(str(call.account), str(call.operation))].append(call)
        for lane in {change.lane for change in self._evidence.limit_changes}:
            first = 0
            for number, call in enumerate(arrived[lane]):
                while arrived[lane][first].arrived_at <= call.arrived_at - 1.0:
                    first += 1
                count, limit = number + 1 - first, self._highest_limit(lane, call.arrived_at)
                if count > limit:
                    self._judge_over_limit(finding, call, f"{count} calls in a second, the limit is {limit:g},")

    def pauses(self, finding: Finding) -> None:
        """Judge the calls of paused lanes."""
        for made in (made for calls in self._made.values() for made in calls):
            call = made.call
            for pause in self._causes.pauses_over(call):
                if made.on_the_way_s is not None and made.on_the_way_s > 0.5:
                    finding.apart["this machine delayed the call on its way"] += 1
                elif (cause := self._causes.of_paused_call(pause, call)) is not None:
                    finding.apart[cause] += 1
                else:
                    finding.broken.append(f"{_lane(call)}: called {call.arrived_at - pause.began:.3f} s after {pause}")

    def keys(self, finding: Finding) -> None:
        """Judge the jobs that ended refused: no more for each revocation than a hold allows.

        The simulator checks the key when it reads a call. On a busy machine a call can have arrived before its
        account's key was revoked.
        """
        refused: Counter[tuple[str, float, float]] = Counter()
        for account, job in self._refused():
            moments = [one.call.decided_at for one in self._made.get(job, ()) if not one.call.authenticated]
            if not moments:
                continue  # it is judged as a wrong result
            revoked = next((span for span in self._revoked(account) if _covers(span, moments[-1])), None)
            if revoked is None:
                finding.broken.append(f"{job} ended refused, and the key of {account} was not revoked")
            else:
                refused[account, *revoked] += 1
        for (account, began, ended), count in refused.items():
            if count > MOST_REFUSED:
                finding.broken.append(
                    f"{count} jobs of {account} ended refused while its key was revoked, {began:.3f} to {ended:.3f}"
                )

    def _judge_over_limit(self, finding: Finding, call: Call, what: str) -> None:
        cause = self._causes.of_over_limit(call, self._on_the_way(call)) or self._lost_change(call)
        if cause is None:
            finding.broken.append(f"{_lane(call)}: {what} at {call.arrived_at:.3f}")
        else:
            finding.apart[cause] += 1

    def _on_the_way(self, over: Call) -> list[float]:
        """Return how long each of the lane's calls in the second until `over` took to the vendor."""
        return [
            made.on_the_way_s
            for calls in self._made.values()
            for made in calls
            if made.on_the_way_s is not None
            and _lane(made.call) == _lane(over)
            and 0 <= over.arrived_at - made.call.arrived_at <= 1.1
        ]

    def _highest_limit(self, lane: Lane, at: float) -> float:
        """Return the highest limit that may have been in force in the two seconds until `at`."""
        before, possible = LIMIT, []
        for change in self._evidence.limit_changes:
            limit = LIMIT if change.limit is None else change.limit
            if change.lane != lane or change.asked > at:
                continue
            if change.answered <= at - _IN_FORCE_S:
                before = limit
            else:
                possible.append(limit)
        return max([before, *possible])

    def _lost_change(self, call: Call) -> str | None:
        changes = (one for one in self._evidence.limit_changes if one.lane.name == _lane(call))
        if any(self._causes.lost_with_redis(one.answered, before=call.arrived_at) for one in changes):
            return "the limit was changed just before Redis was killed, and gone with what it had not written"
        return None

    def _refused(self) -> set[tuple[str, str]]:
        """Return account and id of each job that ended refused."""
        return {
            (outcome.account, outcome.job_id)
            for outcome in self._evidence.outcomes()
            if outcome.result is Result.REFUSED
        }

    def _revoked(self, account: str) -> Iterator[tuple[float, float]]:
        """Yield when the account's key was revoked, without overlaps."""
        spans = (
            (fault.began, fault.ended)
            for fault in self._evidence.faults
            if fault.kind is Kind.KEY and fault.fault.how.partition(" ")[0] == account
        )
        return _merged(spans)


def _merged(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    last: tuple[float, float] | None = None
    for began, ended in sorted(spans):
        if last is not None and began <= last[1]:
            last = (last[0], max(last[1], ended))
            continue
        if last is not None:
            yield last
        last = (began, ended)
    if last is not None:
        yield last


def _covers(span: tuple[float, float], moment: float) -> bool:
    return span[0] <= moment <= span[1]


def _lane(call: Call) -> str:
    return f"{call.account}.{call.operation}"
