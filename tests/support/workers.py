"""Real worker processes for tests: ``celery -A streamstop_worker worker``, as a person would start it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamstop_simulator.child_process import end
from streamstop_worker.accounts import Account
from tests.support.polling import TIMEOUT_S, eventually


def accounts_toml(accounts: Iterable[Account], endpoint: str, limits: Mapping[str, float] | None = None) -> str:
    """Return an accounts file for `accounts`, all of them served by the simulator at `endpoint`."""
    lines: list[str] = []
    for account in accounts:
        lines += [f"[accounts.{account.name}]", f'vendor = "{account.vendor}"', f'endpoint = "{endpoint}"']
        lines += [f'access_key_id = "{account.access_key_id}"', f'access_key_secret = "{account.access_key_secret}"']
        if account.security_token is not None:
            lines.append(f'security_token = "{account.security_token}"')
        if account.vendor == "tencent":
            lines.append(f'region = "{account.region or "ap-singapore"}"')
        elif account.signature != "v3":
            lines.append(f'signature = "{account.signature}"')
        own = dict(account.limits) | dict(limits or {})
        own = {name: limit for name, limit in own.items() if name.startswith("trtc.") == (account.vendor == "tencent")}
        if own:
            lines.append(f"[accounts.{account.name}.limits]")
            lines += [f'"{operation}" = {limit}' for operation, limit in own.items()]
    return "\n".join(lines) + "\n"


class WorkerProcess:
    """A running worker and the lines it has logged."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def text(self) -> str:
        """Everything that it wrote, to standard output and error."""
        return self._log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Return the complete JSON lines that it has logged."""
        whole, _, _ = self.text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def await_line(self, text: str, timeout: float = TIMEOUT_S) -> None:
        """Wait until it has written `text`."""

        def written() -> bool:
            ended = self.process.poll() is not None
            found = text in self.text()
            assert found or not ended, f"the worker ended without writing {text!r}:\n{self.text()}"
            return found

        eventually(written, lambda: f"the worker wrote {text!r}:\n{self.text()}", timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def suspend(self) -> None:
        """Stop it with SIGSTOP, and wait until all of its threads stand still."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self) -> None:
        """Kill it with SIGKILL, as a power failure would."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = TIMEOUT_S) -> int:
        """Shut it down warmly; return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not shut down:\n{self.text()}") from None


@contextmanager
def worker(
    redis_url: str,
    accounts: Path,
    *arguments: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    ready: bool = True,
    name: str = "w1",
) -> Iterator[WorkerProcess]:
    """Run a worker until the block ends, and wait until it takes messages."""
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "celery", "-A", "streamstop_worker", "worker", "-n", f"{name}@test", *arguments]
    own = {"STREAMSTOP_REDIS_URL": redis_url, "STREAMSTOP_ACCOUNTS": str(accounts), "STREAMSTOP_LOG_FORMAT": "json"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **own, **(environ or {})}, stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    running = WorkerProcess(process, log)
    try:
        if ready:
            running.await_line("@test ready.")
        yield running
    finally:
        end(process, 30)
