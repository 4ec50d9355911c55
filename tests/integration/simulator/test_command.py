"""The simulator's start, end and command line."""

import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from streamstop_simulator import (
    SimulatorClient,
    run_in_process,
    run_in_thread,
)
from streamstop_simulator.__main__ import main
from streamstop_worker.accounts import Account
from tests.support.polling import TIMEOUT_S
from tests.support.simulator_calls import LIVE, call, connect


def test_a_port_that_is_taken_is_an_error_at_the_start(simulator: SimulatorClient) -> None:
    with pytest.raises(OSError, match="Address already in use"), run_in_thread(port=urlsplit(simulator.url).port or 0):
        pass


def test_the_simulator_ends_though_a_caller_holds_its_connection() -> None:
    with run_in_thread() as simulator:
        idle = connect(simulator)
        idle.connect()
        call(simulator)
    assert idle.sock.recv(1) == b""
    idle.close()


def test_the_command_serves_the_accounts_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_SECRET", "own-secret")
    accounts = tmp_path / "accounts.toml"
    accounts.write_text("""
        [accounts.own]
        vendor = "aliyun"
        access_key_id = "own-key"
        access_key_secret = { env = "OWN_SECRET" }
    """)

    with run_in_process(accounts_file=accounts) as simulator:
        own = Account("own", "aliyun", "own-key", "own-secret")
        assert b"InvalidTask.NotFound" in call(simulator, own)[1]
        assert b"InvalidAccessKeyId.NotFound" in call(simulator, LIVE)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "streamstop_simulator", "--port", "0", "--auto-start"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("simulator on http://127.0.0.1:")
        simulator = SimulatorClient(line.removeprefix("simulator on ").strip())
        assert call(simulator)[0] == 200

        process.send_signal(number)
        _, complaints = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, complaints) == (0, "")


def test_the_command_says_in_a_sentence_why_it_cannot_start(simulator: SimulatorClient, tmp_path: Path) -> None:
    taken = CliRunner().invoke(main, ["--port", str(urlsplit(simulator.url).port)])
    assert (taken.exit_code, "cannot listen on" in taken.output) == (1, True)

    wrong = tmp_path / "accounts.toml"
    wrong.write_text("[accounts]")
    mistaken = CliRunner().invoke(main, ["--accounts", str(wrong)])
    assert mistaken.exit_code == 1
    assert "accounts.toml" in mistaken.output


def test_the_commands_help_shows_examples() -> None:
    shown = CliRunner().invoke(main, ["--help"])

    assert shown.exit_code == 0
    assert "streamstop-simulator --port 8099\n" in shown.output
    assert "demo-aliyun-1" in shown.output
