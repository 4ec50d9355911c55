"""QueueUnavailable names the server and what is wrong with it, and no secret, wherever a person meets it."""

import asyncio
import socket
import ssl
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from streamstop import AsyncClient, Client, QueueUnavailable
from streamstop._redis.errors import note_where, reason
from streamstop.cli import main
from streamstop.errors import InvalidSettings
from streamstop_simulator.demo.embedded_redis import free_port
from streamstop_worker import health
from tests.support.certificates import make_authority
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import PATIENT

PASSWORD = "hush-hush"
USER = "planted-user"
BRIEF = timedelta(seconds=0.5)


def unavailable(url: str, timeout: timedelta = PATIENT) -> str:
    """Return what a client is told, once what it shows is free of secrets and an AsyncClient is told the same."""
    with Client(url, timeout=timeout) as client, pytest.raises(QueueUnavailable) as told:
        client.room("room")
    assert told.value.reason
    consequences = ("the room could not be looked up", "nothing was changed")
    assert str(told.value) in {f"{told.value.reason}: {consequence}" for consequence in consequences}

    async def ask() -> None:
        async with AsyncClient(url, timeout=timeout) as client:
            await client.room("room")

    with pytest.raises(QueueUnavailable) as told_too:
        asyncio.run(ask())
    assert str(told_too.value) == str(told.value)
    for secret in (PASSWORD, USER):
        assert secret not in "".join(traceback.format_exception(told.value))
        assert secret not in repr(told.value)
    return told.value.reason


def at(port: int, scheme: str = "redis", query: str = "") -> str:
    return f"{scheme}://{USER}:{PASSWORD}@127.0.0.1:{port}/3{query}"


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_that_refuses() -> None:
    port = free_port()
    assert unavailable(at(port)) == f"Redis did not answer (connection refused at 127.0.0.1:{port}, database 3)"


def test_a_host_that_does_not_exist() -> None:
    told = unavailable(f"redis://{USER}:{PASSWORD}@no-such-host.invalid:6390/3")
    assert told in {
        f"Redis did not answer ({problem} at no-such-host.invalid:6390, database 3)"
        for problem in ("no such host", "the host name could not be resolved")  # the latter without a name server
    }


def test_a_host_that_never_answers(silent: int) -> None:
    assert unavailable(at(silent), BRIEF) == f"Redis did not answer (timed out at 127.0.0.1:{silent}, database 3)"


def test_a_host_that_never_answers_to_tls(silent: int) -> None:
    told = unavailable(at(silent, "rediss", "?ssl_cert_reqs=none"), BRIEF)
    assert told == f"Redis did not answer (timed out at 127.0.0.1:{silent}, database 3)"


def answering(reply: bytes, connection: Connection) -> None:
    connection._receive()
    connection.send(reply)
    connection.hang()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"-WRONGPASS invalid username-password pair", "Redis refused the user name or the password (AUTH at"),
        (b"-NOAUTH Authentication required.", "Redis asks for a password, and the url has none (NOAUTH at"),
        (b"-ERR DB index is out of range", "Redis has no database with this number (DATABASE at"),
        (b"-LOADING Redis is loading the dataset", "Redis has just started, and is loading its data (LOADING at"),
        (b"-DENIED Redis is running in protected mode", "Redis is in protected mode: without a password"),
        (b"-ERR max number of clients reached", "Redis did not answer (too many clients at"),
        (b"SSH-2.0-OpenSSH_9.2", "Redis did not answer (what it sent is not Redis' protocol at"),
    ],
)
def test_a_server_that_refuses(reply: bytes, told: str) -> None:
    with LoopbackServer(lambda connection: answering(reply + b"\r\n", connection)) as server:
        reason = unavailable(at(server.port))
    assert reason.startswith(told)
    assert reason.endswith(f" at 127.0.0.1:{server.port}, database 3)")


def test_a_server_that_hangs_up() -> None:
    def hang_up(connection: Connection) -> None:
        connection._receive()  # what is left unread would be a reset
        connection.close()

    with LoopbackServer(hang_up) as server:
        told = unavailable(at(server.port))
    assert told in {
        f"Redis did not answer ({problem} at 127.0.0.1:{server.port}, database 3)"
        for problem in ("connection closed", "connection reset by peer", "broken pipe")
    }


def test_an_untrusted_certificate(tmp_path: Path) -> None:
    (authority, _), (_, certificate) = make_authority(tmp_path, "known"), make_authority(tmp_path, "unknown")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with LoopbackServer(Connection.hang, context) as server:
        told = unavailable(at(server.port, "rediss", f"?ssl_cert_reqs=required&ssl_ca_certs={authority}"))
    assert told.startswith("Redis did not answer (TLS: ")
    assert "certificate" in told
    assert told.endswith(f" at 127.0.0.1:{server.port}, database 3)")


def test_tls_to_a_server_that_speaks_none() -> None:
    with LoopbackServer(lambda connection: answering(b"-ERR unknown command\r\n", connection)) as server:
        told = unavailable(at(server.port, "rediss", "?ssl_cert_reqs=none"))
    assert told.startswith("Redis did not answer (TLS: ")
    assert told.endswith(f" at 127.0.0.1:{server.port}, database 3)")


def test_sentinels_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_MASTER", "mymaster")
    first, second = sorted((free_port(), free_port()))
    told = unavailable(f"sentinel://{USER}:{PASSWORD}@127.0.0.1:{first}/3;sentinel://127.0.0.1:{second}")
    assert told == (
        "Redis did not answer (no sentinel that answers knows such a master at "
        f"sentinels 127.0.0.1:{first}, 127.0.0.1:{second}, master mymaster, database 3)"
    )


def test_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", at(port))
    result = CliRunner().invoke(main, ["job", "live-cn.live.StopMPUTask.1"])
    assert result.exit_code == 4
    assert result.stderr == (
        f"Error: Redis did not answer (connection refused at 127.0.0.1:{port}, database 3): "
        "the job could not be looked up\n"
    )


def test_health(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", at(port))
    with pytest.raises(SystemExit) as exited:
        health.main([])
    assert exited.value.code == (
        f"streamstop: Redis did not answer (connection refused at 127.0.0.1:{port}, database 3): "
        "whether the worker takes jobs is not known"
    )


def test_what_a_server_wrote_and_what_the_caller_was_handling_are_no_part_of_the_reason() -> None:
    assert "SECRET" not in reason(InvalidResponse("Protocol Error: b'SECRET'"))
    error = RedisConnectionError("Connection closed by server.")
    error.__context__ = ConnectionRefusedError(111, "of the caller's own")
    note_where(error, "h:1, database 0")
    note_where(error, "elsewhere")
    assert reason(error) == "Redis did not answer (connection closed at h:1, database 0)"


@pytest.mark.parametrize(
    "url", [f"redis://:12#{PASSWORD}@h:6379/0", f"redis://{USER}:12?{PASSWORD}@h:6379/0", f"redis://:1/{PASSWORD}@h/0"]
)
def test_a_url_whose_password_would_be_read_as_a_host_or_a_port_is_a_mistake(url: str) -> None:
    with pytest.raises(InvalidSettings, match="%-escapes") as raised:
        Client(url)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
