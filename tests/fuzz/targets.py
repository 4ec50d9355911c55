"""The fuzzer's targets: every parser of outside data, as a function of bytes that must not raise.

A target allows only the error that its parser is documented to raise. It also checks what readers of the result rely
on, for example that it can be written as JSON.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streamstop import callbacks
from streamstop._core.commands import ReceivedCommand
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory
from streamstop._core.letters import dead_letter_record
from streamstop._core.membership import Membership, check_callback, check_room, task_of
from streamstop._redis.pool import open_redis
from streamstop._wire.results import outcome_record, read_record
from streamstop.cli._shared.parsing import LINE_KEYS, Defaults, InvalidLines, parse_lines
from streamstop.errors import InvalidCommand, InvalidSettings
from streamstop.operations import OPERATIONS, Kind, Operation
from streamstop.outcomes import Outcome, Result
from streamstop.settings import RedisSettings, RoomSettings, outcomes_kept
from streamstop_worker.accounts import load_accounts
from streamstop_worker.pipeline.deliveries import read_argument
from streamstop_worker.settings import WorkerSettings, celery_options
from streamstop_worker.vendors import PROTOCOLS
from streamstop_worker.vendors.protocol import Response

_NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
_OF_VENDOR: Mapping[str, list[Operation]] = {
    vendor: [
        declaration.model_construct()
        for declaration in OPERATIONS.values()
        if declaration.spec.product.vendor.name == vendor
    ]
    for vendor in PROTOCOLS
}
_SECRET = "hush+hush/secret=="


def aliyun(data: bytes) -> None:
    """Parse a reply of Alibaba."""
    _reply("aliyun", data)


def tencent(data: bytes) -> None:
    """Parse a reply of Tencent."""
    _reply("tencent", data)


def _reply(vendor: str, data: bytes) -> None:
    """Parse a reply. The input is a byte for the operation, one for the status, a line for a header, and the body."""
    operations = _OF_VENDOR[vendor]
    number, status = (data[:2] + b"\0\0")[:2]
    line, _, body = data[2:].partition(b"\n")
    names = ("x-acs-retry-after", "x-ratelimit-user-api", "x-acs-request-id")
    headers = {names[status % 3]: line.decode("latin-1")}
    operation = operations[number % len(operations)]
    response = Response([200, 400, 429, 503][status % 4], headers, body, secrets=(_SECRET,))
    answer = PROTOCOLS[vendor].parse(operation, response)
    assert answer.meaning is None or answer.code
    assert answer.retry_after is None or timedelta(0) < answer.retry_after <= timedelta(minutes=5)
    fields = [answer.code, answer.message, answer.request_id, answer.reply]
    assert _SECRET not in repr(fields)
    json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    outcome = _outcome(Result.STATUS, code=answer.code, message=answer.message, reply=answer.reply)
    assert read_record(outcome_record(outcome)) == outcome
    if operation.spec.status is not None:
        operation.spec.status.read(answer.reply)


def _outcome(result: Result, **told: Any) -> Outcome:
    return Outcome(result=result, job_id="j", account="a", operation="live.StopMPUTask", ended_at=_NOW, **told)


def command(data: bytes) -> None:
    """Parse the argument of a message: a command, and the shutdown that it is part of."""
    with contextlib.suppress(ValueError, RecursionError):
        _command(json.loads(data))


def _command(message: object) -> None:
    membership = Membership.of_message(message)
    if membership is not None:
        membership.job_id(Lane("a", "live.StopMPUTask"))
    try:
        read = ReceivedCommand.from_message(message)
    except InvalidCommand as problem:
        # As a worker ends the job: in a record, and in a dead letter that a person reads.
        outcome = _outcome(Result.REFUSED, message=str(problem))
        record = outcome_record(outcome)
        assert len(record) < 10_000
        assert isinstance(read_record(record), Outcome)
        letter = dead_letter_record(message, membership, outcome, None, understood=False)
        assert membership is not None or letter is not None
        if letter is not None:
            letter.text.encode()
    else:
        assert json.loads(task_of(read))[0] == read.account == read.lane.account
        json.dumps(read.operation.params, ensure_ascii=False).encode()


def envelope(data: bytes) -> None:
    """Parse a whole message, as a queue holds it."""
    read_argument(data)


def record(data: bytes) -> None:
    """Parse a job's record in the result backend."""
    read_record(data)
    read_record(data.decode("latin-1"))


def accounts(data: bytes) -> None:
    """Parse an accounts file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "accounts.toml"
        file.write_bytes(data)
        file.chmod(0o600)
        with contextlib.suppress(InvalidSettings):
            for account in load_accounts(file, {"KEY": _SECRET}).values():
                assert _SECRET not in repr(account)
                assert account.origin("h").startswith(("https://", "http://"))


def lines(data: bytes) -> None:
    """Parse a ``--from`` file of the command line."""
    for kind in Kind:
        defaults = Defaults(account="live-cn")
        with contextlib.suppress(InvalidLines):
            for line in parse_lines(data.splitlines(keepends=True), kind, defaults, LINE_KEYS):
                json.dumps(line.command.to_message(now=_NOW), ensure_ascii=False).encode()


_VARIABLES = (
    "STREAMSTOP_REDIS_URL",
    "STREAMSTOP_REDIS_MASTER",
    "STREAMSTOP_REDIS_TIMEOUT",
    "STREAMSTOP_ROOM_KEPT",
    "STREAMSTOP_ROOM_CLOSED_FOR",
    "STREAMSTOP_CONCURRENCY",
    "STREAMSTOP_CALL_TIMEOUT",
    "STREAMSTOP_VERIFY_TIMEOUT",
    "STREAMSTOP_LOG_FORMAT",
    "STREAMSTOP_LOG_LEVEL",
    "STREAMSTOP_OUTCOMES_KEPT",
)


def settings(data: bytes) -> None:
    """Parse environment variables, one on each line."""
    values = data.decode(errors="surrogateescape").split("\n")
    environ = dict(zip(_VARIABLES, values, strict=False))
    with contextlib.suppress(InvalidSettings):
        redis = RedisSettings.from_environ(environ)
        celery_options(redis)
        open_redis(redis)
    with contextlib.suppress(InvalidSettings):
        RoomSettings.from_environ(environ)
    with contextlib.suppress(InvalidSettings):
        assert outcomes_kept(environ) >= timedelta(seconds=1)
    with contextlib.suppress(InvalidSettings):
        assert WorkerSettings.from_environ(environ).lease > timedelta(0)


def texts(data: bytes) -> None:
    """Parse other texts: a job's history, an id, a room's name, a callback and its signature."""
    text = data.decode(errors="surrogateescape")
    with contextlib.suppress(ValueError):
        assert AttemptHistory.parse(str(AttemptHistory.parse(text))) == AttemptHistory.parse(text)
    Lane.of_job(text)
    assert not callbacks.verify("another", text, data)
    for check in (check_room, check_callback):
        with contextlib.suppress(InvalidCommand):
            check(text)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (aliyun, tencent, command, envelope, record, accounts, lines, settings, texts)
}
