"""Operating: what people on call see and do, as methods of :class:`~streamstop.client.Client`."""

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from streamstop._core.backend import WaitInterval, blocking
from streamstop._core.commands import LONGEST_EXPIRY, check_account
from streamstop._core.controls import (
    Controls,
    Hold,
    Limit,
    Pause,
    check_by,
    check_lasting,
    check_limit,
    check_scope,
    check_text,
    scope_has_account,
)
from streamstop._core.durations import positive_duration, wait_duration
from streamstop._core.findings import DIAGNOSIS_TIMEOUT, Diagnosis, Finding
from streamstop._core.journal import ERRORS_KEPT, LONGEST_SINCE, ErrorCount, Event, EventFilter
from streamstop._core.lane import Lane
from streamstop._core.membership import check_page_size
from streamstop._core.sightings import Sighting, Wanted
from streamstop._core.workers import WorkerView
from streamstop._doctor.examination import examine
from streamstop._redis.accounts import check_vendor
from streamstop.errors import UnknownAccount
from streamstop.lane_operating import LaneOperating
from streamstop.operations import find
from streamstop.shutdowns import Shutdown

_Key = TypeVar("_Key")
_Control = TypeVar("_Control", Pause, Limit, Hold)


class Operating(LaneOperating):
    """The methods of a client for people on call."""

    # ---- pauses, limits and holds

    def pause(
        self, scope: str, *, lasting: float | timedelta | None = None, reason: str = "", by: str | None = None
    ) -> Pause:
        """Take no job of `scope` from now on: ``all``, ``vendor:<vendor>``, an account, or a lane's name.

        Within a second, no further call of the scope is sent by any worker. Jobs can still be enqueued. The pause ends
        after `lasting` (seconds, or a timedelta; None: not by itself), or by :meth:`resume`. A second pause of a scope
        replaces the first. `by` is who does it; None: the user and host of this process.

        Raises :class:`~streamstop.errors.UnknownAccount` for an account that no running worker has and that has no job.
        """
        scope, lasting = check_scope(scope), check_lasting(lasting)
        reason, by = check_text(reason, "reason"), check_by(by)
        with self._backend.reaching(f"{scope} may or may not be paused; pause it again"):
            if scope_has_account(scope):
                self._check_account(Lane.from_name(scope))
            now = self._backend.now()
            pause = Pause(scope=scope, by=by, reason=reason, at=now, until=lasting and now + lasting)
            self._backend.controls.pause(pause)
        return pause

    def resume(self, scope: str, *, by: str | None = None) -> bool:
        """End the pause of `scope`, and the hold of the account if `scope` is one; return whether there was any.

        A lane that several pauses hold, such as its own and its account's, goes on when none is left.
        """
        scope, by = check_scope(scope), check_by(by)
        with self._backend.reaching(f"{scope} may or may not be resumed; resume it again"):
            return self._backend.controls.resume(scope, by)

    def controls(self) -> Controls:
        """Return the pauses, limits and holds at one moment, each oldest first."""
        with self._backend.reaching("the pauses, limits and holds could not be read"):
            found = self._backend.controls.read()
        return Controls(_oldest_first(found.pauses), _oldest_first(found.limits), _oldest_first(found.holds))

    def pauses(self) -> list[Pause]:
        """Return the pauses, oldest first."""
        return list(self.controls().pauses.values())

    def holds(self) -> list[Hold]:
        """Return the accounts whose keys are refused, oldest first."""
        return list(self.controls().holds.values())

    def set_limit(
        self,
        account: str,
        operation: str,
        limit: float,
        *,
        lasting: float | timedelta | None = None,
        reason: str = "",
        above_vendor: bool = False,
        by: str | None = None,
    ) -> Limit:
        """Override the limit of a lane (calls per second) in every worker, from its next slot on.

        It ends after `lasting` (seconds, or a timedelta; None: not by itself), or by :meth:`clear_limit`. A limit above
        the vendor's page is refused without `above_vendor`. A second limit of a lane replaces the first.
        """
        lane, lasting = check_limit(account, operation, limit, above_vendor=above_vendor), check_lasting(lasting)
        reason, by = check_text(reason, "reason"), check_by(by)
        with self._backend.reaching(f"the limit of {lane.name} may or may not be set; set it again"):
            self._check_account(lane)
            now = self._backend.now()
            override = Limit(
                account=account,
                operation=operation,
                limit=limit,
                by=by,
                reason=reason,
                at=now,
                until=lasting and now + lasting,
            )
            self._backend.controls.set_limit(override)
        return override

    def clear_limit(self, account: str, operation: str, *, by: str | None = None) -> bool:
        """End the override of a lane's limit; return whether there was one."""
        lane, by = Lane(check_account(account), find(operation).spec.id), check_by(by)
        with self._backend.reaching(f"the limit of {lane.name} may or may not be cleared; clear it again"):
            return self._backend.controls.clear_limit(lane, by)

    def limits(self) -> list[Limit]:
        """Return the overridden limits, oldest first."""
        return list(self.controls().limits.values())

    def _check_account(self, lane: Lane) -> None:
        """Refuse an account that no running worker has and that has no job; `lane` may have no operation."""
        try:
            vendor = self._backend.vendor_of(lane.account)
        except UnknownAccount:
            if all(holding.account != lane.account for holding in self._backend.lanes.holding()):
                raise
            return  # its workers may be down
        if lane.operation:
            check_vendor(lane.account, vendor, find(lane.operation).spec.product.vendor.name)

    # ---- shutdowns

    def recent_shutdowns(self, most: int = 100) -> list[Shutdown]:
        """Return up to `most` shutdowns: the open ones, oldest first, and then the latest ended ones, newest first."""
        with self._backend.reaching("the shutdowns could not be looked up"):
            return [Shutdown(one, self._backend) for one in self._backend.recent_shutdowns(most)]

    def count_open_shutdowns(self) -> int:
        """Return how many shutdowns are open."""
        with self._backend.reaching("the shutdowns could not be counted"):
            return self._backend.count_open_shutdowns()

    # ---- find

    def find(
        self, params: Mapping[str, str | int] | str, *, account: str | None = None, operation: str | None = None
    ) -> Iterator[Sighting]:
        """Yield every job of a stream task that is known, each once, and the rooms in which the task is registered.

        `params` are parameters under the vendor's names, such as ``{"TaskId": "t-1"}``. They must name the task, by
        ``TaskId`` or ``JobId``. A text is the task's id, whichever of the two names it has.

        Jobs that have ended come first, from an index of the latest 100 jobs of each task, which is kept for as long as
        outcomes. Then all dead letters, lanes and rooms are searched, page by page.
        """
        yield from blocking(self._finding(params, account, operation))

    def _finding(
        self, params: Mapping[str, str | int] | str, account: str | None, operation: str | None
    ) -> Iterator[Sighting | WaitInterval]:
        wanted = Wanted.checked(params, account, operation)
        with self._backend.following("the search did not end; search again"):
            yield from self._backend.find(wanted)

    # ---- events and errors

    def events(
        self,
        *,
        since: float | timedelta | None = None,
        account: str | None = None,
        after: str | None = None,
        most: int | None = None,
    ) -> list[Event]:
        """Return what happened to lanes, accounts and workers, oldest first: all, or what is younger than `since`.

        `after` is the id of an event: only later ones are returned. `most` (1 to 10,000) limits how many: the first
        ones after `after`; without `after`, the latest ones.
        """
        age = None if since is None else positive_duration(since, "since", LONGEST_SINCE)
        wanted, most = EventFilter(account, after), None if most is None else check_page_size(most)
        with self._backend.reaching("the events could not be read"):
            found = filter(wanted.fits, self._backend.journal.events(since=age, after=after))
            return list(islice(found, most) if after is not None else deque(found, most))

    def follow_events(
        self, *, account: str | None = None, after: str | None = None, timeout: float | timedelta | None = None
    ) -> Generator[Event, None, None]:
        """Yield events as they happen, from `after` on (an event's id; None: from now on), until `timeout` is over."""
        yield from blocking(self._following_events(account, after, timeout))

    def _following_events(
        self, account: str | None, after: str | None, timeout: float | timedelta | None
    ) -> Iterator[Event | WaitInterval]:
        wanted, limit, journal = EventFilter(account, after), wait_duration(timeout), self._backend.journal
        with self._backend.following("follow the events again"):
            last = journal.newest() if after is None else after
            for change in self._backend.new_events(limit):
                if change is not None:
                    yield change
                    continue
                for event in journal.events(after=last):
                    last = event.id
                    if wanted.fits(event):
                        yield event

    def errors(
        self, *, since: float | timedelta = timedelta(minutes=30), account: str | None = None
    ) -> list[ErrorCount]:
        """Count vendors' errors of the last `since` (a day at most) by account, operation and code; the most first.

        Errors are counted in steps of five minutes: those of the step in which `since` begins are all counted.
        """
        age = positive_duration(since, "since", ERRORS_KEPT)
        with self._backend.reaching("the errors could not be read"):
            counts = self._backend.journal.errors(since=age)
        return [count for count in counts if account in {None, count.account}]

    # ---- workers

    def workers(self) -> list[WorkerView]:
        """Return every worker that is alive, or was lost within the last hour, sorted by name.

        The Redis user must be allowed to read what workers write. A user that may only enqueue is not.
        """
        with self._backend.reaching("the workers could not be looked at"):
            return self._backend.fleet.workers()

    def redis_info(self) -> Mapping[str, Any]:
        """Return what Redis' INFO says, such as ``used_memory``; nothing if the Redis user may not run it."""
        with self._backend.reaching("Redis could not be asked"):
            return self._backend.fleet.server_info()

    def diagnose(self, account: str | None = None, *, timeout: float | timedelta = DIAGNOSIS_TIMEOUT) -> Diagnosis:
        """Examine Redis, the workers, lanes, pauses, dead letters and this process' settings.

        Each problem says what to do. A Redis that does not answer is a problem too, and no exception. With `account`,
        one status command for a stream task that cannot exist is sent through the account's lane, and its answer shows
        whether the vendor accepts the key. Only that waits, for `timeout` at most (seconds, or a timedelta).
        """
        return Diagnosis(findings=tuple(blocking(self._examining(account, timeout))))

    def _examining(self, account: str | None, timeout: float | timedelta) -> Iterator[Finding | WaitInterval]:
        limit = positive_duration(timeout, "timeout", LONGEST_EXPIRY)
        yield from examine(self._backend, self.lanes, account, limit)


def _oldest_first(controls: Mapping[_Key, _Control]) -> Mapping[_Key, _Control]:
    return dict(sorted(controls.items(), key=lambda item: item[1].at))
