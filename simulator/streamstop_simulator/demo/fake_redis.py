"""``python -m streamstop_simulator.demo.fake_redis``: fakeredis' server, for machines without a redis-server.

It keeps everything in memory, on loopback, and runs the lanes' Lua scripts; a production queue is never put on it.
"""

import importlib
import sys
from typing import Any

import click

MISSING = (
    "There is neither a redis-server nor fakeredis. Install one: apt-get install redis-server, brew install redis, "
    "or pip install 'fakeredis[lua]'; or name a Redis: STREAMSTOP_REDIS_URL=redis://localhost:6379/15 make demo"
)


def main() -> None:
    """Serve on a free port until a signal ends the process; the first line tells the address."""
    try:
        from fakeredis import TcpFakeServer

        importlib.import_module("lupa")  # it runs the scripts; without it fakeredis starts, and fails at the first
    except ImportError:
        sys.exit(MISSING)
    server = TcpFakeServer(("127.0.0.1", 0))
    server.RequestHandlerClass = _answering_errors(server.RequestHandlerClass)
    click.echo(f"fakeredis on redis://127.0.0.1:{server.server_address[1]}/0")
    server.serve_forever()


def _answering_errors(handler: Any) -> Any:
    """Return a handler that goes on after an error reply; fakeredis' own hangs up, and every script begins with one."""

    class AnsweringErrors(handler):  # type: ignore[misc]  # fakeredis does not export its handler
        def setup(self) -> None:
            super().setup()
            read = self.current_client.read_response

            def answer() -> Any:
                try:
                    return read()
                except Exception as error:  # noqa: BLE001  # whatever it is, it is the reply
                    return error

            self.current_client.read_response = answer

    return AnsweringErrors


if __name__ == "__main__":
    main()
