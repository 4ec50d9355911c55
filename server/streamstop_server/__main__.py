"""``streamstop-server``: serve the API and the page."""

import os
import secrets
import sys
from pathlib import Path

import click
import uvicorn

from streamstop import Client, StreamstopError, __version__
from streamstop_server.settings import PREFIX, ServerSettings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65_535), help="Port to listen on.")
@click.option("--tokens", type=click.Path(path_type=Path), help=f"The tokens file; {PREFIX}TOKENS.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="How many processes serve.")
@click.option(
    "--trust-proxy",
    metavar="ADDRESSES",
    default="127.0.0.1",
    show_default=True,
    help="Addresses of reverse proxies whose X-Forwarded headers count.",
)
@click.version_option(__version__)
def main(host: str, port: int, tokens: Path | None, processes: int, trust_proxy: str) -> None:
    """Serve the API and the page of streamstop.

    Redis is where STREAMSTOP_REDIS_URL says. Without a tokens file, only this machine can connect, and may do
    everything. SIGHUP reads the tokens file again; SIGTERM ends, after requests in progress.
    """
    os.environ[f"{PREFIX}HOST"] = host
    if tokens is not None:
        os.environ[f"{PREFIX}TOKENS"] = str(tokens)
    # The processes must accept each other's sessions.
    os.environ.setdefault(f"{PREFIX}SECRET", secrets.token_urlsafe(32))
    try:
        settings = ServerSettings.from_environ()
        Client().close()  # settings of the queue that are wrong
        from streamstop_server.auth import Authenticator

        Authenticator(settings)
    except StreamstopError as mistake:
        click.echo(f"streamstop-server: {mistake}", err=True)
        sys.exit(2)
    if settings.tokens is None:
        click.echo("streamstop-server: no tokens file: everybody on this machine may do everything", err=True)
    uvicorn.run(
        "streamstop_server.app:create",
        factory=True,
        host=host,
        port=port,
        workers=processes,
        log_config=None,
        log_level=settings.log_level.lower(),
        access_log=False,
        server_header=False,
        forwarded_allow_ips=trust_proxy,
        timeout_graceful_shutdown=max(1, round(settings.grace.total_seconds())),
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
