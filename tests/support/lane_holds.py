"""What a vendor that refuses an account's key may cost, whatever the order of steps: at most five jobs end for it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta

from redis import Redis

from streamstop._core.constants import CONTROLS
from streamstop._core.controls import hold_field
from streamstop._core.lane_types import LastCall, Taken
from streamstop._redis.schedule import WAITS_FOR_KEY
from streamstop._wire.reports import Ended, Report, Retried
from tests.support.lane_invariants import SECOND

_MOST_REFUSED = 5
_MINUTE = 60 * SECOND


class HoldPromises:
    """Checks the promises of holds. It learns from the scripts' answers which jobs ended and which wait again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        #: By account: jobs that ended refused, with no good answer reported in between.
        self._ended: defaultdict[str, int] = defaultdict(int)
        #: By account: when a job was given last while it was held, in µs, and not after the clock was set back.
        self._called: dict[str, int] = {}

    def is_held(self, account: str) -> bool:
        """Return whether an account is held."""
        return bool(self._redis.hexists(CONTROLS, hold_field(account)))

    def check_given(self, account: str, jobs: Sequence[Taken], now_us: int) -> None:
        """Check what a held account gave in one look: one job a minute."""
        if not jobs:
            return
        assert len(jobs) == 1, "a held account gives more than one job"
        assert now_us - self._called.get(account, -_MINUTE) >= _MINUTE, "a held account gives two jobs in a minute"
        self._called[account] = now_us

    def forget_moments(self) -> None:
        """The clock was set back."""
        self._called.clear()

    def check_answers(
        self, answered: Sequence[tuple[Report, timedelta | None]], held_before: set[str]
    ) -> Iterator[Report]:
        """Check what became of the jobs of one batch, and yield the reports whose jobs wait for a key.

        `answered` are the reports of jobs that the worker owned, in the order in which the script read them.
        """
        accounts = {report.job.lane.account for report, _ in answered}
        good = {report.job.lane.account for report, _ in answered if _is_good(report)}
        ended: set[str] = set()
        for report, rest in answered:
            account = report.job.lane.account
            if _is_good(report):
                self._ended[account] = 0
            elif isinstance(report, Ended) and report.if_held is not None:
                if rest == WAITS_FOR_KEY:
                    yield report
                    continue
                assert account not in held_before - good, "a job of a held account ends refused"
                self._ended[account] += 1
                ended.add(account)
                assert self._ended[account] <= _MOST_REFUSED, "more than five jobs end refused"
        for account in ended - good:
            assert self._ended[account] < _MOST_REFUSED or self.is_held(account), "nobody holds the account"
        for account in accounts - held_before:
            if self.is_held(account):
                self._called.pop(account, None)


def _is_good(report: Report) -> bool:
    """Return whether a report shows that the vendor accepts the account's key."""
    return (
        isinstance(report, Ended | Retried)
        and report.call is LastCall.WELL
        and not (isinstance(report, Ended) and report.if_held is not None)
    )
