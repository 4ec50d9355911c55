"""Health: whether the workers of this machine take jobs; ``python -m streamstop_worker.health [NODE]`` exits with 0.

It reads the signs of life that workers write to Redis, those of this machine (by its host name) and of this database.
NODE names one of several workers: ``w2``, or ``w2@host``. A ping by Celery's remote control would ask every worker and
take seconds.
"""

import socket
import sys
from collections.abc import Iterable, Iterator, Sequence

from streamstop._core.workers import WorkerState, WorkerView
from streamstop._redis.deadline import deadline
from streamstop._redis.errors import ERRORS, failure
from streamstop._redis.pool import close_redis, open_redis
from streamstop._redis.workers import Workers
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings

_USAGE = "usage: python -m streamstop_worker.health [NODE]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit with 0, or with a message that says what is wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        sys.exit(_USAGE)
    try:
        settings = RedisSettings.from_environ()
        redis = open_redis(settings)
    except InvalidSettings as error:
        sys.exit(f"streamstop: {error}")
    try:
        with deadline(settings.timeout):
            workers = Workers(redis).views()
    except ERRORS as error:
        unknown = "whether the worker takes jobs is not known"
        sys.exit(f"streamstop: {failure(error, consequence=unknown, refused=unknown)}")
    finally:
        close_redis(redis)
    problems = list(find_problems(workers, socket.gethostname(), *arguments))
    if problems:
        sys.exit("\n".join(f"streamstop: {problem}" for problem in problems))


def find_problems(workers: Iterable[WorkerView], host: str, node: str | None = None) -> Iterator[str]:
    """Yield what is wrong with the workers of `host`, or with the one that `node` names."""
    own = [worker for worker in workers if worker.host == host]
    if node is not None:
        own = [worker for worker in own if node in {worker.name, worker.name.partition("@")[0]}]
    if not own:
        which = "no worker" if node is None else f"no worker {node!r}"
        yield f"{which} of this machine ({host}) shows signs of life in this database"
    for worker in own:
        if worker.state is WorkerState.STARTING:
            yield f"{worker.name} has not looked for jobs yet"
        elif not worker.is_well:
            yield f"{worker.name} is {worker.state}: {worker.problem}"


if __name__ == "__main__":
    main()
