"""A worker deserialises only JSON, whatever content type a message declares and by whichever way it arrives."""

import base64
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from streamstop import Result
from streamstop._core.constants import READY
from streamstop._core.lane import Lane
from streamstop.operations import StopMPUTask
from tests.support.celery_messages import envelope
from tests.support.polling import eventually
from tests.support.world import ALIYUN, world

LANE = Lane(ALIYUN, "live.StopMPUTask")
TYPES = [
    "application/x-python-serialize",
    "Application/X-Python-Serialize",
    " application/x-python-serialize ",
    "pickle",
    "application/x-yaml",
    "APPLICATION/X-YAML",
    "yaml",
    "application/x-msgpack",
    "application/data",
    "application/text",
    "",
    None,
]
ENCODINGS = ["utf-8", "binary", "pickle", "application/x-python-serialize", "x-python-serialize", "yaml", None]


class Trap:
    """Leaves a folder behind where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trapped"


def trapped(folder: Path) -> list[bytes]:
    """Return messages that make `folder` if what they carry is deserialised by anything but JSON."""
    bodies = {
        "pickle": pickle.dumps([[Trap(folder)], {}, {}]),
        "yaml": f"!!python/object/apply:os.mkdir ['{folder}']".encode(),
    }
    messages: list[bytes] = []
    for content_type in [*TYPES, "application/json"]:
        for encoding in ENCODINGS:
            for kind, body in bodies.items():
                fields = envelope(LANE, f"{LANE.name}.trap-{len(messages)}-{kind}")
                fields |= {"content-type": content_type, "content-encoding": encoding}
                fields["body"] = base64.b64encode(body).decode()
                messages.append(json.dumps(fields).encode())
    return messages


def test_unpickling_a_trap_springs_it(folder: Path) -> None:
    pickle.loads(pickle.dumps(Trap(folder)))
    assert folder.is_dir()


@pytest.mark.long
def test_nothing_but_json_is_deserialised(tmp_path: Path, folder: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        made.await_account(ALIYUN)
        messages = trapped(folder)
        made.redis.lpush(LANE.queue, *messages)
        # Into the queue of the earlier version, and as a remote control command.
        made.redis.lpush(READY, *messages)
        for message in messages:
            made.redis.publish("/0.celery.pidbox", message)
        outcome = made.client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ALIYUN).outcome(120)
        assert outcome.result is Result.STOPPED
        # A sweep each second looks at some of it.
        eventually(lambda: not made.redis.exists(READY), "the queue of the version before emptied")
        assert made.workers[0].process.poll() is None
        assert not folder.exists()
        assert len(made.simulator.calls()) == 1
