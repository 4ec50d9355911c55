"""What the command line prints about workers: a table, without I/O."""

from collections.abc import Iterator, Sequence

from streamstop._core.durations import duration_text
from streamstop._core.workers import LimitDifference, WorkerView, distinct_differences
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


def _difference_lines(differences: Sequence[LimitDifference]) -> Iterator[str]:
    if not differences:
        return
    yield f"the workers' files have different limits for {counted(len(differences), 'lane')} (calls/s):"
    for difference in differences[:_MOST_DIFFERENCES]:
        yield printable(f"  {difference.text}")


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
