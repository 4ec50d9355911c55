"""Stops relays whose ids are read from standard input, a line each: ``python stop_script.py live-cn yourapp < ids``."""

import sys

from streamstop import Client, Command
from streamstop.operations import StopMPUTask


def main(account: str, app_id: str) -> int:
    """Stop them all, print how each ended, and return the number that a person must look at."""
    commands = [
        Command(operation=StopMPUTask(app_id=app_id, task_id=line.strip()), account=account)
        for line in sys.stdin
        if line.strip()
    ]
    bad = 0
    with Client() as client:
        jobs = client.enqueue_many(commands)
        for outcome in client.outcomes(jobs, timeout=600):
            print(outcome.result, (outcome.params or {}).get("TaskId"))  # noqa: T201
            bad += outcome.result.needs_person
    return bad


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
