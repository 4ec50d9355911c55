"""The workers: real processes, each behind its own proxies. A worker that ends is replaced at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.chronicle import Chronicle
from tests.torture.proxy import Proxy

_REPOSITORY = Path(__file__).parents[2]
#: The longest that a worker may take from SIGTERM to its end: calls end, and Redis may be away.
_DRAINS_WITHIN_S = 45.0
#: The workers' concurrency. The first is often exhausted; the last is the default.
_CONCURRENCIES = (16, 64, 256)


@dataclass
class Life:
    """One process of a worker."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    notes: Path
    #: Whether the run killed it, or told it to stop.
    doomed: bool = False
    told_to_go: float | None = None

    def read_notes(self) -> Iterator[dict[str, Any]]:
        """Yield the process' notes; see :mod:`tests.torture.worker`."""
        for line in self.notes.read_text().splitlines():
            yield json.loads(line) | {"process": self.name}


@dataclass
class Worker:
    """One worker: its processes follow each other, each after the death of the last."""

    number: int
    redis: Proxy
    vendor: Proxy
    accounts: Path
    lives: list[Life] = field(default_factory=list)

    @property
    def life(self) -> Life:
        """The current process."""
        return self.lives[-1]


class Fleet:
    """All workers. A thread looks twenty times a second, and replaces processes that died."""

    def __init__(
        self, folder: Path, triggers: Path, chronicle: Chronicle, environ: Mapping[str, str], clock_error: Any
    ) -> None:
        self.workers: list[Worker] = []
        self._folder = folder
        self._triggers = triggers
        self._chronicle = chronicle
        self._environ = environ
        self._clock_error = clock_error
        self._closing = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="fleet", daemon=True)

    def add(self, redis: Proxy, vendor: Proxy, accounts: Path) -> None:
        """Start one more worker."""
        worker = Worker(len(self.workers), redis, vendor, accounts)
        self._start(worker)
        self.workers.append(worker)

    def watch(self) -> None:
        """Start to replace processes that die."""
        self._watching.start()

    @property
    def lives(self) -> list[Life]:
        """Every process of the run, ended or not."""
        return [life for worker in self.workers for life in worker.lives]

    def kill(self, number: int) -> Life:
        """SIGKILL a worker's process."""
        life = self.workers[number].life
        life.doomed = True
        life.process.kill()
        return life

    def terminate(self, number: int) -> Life:
        """SIGTERM a worker's process."""
        life = self.workers[number].life
        life.doomed = True
        life.told_to_go = life.told_to_go or time.monotonic()
        life.process.terminate()
        return life

    def await_ready(self, timeout: float) -> None:
        """Wait until every process takes messages."""
        deadline = time.monotonic() + timeout
        for worker in self.workers:
            while b"@torture ready." not in worker.life.log.read_bytes():
                if time.monotonic() > deadline:
                    self._chronicle.alarm(f"{worker.life.name} does not take messages after {timeout:g} s")
                    return
                time.sleep(0.05)

    def close(self) -> None:
        """Stop all of them."""
        self._closing.set()
        if self._watching.is_alive():
            self._watching.join()
        for worker in self.workers:
            worker.life.process.send_signal(signal.SIGCONT)
            worker.life.process.terminate()
        for worker in self.workers:
            try:
                worker.life.process.wait(_DRAINS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._chronicle.alarm(f"{worker.life.name} did not end within {_DRAINS_WITHIN_S:g} s of SIGTERM")
                worker.life.process.kill()
                worker.life.process.wait()

    def _start(self, worker: Worker) -> None:
        name = f"w{worker.number}-{len(worker.lives)}"
        log, notes = self._folder / f"{name}.log", self._folder / f"{name}.notes"
        notes.touch()
        error = self._clock_error(worker.number, len(worker.lives))
        command = [sys.executable, "-W", "ignore::celery.platforms.SecurityWarning", "-m", "celery"]
        command += ["-A", "tests.torture.worker", "worker", "-n", f"{name}@torture"]
        own = {
            "STREAMSTOP_REDIS_URL": f"redis://127.0.0.1:{worker.redis.port}/0",
            "STREAMSTOP_ACCOUNTS": str(worker.accounts),
            "STREAMSTOP_LOG_FORMAT": "json",
            "STREAMSTOP_CONCURRENCY": str(_CONCURRENCIES[worker.number % len(_CONCURRENCIES)]),
            "TORTURE_TRIGGERS": str(self._triggers),
            "TORTURE_NOTES": str(notes),
            "TORTURE_CLOCK_ERROR": str(error),
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **own, **self._environ},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=_REPOSITORY,
            )
        worker.lives.append(Life(name, process, log, notes))
        self._chronicle.tell(f"started {name}" + (f", whose clock is off by {error:g} s" if error else ""))

    def _watch(self) -> None:
        while not self._closing.wait(0.05):
            for worker in self.workers:
                life = worker.life
                if life.process.poll() is None:
                    self._look_after(life)
                    continue
                if not life.doomed:
                    self._explain(life)
                self._start(worker)

    def _look_after(self, life: Life) -> None:
        if life.told_to_go is not None and time.monotonic() - life.told_to_go > _DRAINS_WITHIN_S:
            self._chronicle.alarm(f"{life.name} did not end within {_DRAINS_WITHIN_S:g} s of SIGTERM")
            life.process.kill()

    def _explain(self, life: Life) -> None:
        """Note where a process killed itself. If the run did not cause its end, raise an alarm."""
        last = next((note for note in reversed(list(life.read_notes())) if note["what"] == "dies"), None)
        if last is None:
            self._chronicle.alarm(f"{life.name} ended by itself, with {life.process.returncode}")
        else:
            life.doomed = True
            self._chronicle.met(last["point"], life.name, last["at"])
