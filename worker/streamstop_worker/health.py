"""Health: whether the worker on this machine takes jobs. ``python -m streamstop_worker.health`` exits with 0 if so.

It asks Redis who waits for jobs. A ping by Celery's remote control would ask every worker, and take seconds.
"""

import sys
from datetime import timedelta
from typing import Any

from streamstop import Client, QueueUnavailable
from streamstop.errors import InvalidSettings
from streamstop_worker.settings import WorkerSettings


def takes_jobs(client: Client, within: timedelta) -> bool:
    """Return whether a worker at this client's own address has waited for jobs `within` the last time.

    Raises :class:`~streamstop.errors.QueueUnavailable`.
    """
    with client.reaching("whether the worker takes jobs is not known"):
        redis: Any = client.connections.redis
        own = redis.client_info()
        connections = redis.client_list()
    # A worker waits like this for a wake, each second anew, and comes back to it whenever it has room for a job.
    return any(
        one["cmd"] == "blpop"
        and (_host(one["addr"]), int(one["db"])) == (_host(own["addr"]), int(own["db"]))
        and int(one["idle"]) <= within.total_seconds()
        for one in connections
    )


def main() -> None:
    """Exit with 0, or with what is wrong."""
    try:
        # Within two leases even a worker whose slots are all taken has had a free one.
        within = 2 * WorkerSettings.from_environ().lease
        with Client() as client:
            healthy = takes_jobs(client, within)
    except (InvalidSettings, QueueUnavailable) as error:
        sys.exit(f"streamstop: {error}")
    if not healthy:
        sys.exit("streamstop: no worker on this machine takes jobs")


def _host(address: str) -> str:
    return address.rpartition(":")[0]


if __name__ == "__main__":
    main()
