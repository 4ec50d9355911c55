"""Settings of the HTTP service: what they must be, and that no secret is shown."""

import re
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from streamstop import InvalidSettings
from streamstop._core.loopback import is_loopback
from streamstop_server.settings import ServerSettings


def test_without_any_it_listens_on_loopback_and_signs_with_a_secret_of_its_own() -> None:
    first, second = ServerSettings.from_environ({}), ServerSettings.from_environ({})
    assert (first.host, first.tokens, first.origins, first.grace) == ("127.0.0.1", None, (), timedelta(seconds=25))
    assert first.secret != second.secret
    assert first.secret not in repr(first)


def test_all_of_them_are_read() -> None:
    settings = ServerSettings.from_environ(
        {
            "STREAMSTOP_SERVER_HOST": "0.0.0.0",
            "STREAMSTOP_SERVER_TOKENS": "/etc/tokens.toml",
            "STREAMSTOP_SERVER_SECRET": "s" * 32,
            "STREAMSTOP_SERVER_ORIGINS": "https://ops.example.com, http://localhost:3000",
            "STREAMSTOP_SERVER_GRACE": "5",
            "STREAMSTOP_LOG_LEVEL": "DEBUG",
        }
    )
    assert settings == ServerSettings(
        "0.0.0.0",
        Path("/etc/tokens.toml"),
        "s" * 32,
        ("https://ops.example.com", "http://localhost:3000"),
        timedelta(seconds=5),
        "DEBUG",
    )


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"STREAMSTOP_SERVER_HOST": "0.0.0.0"}, "without a tokens file the service listens on loopback alone"),
        ({"STREAMSTOP_SERVER_SECRET": "hush"}, "must have at least 32 characters"),
        ({"STREAMSTOP_SERVER_ORIGINS": "*"}, "must name origins such as"),
        ({"STREAMSTOP_SERVER_ORIGINS": "https://a.example/path"}, "must name origins such as"),
        ({"STREAMSTOP_SERVER_GRACE": "-1"}, "STREAMSTOP_SERVER_GRACE must be a positive number of seconds"),
        ({"STREAMSTOP_LOG_LEVEL": "loud"}, "STREAMSTOP_LOG_LEVEL must be one of"),
        ({"STREAMSTOP_LOG_FORMAT": "xml"}, "STREAMSTOP_LOG_FORMAT must be one of auto, json, text, logfmt"),
    ],
)
def test_a_mistake_is_named(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(complaint)) as raised:
        ServerSettings.from_environ(environ)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LOCALHOST")),
        *((host, False) for host in ("0.0.0.0", "example.com", "", "localhost.example.com")),
    ],
)
def test_loopback_is_this_machine_alone(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one


def test_the_command_tells_a_mistake_in_one_line_and_exits_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamstop_server", "--tokens", str(tmp_path / "none.toml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.endswith(f"Error: {tmp_path}/none.toml: No such file or directory\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_that_is_taken_ends_the_start_with_one_sentence(processes: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "streamstop_server", "--port", port, "--processes", processes]
        started = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert started.returncode == 2
    assert started.stderr.endswith(f"\nError: 127.0.0.1:{port} cannot be bound: Address already in use\n")
    assert "tokens file" not in started.stderr
