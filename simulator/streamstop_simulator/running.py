"""Runs a simulator until a ``with`` block ends: in a thread of this process, or in a process of its own."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from streamstop_simulator.accounts import DEFAULT_ACCOUNTS, Account
from streamstop_simulator.child_process import end
from streamstop_simulator.client import SimulatorClient
from streamstop_simulator.clock import Clock
from streamstop_simulator.simulation import Settings, Simulation

_STOPS_WITHIN = timedelta(seconds=10)


@contextmanager
def run_in_thread(
    accounts: Iterable[Account] = DEFAULT_ACCOUNTS,
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    port: int = 0,
) -> Iterator[SimulatorClient]:
    """Run a simulator in a thread, with its own event loop; port 0 selects a free one."""
    from streamstop_simulator.server import Server  # requires h11, which the client does not

    server = Server(Simulation(accounts, settings, clock), port=port)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            await server.start()
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="simulator", daemon=True)
    thread.start()
    loop, stop = started.result()
    try:
        yield SimulatorClient(server.url)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_STOPS_WITHIN.total_seconds())


@contextmanager
def run_in_process(*, accounts_file: Path | None = None, port: int = 0) -> Iterator[SimulatorClient]:
    """Run ``streamstop-simulator`` in a process of its own; port 0 selects a free one.

    It writes to the stderr of this process. Raises :class:`ChildProcessError` if it does not start.
    """
    command = [sys.executable, "-m", "streamstop_simulator", "--port", str(port)]
    if accounts_file is not None:
        command += ["--accounts", str(accounts_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("simulator on "):
                raise ChildProcessError("the simulator did not start")
            yield SimulatorClient(line.removeprefix("simulator on ").strip())
        finally:
            end(process, _STOPS_WITHIN.total_seconds())
