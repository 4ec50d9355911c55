"""Lane operating: what people on call see and do with lanes, as methods of :class:`~streamstop.client.Client`."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import timedelta

from streamstop._core.backend import Backend
from streamstop._core.commands import check_account
from streamstop._core.controls import check_by
from streamstop._core.drained import Drained, DrainFilter, DrainPage
from streamstop._core.durations import duration_text, positive_duration
from streamstop._core.journal import EventKind
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView
from streamstop._core.membership import check_room
from streamstop._core.sightings import Sighting, Where
from streamstop.errors import InvalidCommand, StreamstopError, quoted
from streamstop.operations import OPERATIONS, find

#: How long a lane that holds nothing counts as one that lately held something.
_RECENT = timedelta(minutes=15)
#: How many lanes one round trip reads.
_PAGE = 100
#: How many jobs one call lists, and the farthest place from which on.
_MOST_JOBS, _FARTHEST = 1000, 100_000_000
#: Where the jobs of a lane are.
_IN_LANE = (Where.WAITING, Where.IN_FLIGHT, Where.DEFERRED)
#: The longest age that jobs can be selected by.
_OLDEST = timedelta(days=3650)


class LaneOperating:
    """The methods for lanes."""

    _backend: Backend

    def accounts(self) -> Mapping[str, str]:
        """Return the accounts of running workers: names to vendors; empty if no worker runs."""
        with self._backend.reaching("the accounts could not be looked up"):
            return self._backend.accounts()

    # ---- lanes

    def count_cancelled(self) -> Mapping[Lane, int]:
        """Return how many jobs of each lane were cancelled before a worker took them: by a job, a shutdown, a drain.

        Redis forgets the counts 30 days after the last such job. Workers count the jobs that end with them.
        """
        with self._backend.reaching("the cancelled jobs could not be counted"):
            return self._backend.lanes.cancelled()

    def lanes(
        self,
        lanes: Iterable[Lane] | None = None,
        *,
        accounts: Iterable[str] | None = None,
        recent: bool = False,
        every: bool = False,
    ) -> list[LaneView]:
        """Return the views of `lanes`; None: of every lane that holds a job, sorted by account and operation.

        With `recent`, lanes that were at work within the last quarter of an hour are among them; with `every`, all
        lanes of the accounts of running workers. `accounts` leaves out the lanes of others. The lanes of the steps of
        shutdowns are among the lanes; their accounts begin with an underscore.

        Without `lanes`, the Redis user must be allowed to read the workers' schedule. A user that may only enqueue is
        not. A view has what the user may read: at least how many jobs wait.
        """
        consequence = "the lanes could not be looked at"
        chosen: list[Lane] = []
        if lanes is not None:
            chosen = list(lanes)
        else:
            with self._backend.reaching(consequence):
                chosen = sorted(self._lanes_to_look_at(recent=recent, every=every))
        if accounts is not None:
            wanted = set(accounts)
            chosen = [lane for lane in chosen if lane.account in wanted]
        views: list[LaneView] = []
        for start in range(0, len(chosen), _PAGE):
            with self._backend.reaching(consequence):
                views += self._backend.lanes.views(chosen[start : start + _PAGE])
        if lanes is not None or every:
            return views
        return [view for view in views if view.backlog or (recent and _is_recent(view))]

    def _lanes_to_look_at(self, *, recent: bool, every: bool) -> set[Lane]:
        found = set(self._backend.lanes.holding())
        if recent:
            found.update(self._backend.lanes.recent(_RECENT))
        if every:
            by_vendor: dict[str, list[str]] = {}
            for operation, declared in OPERATIONS.items():
                by_vendor.setdefault(declared.spec.product.vendor.name, []).append(operation)
            for account, vendor in self._backend.accounts().items():
                found.update(Lane(account, operation) for operation in by_vendor.get(vendor, ()))
        return found

    def lane_jobs(
        self, lane: Lane, where: Where | str = Where.WAITING, *, first: int = 0, most: int = 50
    ) -> list[Sighting]:
        """Return up to `most` (1000) jobs of a lane that wait, are in flight or are deferred, `first` of them left out.

        Jobs that wait come in the order of their priorities, and of one priority the oldest first; `at` is when they
        were enqueued, and `place` where they stand. Deferred jobs come in the order of their next calls; `at` is when.
        Jobs that were cancelled are left out, so a page can have fewer jobs than `most` before the last one.
        """
        if where not in _IN_LANE:
            raise InvalidCommand(f"where must be one of {', '.join(_IN_LANE)}, not {quoted(where)}", field="where")
        for name, value, least, greatest in (("first", first, 0, _FARTHEST), ("most", most, 1, _MOST_JOBS)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= greatest:
                raise InvalidCommand(
                    f"{name} must be a whole number from {least} to {greatest}, not {quoted(value)}", field=name
                )
        with self._backend.reaching("the jobs of the lane could not be listed"):
            return self._backend.lanes.jobs(lane, Where(where), first, most)

    # ---- drain

    def drain(
        self,
        account: str,
        operation: str | None = None,
        *,
        older_than: float | timedelta | None = None,
        room: str | None = None,
        dry_run: bool = False,
        by: str | None = None,
        progress: Callable[[Drained], None] | None = None,
    ) -> Drained:
        """Cancel the jobs of an account that wait or are deferred, as :meth:`streamstop.Job.cancel` does each.

        `operation`, `older_than` (since they were enqueued) and `room` (jobs of its shutdowns) leave out others. With
        `dry_run` nothing is changed, and what would be cancelled is counted. Jobs that are in flight go on, and jobs
        that are enqueued meanwhile may be cancelled too. The stream tasks of cancelled jobs go on at their vendors.

        In a lane of more than 50,000 jobs, some messages of cancelled jobs in the middle stay, as those of
        :meth:`streamstop.Job.cancel` do: they count as waiting until workers come to them and drop them.

        The work is done in steps of a few milliseconds; `progress` is called after each. What was done before an error
        stays done, and a drain can be repeated. `by` is who does it; None: the user and host of this process.
        """
        steps = self._draining(account, operation, older_than=older_than, room=room, dry_run=dry_run, by=by)
        with closing(steps):
            for drained in steps:
                if progress is not None:
                    progress(drained)
        return drained

    def _draining(
        self,
        account: str,
        operation: str | None,
        *,
        older_than: float | timedelta | None,
        room: str | None,
        dry_run: bool,
        by: str | None,
    ) -> Generator[Drained, None, None]:
        """Yield what is drained so far, after each step, and at the end; at least once."""
        check_account(account)
        operations = list(OPERATIONS) if operation is None else [find(operation).spec.id]
        age = None if older_than is None else positive_duration(older_than, "older_than", _OLDEST)
        room, by = None if room is None else check_room(room), check_by(by)
        again = "some jobs may be cancelled, and others not; drain them again"
        with self._backend.reaching("nothing was cancelled"):
            chosen = DrainFilter(None if age is None else self._backend.now() - age, room, by, dry_run)
            lanes = {Lane(account, name) for name in operations}
            if operation is None:
                lanes |= {lane for lane in self._backend.lanes.holding() if lane.account == account}
        drained = Drained(account=account, operation=operation, dry_run=dry_run)
        try:
            for lane in sorted(lanes):
                steps = self._backend.lanes.draining(lane, chosen)
                while (page := self._drain_step(steps, again)) is not None:
                    drained = drained.plus(page)
                    yield drained
            yield drained
        finally:
            if drained.jobs and not dry_run:
                text = _drain_text(drained, age, room)
                with suppress(StreamstopError), self._backend.reaching("the drain is not among the events"):
                    self._backend.journal.add(EventKind.DRAINED, text, account=account, operation=operation, by=by)

    def _drain_step(self, steps: Iterator[DrainPage], consequence: str) -> DrainPage | None:
        with self._backend.reaching(consequence):
            return next(steps, None)


def _is_recent(view: LaneView) -> bool:
    return view.last_call_at is not None and view.at - view.last_call_at <= _RECENT


def _drain_text(drained: Drained, age: timedelta | None, room: str | None) -> str:
    older = "" if age is None else f", older than {duration_text(age)}"
    of_room = "" if room is None else f", of room {room}"
    return f"{drained.waiting} waiting and {drained.deferred} deferred jobs are cancelled{older}{of_room}"
