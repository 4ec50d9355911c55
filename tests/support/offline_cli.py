"""The command line where no Redis listens."""

import shlex

from click.testing import CliRunner, Result

from streamstop.cli import main

#: Nothing listens there.
NOWHERE = "redis://:hush@127.0.0.1:1/0"
STOP = '{"operation": "live.StopMPUTask", "account": "live-cn", "params": {"AppId": "app", "TaskId": "t-1"}}\n'


def run(command: str, stdin: str | None = None) -> Result:
    """Run a command, and check that it neither fails with an exception nor prints the password."""
    result = CliRunner().invoke(main, shlex.split(command), input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "hush" not in result.output
    return result
