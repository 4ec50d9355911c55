"""``streamstop-simulator``: serves the simulated vendors until SIGTERM or SIGINT."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamstop.errors import InvalidSettings
from streamstop_simulator.accounts import DEFAULT_ACCOUNTS, load_accounts
from streamstop_simulator.simulation import Settings, Simulation

if TYPE_CHECKING:
    from streamstop_simulator.server import Server

_DEFAULT_ACCOUNTS = "\n".join(
    f"  {account.name:<15} {account.vendor:<8} {account.access_key_id:<18} {account.access_key_secret}"
    for account in DEFAULT_ACCOUNTS
)
_EPILOG = f"""\b
Accounts, key IDs and secrets if there is no file:
{_DEFAULT_ACCOUNTS}

\b
Examples:
  streamstop-simulator --port 8099
  streamstop-simulator --port 0 --accounts accounts.toml
  curl -s http://127.0.0.1:8099/_control/summary
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8099, show_default=True, help="The port; 0 selects a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address. The control API has no password.")
@click.option(
    "--accounts",
    "accounts_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The workers' accounts file; it replaces the accounts below.",
)
@click.option("--auto-start", is_flag=True, help="Treat every unknown task as running.")
@click.option(
    "--latency-ms", type=click.FloatRange(0), default=0.0, help="Delay of every vendor answer, in milliseconds."
)
def main(port: int, host: str, accounts_file: Path | None, auto_start: bool, latency_ms: float) -> None:
    """Simulate the APIs of Alibaba Live and RTC and of Tencent TRTC over HTTP.

    The simulator checks signatures, keeps the state of stream tasks, enforces the vendors' limits and injects faults.
    The API under /_control/ sets it up and lists the calls. The simulator prints its address when it listens, and
    ends on SIGTERM or SIGINT.
    """
    try:
        from streamstop_simulator.server import Server
    except ModuleNotFoundError as missing:
        raise click.ClickException(f"{missing.name} is not installed: pip install 'streamstop[simulator]'") from None
    try:
        accounts = load_accounts(accounts_file, os.environ) if accounts_file else DEFAULT_ACCOUNTS
    except InvalidSettings as error:
        raise click.ClickException(str(error)) from None
    settings = Settings(auto_start=auto_start, latency_ms=latency_ms)
    try:
        asyncio.run(_serve(Server(Simulation(accounts, settings), host, port)))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


async def _serve(server: "Server") -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    await server.start()
    click.echo(f"simulator on {server.url}")
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    main()
