"""The ``streamstop`` executable in a process of its own, and the lines that it reads and writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.polling import TIMEOUT_S
from tests.support.world import ALIYUN

EXECUTABLE = Path(sys.executable).with_name("streamstop")


def environ(redis_url: str) -> dict[str, str]:
    """Return the environment of a command that waits for a Redis which stands still for seconds."""
    return os.environ | {"STREAMSTOP_REDIS_URL": redis_url, "STREAMSTOP_REDIS_TIMEOUT": f"{TIMEOUT_S:g}"}


def run(redis_url: str, *arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [EXECUTABLE, *arguments],
        check=False,
        env=environ(redis_url),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def line(operation: str, account: str, **params: str | int) -> str:
    return json.dumps({"operation": operation, "account": account, "params": params}) + "\n"


def stop_line(task: str, account: str = ALIYUN) -> str:
    return line("live.StopMPUTask", account, AppId="app", TaskId=task)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in text.splitlines()]
