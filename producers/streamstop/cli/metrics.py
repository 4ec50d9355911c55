"""``streamstop metrics``: serves the facts of Redis to Prometheus, or prints them once."""

import threading
from importlib.util import find_spec

import click

from streamstop.cli._shared.exit_codes import Exit, Failure
from streamstop.cli._shared.help_pages import Page
from streamstop.cli._shared.options import redis_option
from streamstop.cli._shared.output import printable
from streamstop.client import Client
from streamstop.errors import QueueUnavailable

_MISSING = "streamstop metrics needs the extra metrics: pip install 'streamstop[metrics]'"


@click.command(
    cls=Page,
    short_help="Serve metrics for Prometheus.",
    blocks={
        "Examples": ["streamstop metrics", "streamstop metrics --port 9810"],
        "Exit codes": [
            "0    printed; or the server was stopped by SIGTERM",
            "2    bad input, or the port cannot be bound",
            "4    Redis did not answer (without --port)",
            "130  interrupted (Ctrl-C)",
        ],
    },
)
@click.option("--port", metavar="PORT", type=click.IntRange(1, 65535), help="Serve on this port until interrupted.")
@click.option("--host", metavar="ADDRESS", default="0.0.0.0", show_default=True, help="Serve on this address.")  # noqa: S104
@redis_option
def metrics(*, port: int | None, host: str, redis: str | None) -> None:
    """Print metrics of lanes, workers, dead letters, shutdowns and Redis once, or serve them.

    Serve them from one target only, because every target would say the same. They are read every 5 s. A Redis that
    does not answer is the metric streamstop_redis_up 0. Workers serve metrics of their calls themselves, on
    STREAMSTOP_METRICS_PORT.
    """
    if find_spec("prometheus_client") is None:
        raise Failure(_MISSING, Exit.BAD_INPUT)
    from streamstop.exporter import Exporter, serving

    with Client(redis) as client:
        exporter = Exporter(client)
        away = _problem(client)
        if port is None:
            if away is not None:
                raise Failure(f"{away}: the metrics could not be read", Exit.NO_QUEUE)
            click.echo(exporter.text(), nl=False)
            return
        try:
            with serving(exporter, host, port):
                click.echo(f"metrics are served on http://{host}:{port}/metrics", err=True)
                if away is not None:
                    click.echo(f"{away}: streamstop_redis_up is 0 until it does", err=True)
                threading.Event().wait()
        except OSError as error:
            raise Failure(f"{host}:{port} cannot be bound: {error.strerror}", Exit.BAD_INPUT) from error


def _problem(client: Client) -> str | None:
    """Return why Redis does not answer, and where it is; None if it answers."""
    try:
        client.accounts()
    except QueueUnavailable as error:
        return printable(error.reason or str(error))
    return None
