"""Processes: several that serve at one port, each of which reads the tokens file again at SIGHUP."""

import os
import signal
import sys

from uvicorn import Config
from uvicorn.supervisors import Multiprocess


class Processes(Multiprocess):
    """The processes of one service, which share a socket.

    uvicorn replaces every process at SIGHUP, which ends each stream. This class passes the signal to them instead.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config, sockets=[config.bind_socket()])

    def handle_hup(self) -> None:
        """Pass SIGHUP on. A process that still starts has yet to read the file, and the signal would end it."""
        if sys.platform == "win32":
            return
        for process in self.processes:
            if process.pid is not None and process.is_ready(timeout=self.config.timeout_worker_healthcheck):
                os.kill(process.pid, signal.SIGHUP)
