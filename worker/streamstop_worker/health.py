"""Health: whether a worker on this machine takes jobs. ``python -m streamstop_worker.health`` exits with 0 if so.

It asks Redis which connections wait for jobs. The connections of this machine's workers have their own name. A ping by
Celery's remote control would ask every worker and take seconds.
"""

import sys
from datetime import timedelta
from typing import Any

from redis import Redis

from streamstop._redis.deadline import deadline
from streamstop._redis.errors import ERRORS, failure
from streamstop._redis.pool import close_redis, open_redis
from streamstop.errors import InvalidSettings
from streamstop.settings import RedisSettings
from streamstop_worker.settings import WorkerSettings, client_name


def takes_jobs(redis: Redis, within: timedelta) -> bool:
    """Return whether a worker of this machine has waited for jobs in this database `within` the given time.

    Raises redis-py's errors.
    """
    info: Any = redis.client_info()
    connections: Any = redis.client_list()
    # A worker waits in BLPOP for a wake token, and repeats that every second while it has room for a job.
    return any(
        (client["name"], client["cmd"], int(client["db"])) == (client_name(), "blpop", int(info["db"]))
        and int(client["idle"]) <= within.total_seconds()
        for client in connections
    )


def main() -> None:
    """Exit with 0, or with a one-line message."""
    try:
        settings = RedisSettings.from_environ()
        # Within two leases, even a worker without room has had room once.
        within = 2 * WorkerSettings.from_environ().lease
        redis = open_redis(settings)
    except InvalidSettings as error:
        sys.exit(f"streamstop: {error}")
    try:
        with deadline(settings.timeout):
            healthy = takes_jobs(redis, within)
    except ERRORS as error:
        unknown = "whether the worker takes jobs is not known"
        sys.exit(f"streamstop: {failure(error, consequence=unknown, refused=unknown)}")
    finally:
        close_redis(redis)
    if not healthy:
        sys.exit("streamstop: no worker on this machine takes jobs")


if __name__ == "__main__":
    main()
