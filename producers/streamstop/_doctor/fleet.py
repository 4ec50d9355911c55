"""Checks of the workers, and of the lanes that they serve."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from streamstop._core.findings import Finding, note, ok, problem
from streamstop._core.lane_view import LaneView
from streamstop._core.workers import WorkerState, WorkerView, distinct_differences
from streamstop._doctor.server import CLOCK_TOLERANCE, clock_text

#: How many lanes one finding names.
_MOST_NAMED = 5


def check_running(workers: Sequence[WorkerView]) -> Iterator[Finding]:
    """Check that a worker runs, and none is lost or stuck."""
    well = [worker for worker in workers if worker.is_well]
    if well:
        slots, busy = sum(worker.slots for worker in well), sum(worker.busy for worker in well)
        count = "1 worker runs" if len(well) == 1 else f"{len(well)} workers run"
        yield ok("workers.running", f"{count}, with {busy} of {slots} slots busy")
        if busy >= slots:
            do = "start more workers, or raise STREAMSTOP_CONCURRENCY, if lanes do not reach their limits"
            yield note("workers.slots", "every slot of every worker is busy", do)
    else:
        yield problem("workers.running", "no worker takes jobs", "start one: celery -A streamstop_worker worker")
    for worker in workers:
        if worker.state is WorkerState.LOST:
            do = "see its machine and its log, and start it again; it is forgotten an hour after its last sign of life"
            yield problem("workers.lost", f"worker {worker.name} is lost: {worker.problem}", do, worker=worker.name)
        elif worker.state is WorkerState.STUCK:
            do = "restart it; its jobs run again when their leases end"
            yield problem("workers.stuck", f"worker {worker.name} is stuck: {worker.problem}", do, worker=worker.name)


def check_names(workers: Sequence[WorkerView]) -> Iterator[Finding]:
    """Check that each worker has a name of its own."""
    for name, count in Counter(worker.name for worker in workers if worker.is_well).items():
        if count > 1:
            do = "start each with a name of its own: celery -A streamstop_worker worker -n w2@%h"
            yield problem("workers.names", f"{count} workers are called {name}", do, worker=name)


def check_versions(workers: Sequence[WorkerView]) -> Iterator[Finding]:
    """Check that all workers have one version."""
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for worker in workers:
        if worker.is_well:
            versions[worker.version].append(worker.name)
    if len(versions) > 1:
        listed = "; ".join(f"{version}: {', '.join(names)}" for version, names in sorted(versions.items()))
        yield note("workers.versions", f"the workers have different versions ({listed})", "finish the upgrade")


def check_clocks(workers: Sequence[WorkerView]) -> Iterator[Finding]:
    """Check that the clocks of the workers' machines agree with Redis' clock."""
    for worker in workers:
        ahead = timedelta(seconds=worker.clock_ahead)
        if worker.is_well and abs(ahead) > CLOCK_TOLERANCE:
            text = f"the clock of worker {worker.name} is {clock_text(ahead)} Redis' clock"
            do = "set the machines' clocks by NTP: vendors refuse signatures that are minutes off"
            yield problem("workers.clocks", text, do, worker=worker.name, seconds=round(worker.clock_ahead, 3))


def check_limits(workers: Sequence[WorkerView]) -> Iterator[Finding]:
    """Check that all workers have the same limit for each lane."""
    differences = distinct_differences(workers)
    if differences:
        named = "; ".join(difference.text for difference in differences[:_MOST_NAMED])
        more = f"; and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
        text = f"workers disagree about limits ({named}{more})"
        yield problem("workers.limits", text, "give all workers the same accounts file, and send them SIGHUP")


#: In the order in which they are reported.
WORKERS: tuple[Callable[[Sequence[WorkerView]], Iterator[Finding]], ...] = (
    check_running,
    check_names,
    check_versions,
    check_clocks,
    check_limits,
)


def check_lanes(lanes: Sequence[LaneView]) -> Iterator[Finding]:
    """Check that every lane that holds jobs has a worker, and show the lanes that are failing."""
    unserved = [lane for lane in lanes if lane.served is False]
    for lane in unserved:
        jobs = "1 job" if lane.backlog == 1 else f"{lane.backlog} jobs"
        text = f"lane {lane.lane.name} holds {jobs}, and no running worker has account {lane.account}"
        do = "start a worker whose accounts file has the account, or cancel the jobs"
        yield problem("lanes.served", text, do, account=lane.account, operation=lane.operation, jobs=lane.backlog)
    for lane in lanes:
        if lane.failing:
            text = f"lane {lane.lane.name} is {lane.state_text}"
            yield note("lanes.failing", text, account=lane.account, operation=lane.operation, jobs=lane.backlog)
    if not unserved:
        yield ok("lanes.served", f"lanes with jobs: {len(lanes)}; each has a worker" if lanes else "no lane has jobs")
