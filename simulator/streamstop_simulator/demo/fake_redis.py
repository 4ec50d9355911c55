"""``python -m streamstop_simulator.demo.fake_redis``: runs fakeredis, for machines without a redis-server.

It listens on loopback, keeps all data in memory, and runs the Lua scripts. It is not for production.
"""

import importlib
import sys
from typing import Any

import click

MISSING = (
    "There is neither a redis-server nor fakeredis. Install one: apt-get install redis-server, brew install redis, "
    "or pip install 'fakeredis[lua]'. For `make demo`, STREAMSTOP_REDIS_URL can also name a running Redis."
)


def main() -> None:
    """Serve on a free port until a signal ends the process. The first line of output is the address."""
    try:
        from fakeredis import TcpFakeServer

        importlib.import_module("lupa")  # runs Lua; without it, fakeredis starts but fails at the first script
    except ImportError:
        sys.exit(MISSING)
    server = TcpFakeServer(("127.0.0.1", 0))
    server.RequestHandlerClass = _answering_errors(server.RequestHandlerClass)
    click.echo(f"fakeredis on redis://127.0.0.1:{server.server_address[1]}/0")
    server.serve_forever()


def _answering_errors(handler: Any) -> Any:
    """Return a handler that keeps the connection after an error reply.

    The handler of fakeredis closes it. The first call of each script gets an error reply: NOSCRIPT.
    """

    class AnsweringErrors(handler):  # type: ignore[misc]  # fakeredis does not export its handler
        def setup(self) -> None:
            super().setup()
            read = self.current_client.read_response

            def read_or_error() -> Any:
                try:
                    return read()
                except Exception as error:  # noqa: BLE001  # any error is sent as the reply
                    return error

            self.current_client.read_response = read_or_error

    return AnsweringErrors


if __name__ == "__main__":
    main()
