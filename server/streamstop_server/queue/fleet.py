"""Workers, as a caller may see them."""

from collections.abc import Iterable

from streamstop import WorkerView
from streamstop_server.access.tokens import Caller


def seen_workers(caller: Caller, workers: Iterable[WorkerView]) -> list[WorkerView]:
    """Return the workers that have an account of `caller`, with no account but those."""
    if caller.accounts is None:
        return list(workers)
    seen = []
    for worker in workers:
        accounts = tuple(filter(caller.may_touch, worker.accounts))
        if accounts:
            differences = tuple(each for each in worker.differences if caller.may_touch(each.account))
            seen.append(worker.model_copy(update={"accounts": accounts, "differences": differences}))
    return seen
