"""``streamstop dead`` run in this process."""

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner

from streamstop.cli import main
from tests.support.dead_letters import COMMAND, LANE, OTHER

NOWHERE = "redis://:hush@127.0.0.1:1/0"
OF_OTHER = {**COMMAND, "operation": OTHER.operation, "account": OTHER.account, "params": {"SdkAppId": 1, "TaskId": "u"}}
NO_LETTER = f"{LANE.name}.nobody"


def run_dead(command: str, stdin: str | bytes | None = None, *, on_terminal: bool = False) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        if on_terminal:
            patched.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
        result = CliRunner().invoke(main, ["dead", *shlex.split(command)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "hush" not in result.output
    return result


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
