"""Hostile messages: what a faulty or malicious producer may put into a lane. A seed makes them reproducible."""

import base64
import bz2
import json
import math
from collections.abc import Iterator
from random import Random
from typing import Any

from streamstop._core.lane import Lane
from tests.support.celery_messages import envelope

_TEXTS = (
    "", "\0", "\ud800", "é雨\U0001f600", "a" * 300, "%s%d", "../../x", "\x1b[31m", "streamstop.execute",
    "application/x-python-serialize", "Application/X-Python-Serialize", "application/x-yaml", "pickle", "yaml",
    "application/data", "application/text", "application/JSON", "application/json; charset=utf-8", "binary", "rot13",
    "utf-16", "zlib", "bzip2", "gzip", "base64", "BASE64", "2999-01-01T00:00:00Z", "yesterday", "1e400",
    "live-cn.live.StopMPUTask.x:owner", "streamstop.lane._control.room.Steps", "streamstop.ready",
    "_control.room.Steps.x",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 5, 10**18, 10**400, -(10**30), 1.5, 1e300, math.nan, math.inf, -math.inf, [], {}, [[]],
    [None, None], {"a": {}}, {"": 1}, ["x"] * 50, {"callbacks": 5}, {"url": "http://example.com"}, *_TEXTS,
)  # fmt: skip
#: Paths that a decoder reads and few messages have.
_ADDED = (
    ("headers", "compression"), ("headers", "eta"), ("headers", "expires"), ("headers", "timelimit"),
    ("headers", "group"), ("headers", "chord"), ("headers", "ignore_result"), ("headers", "argsrepr"),
    ("headers", "shadow"), ("headers", "origin"), ("headers", "root_id"), ("headers", "stamps"),
    ("headers", "stamped_headers"), ("headers", "replaced_task_nesting"), ("headers", "retries"),
    ("properties", "reply_to"), ("properties", "priority"), ("properties", "delivery_info", "priority"),
    ("properties", "delivery_info", "redelivered"), ("properties", "delivery_tag"), ("properties", "correlation_id"),
    ("content-type",), ("content-encoding",), ("body",), ("headers",), ("properties",),
)  # fmt: skip
_IN_COMMAND = (
    ("v",), ("operation",), ("account",), ("params",), ("params", "TaskId"), ("params", "AppId"), ("params", "self"),
    ("enqueued_at",), ("expires_at",), ("shutdown",), ("shutdown", "shutdown"), ("shutdown", "member"),
    ("shutdown", "follow"),
)  # fmt: skip
#: A few hundred bytes that become a hundred million.
_BOMB = base64.b64encode(bz2.compress(b" " * 100_000_000)).decode()
_SHUTDOWN = {"shutdown": "gone", "member": "m", "verify": True}


def hostile_messages(lane: Lane, count: int, seed: int) -> Iterator[bytes]:
    """Yield messages for `lane`, each of them altered; a few are valid all the same."""
    random = Random(seed)
    for number in range(count):
        yield _spoil(random, lane, f"{lane.name}.hostile-{seed}-{number}")


def _spoil(random: Random, lane: Lane, job_id: str) -> bytes:
    fields = envelope(lane, job_id)
    match random.randrange(10):
        case 0 | 1 | 2:
            for _ in range(random.randint(1, 3)):
                _put(fields, random.choice(_ADDED), random.choice(_VALUES))
        case 3 | 4 | 5:
            body = json.loads(base64.b64decode(fields["body"]))
            if random.random() < 0.3:
                body[0][0]["shutdown"] = dict(_SHUTDOWN)
            _put(body[0][0], random.choice(_IN_COMMAND), random.choice(_VALUES))
            fields["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        case 6:
            body = random.choice([random.choice(_VALUES), [random.choice(_VALUES) for _ in range(3)], "[" * 5000])
            text = body if isinstance(body, str) else json.dumps(body)
            fields["body"] = base64.b64encode(text.encode(errors="surrogatepass")).decode()
        case 7:
            fields["headers"]["compression"] = random.choice(["bzip2", "application/x-bz2", "gzip", "zlib", "zstd"])
            fields["body"] = _BOMB
        case 8:
            return _scramble(random, json.dumps(fields).encode())
        case _:
            return random.choice([b"", b"[" * 100_000, b'{"a":' * 2000, b"\xff\xfe", b"1" * 5000, random.randbytes(64)])
    return json.dumps(fields).encode()


def _put(fields: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *folders, name = path
    for folder in folders:
        if not isinstance(fields.get(folder), dict):
            return
        fields = fields[folder]
    if value is None:
        fields.pop(name, None)
    else:
        fields[name] = value


def _scramble(random: Random, message: bytes) -> bytes:
    """Change, double, drop or cut some bytes."""
    spoilt = bytearray(message)
    for _ in range(random.randint(1, 5)):
        at = random.randrange(len(spoilt))
        match random.randrange(4):
            case 0:
                spoilt[at] = random.randrange(256)
            case 1:
                spoilt[at:at] = spoilt[at : at + random.randrange(1, 40)]
            case 2:
                del spoilt[at : at + random.randrange(1, 10)]
            case _:
                del spoilt[at + 1 :]
    return bytes(spoilt)
