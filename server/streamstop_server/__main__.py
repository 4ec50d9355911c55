"""``streamstop-server``: serves the API and the page until SIGTERM or SIGINT."""

import os
import secrets
import socket
import sys
from contextlib import suppress
from pathlib import Path

import click

from streamstop import Client, InvalidSettings, __version__
from streamstop_server.settings import ServerSettings

if sys.platform != "win32":
    import resource

_EPILOG = """\b
Examples:
  streamstop-server
  streamstop token new me --scope read --scope operate >> tokens.toml
  streamstop-server --host 0.0.0.0 --tokens tokens.toml --processes 2
"""

#: How many files a process opens at most: the waits of clients, other requests, and Redis.
MOST_FILES = 65_536

#: How long one of several processes may give no sign of life before another replaces it, in seconds. On a busy machine
#: a process that starts, or that waits for memory, takes longer than the five seconds that uvicorn grants.
_LONGEST_STILL_S = 30


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65_535), help="The port.")
@click.option(
    "--tokens", type=click.Path(path_type=Path), help="The tokens file; without it, loopback only.", metavar="FILE"
)
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="How many processes serve.")
@click.option(
    "--trust-proxy",
    metavar="ADDRESSES",
    default="127.0.0.1",
    show_default=True,
    help="Reverse proxies whose X-Forwarded headers count.",
)
@click.version_option(__version__)
def main(host: str, port: int, tokens: Path | None, processes: int, trust_proxy: str) -> None:
    """Serve the HTTP API and the page of streamstop.

    STREAMSTOP_REDIS_URL says where Redis is. Without a tokens file, only this machine can connect, and may do
    everything. A tokens file that changes is read again. SIGTERM ends the service after the requests in progress.
    """
    os.environ["STREAMSTOP_SERVER_HOST"] = host
    if tokens is not None:
        os.environ["STREAMSTOP_SERVER_TOKENS"] = str(tokens)
    # All processes must accept a session that one of them has made.
    os.environ.setdefault("STREAMSTOP_SERVER_SECRET", secrets.token_urlsafe(32))
    try:
        import uvicorn

        from streamstop_server.access.auth import Authenticator
        from streamstop_server.processes import Processes
    except ModuleNotFoundError as missing:
        raise click.ClickException(f"{missing.name} is not installed: pip install 'streamstop[server]'") from None
    try:
        settings = ServerSettings.from_environ()
        Authenticator(settings)
        Client().close()
    except InvalidSettings as mistake:
        raise click.UsageError(str(mistake)) from None
    _check_address(host, port)
    if settings.tokens is None:
        click.echo("There is no tokens file: everybody on this machine may do everything.", err=True)
    _allow_connections()
    config = uvicorn.Config(
        "streamstop_server.app:create",
        factory=True,
        host=host,
        port=port,
        workers=processes,
        # By h11: httptools loses the body of a request that offers HTTP/2, as Java's client does with every first one.
        http="streamstop_server.connections:Connection",
        log_config=None,
        log_level=settings.log_level.lower(),
        access_log=False,
        server_header=False,
        forwarded_allow_ips=trust_proxy,
        timeout_graceful_shutdown=max(1, round(settings.grace.total_seconds())),
        timeout_keep_alive=75,  # longer than a reverse proxy keeps a connection open
        timeout_worker_healthcheck=_LONGEST_STILL_S,
    )
    if processes > 1:
        Processes(config).run()
        return
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # SIGINT, after the server has ended
        server.run()
    if not server.started:
        sys.exit(1)


def _check_address(host: str, port: int) -> None:
    """Fail if the address cannot be bound. uvicorn would say so in the middle of its log."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise click.UsageError(f"{host}:{port} cannot be bound: {error.strerror}") from None


def _allow_connections() -> None:
    """Raise the limit of open files as far as a process may: each client that waits takes one."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
