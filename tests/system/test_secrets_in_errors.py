"""Error messages of the worker, the command line and the log contain no secret."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from streamstop_simulator.demo.embedded_redis import redis_server
from tests.support.planted_secrets import MISTAKEN, PASSWORD, secrets_in

pytestmark = pytest.mark.long


def streamstop(environ: Mapping[str, str], *arguments: str, code: int) -> str:
    """Return what our command line tells, where it ends with `code`."""
    command = [sys.executable, "-m", "streamstop", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environ}, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
def test_an_error_at_the_start_is_reported_without_a_secret(tmp_path: Path, level: str) -> None:
    environs = [
        {"STREAMSTOP_REDIS_URL": f"http://:{MISTAKEN}@localhost"},
        {"STREAMSTOP_REDIS_URL": f"redis://:{MISTAKEN}/@localhost:port"},
        {"STREAMSTOP_REDIS_URL": f"redis://localhost/0?password={MISTAKEN}"},
        {"STREAMSTOP_REDIS_URL": f"sentinel://:{quote(MISTAKEN, safe='')}@localhost:1"},
        {"STREAMSTOP_REDIS_URL": f"rediss://:{quote(MISTAKEN, safe='')}@localhost:1/0?ssl_cert_reqs=no"},
        {"STREAMSTOP_ACCOUNTS": str(tmp_path / "mistaken.toml")},
    ]
    (tmp_path / "mistaken.toml").write_text(
        f'[accounts.a]\nvendor = "aliyun"\naccess_key_secret = {{env = "{MISTAKEN}"}}'
    )
    for environ in environs:
        command = [sys.executable, "-m", "celery", "-A", "streamstop_worker", "worker", "-l", level]
        done = subprocess.run(
            command, env={**os.environ, **environ}, check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert "streamstop: " in done.stderr
        assert secrets_in(done.stdout + done.stderr) == []


def test_the_command_line_reports_errors_without_a_secret(tmp_path: Path) -> None:
    lines = tmp_path / "tasks.jsonl"
    lines.write_text('{"operation": "live.StopMPUTask", "params": {"AppId": "a", "TaskId": "t"}}\n')
    escaped = quote(MISTAKEN, safe="")
    with redis_server() as server:
        server.client().config_set("requirepass", PASSWORD)
        for url, code in (
            (f"redis://:{escaped}@127.0.0.1:{server.port}/0", 4),  # a wrong password
            (f"redis://:{escaped}@127.0.0.1:1/0", 4),  # nobody there
            (f"redis://:{MISTAKEN}@127.0.0.1:{server.port}/0", 2),  # not escaped
            (f"redis://127.0.0.1:{server.port}/0?password={escaped}", 2),
            (f"http://:{escaped}@127.0.0.1/0", 2),
        ):
            for arguments in (["stop", "--from", str(lines), "--account", "a"], ["job", "x"], ["room", "show", "r"]):
                output = streamstop(
                    {"STREAMSTOP_REDIS_URL": url, "STREAMSTOP_REDIS_TIMEOUT": "1"}, *arguments, code=code
                )
                assert output
                assert secrets_in(output) == []


@pytest.mark.parametrize("log_format", ["json", "logfmt", "text"])
def test_an_exception_that_nobody_foresaw_is_logged_without_the_variables_of_its_frames(
    tmp_path: Path, log_format: str
) -> None:
    program = f"""
import logging, structlog
from streamstop_worker import telemetry
from streamstop_worker.accounts import Account

telemetry.set_up("DEBUG", {log_format!r})
secret = {MISTAKEN!r}
def fail(account, secret):
    raise RuntimeError("unforeseen")
for log in (structlog.get_logger("ours"), logging.getLogger("celery.worker")):
    try:
        fail(Account("a", "aliyun", "id", secret), secret)
    except RuntimeError:
        log.exception("it failed")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr.count("RuntimeError: unforeseen") == 2
    assert secrets_in(done.stdout + done.stderr) == []
