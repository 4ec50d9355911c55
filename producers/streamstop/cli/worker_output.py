"""What the command line prints about workers: a table, without I/O."""

from collections.abc import Iterable, Iterator, Sequence

from streamstop._core.durations import duration_text
from streamstop._core.workers import LimitDifference, WorkerView
from streamstop.cli._shared.output import aligned, clip, counted, printable

_WIDTH = 80
_LONGEST_NAME, _LONGEST_HOST = 20, 24
_COLUMNS = ("NAME", "HOST", "VERSION", "BUSY", "UP", "SEEN", "ACCOUNTS")
#: How many lanes with different limits are listed.
_MOST_DIFFERENCES = 20


def workers_page(workers: Sequence[WorkerView]) -> Iterator[str]:
    """Yield the lines about the workers, the problems last."""
    if not workers:
        yield "no worker runs; start one with: celery -A streamstop_worker worker"
        return
    for line in aligned([_COLUMNS, *map(_row, workers)]):
        yield clip(line, _WIDTH)
    for worker in workers:
        if worker.problem is not None:
            yield printable(f"{worker.name} is {worker.state}: {worker.problem}")
    yield from _difference_lines(distinct_differences(workers))


def distinct_differences(workers: Iterable[WorkerView]) -> list[LimitDifference]:
    """Return the lanes for which the workers have different limits, each once."""
    found = {(each.account, each.operation): each for worker in workers for each in worker.differences}
    return [found[lane] for lane in sorted(found)]


def difference_text(difference: LimitDifference) -> str:
    """Return the workers' limits of a lane: ``live-cn live.StopMPUTask: 8 in w1@h, 10 in w2@h``."""
    limits = ", ".join(f"{limit:g} in {name}" for name, limit in sorted(difference.limits.items()))
    return f"{difference.account} {difference.operation}: {limits}"


def _difference_lines(differences: Sequence[LimitDifference]) -> Iterator[str]:
    if not differences:
        return
    yield f"the workers' files have different limits for {counted(len(differences), 'lane')} (calls/s):"
    for difference in differences[:_MOST_DIFFERENCES]:
        yield printable(f"  {difference_text(difference)}")


def _row(worker: WorkerView) -> tuple[str, ...]:
    name, _, host = worker.name.partition("@")
    return (
        clip(name if host == worker.host else worker.name, _LONGEST_NAME),
        clip(worker.host, _LONGEST_HOST),
        worker.version,
        f"{worker.busy}/{worker.slots}",
        duration_text((worker.seen - worker.since).total_seconds()),
        f"{duration_text(worker.silent)} ago",
        f"{len(worker.accounts)}: {', '.join(worker.accounts)}",
    )
