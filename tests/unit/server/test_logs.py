"""The formats of the HTTP service's log."""

import json
import subprocess
import sys

import pytest

from streamstop_server.settings import ServerSettings

LOG = """
import structlog
from streamstop_server.http import logs
logs.set_up("INFO", {log_format!r})
structlog.get_logger("streamstop.server").warning("not ready", reason="a b")
"""


def line(log_format: str) -> str:
    """Return what a process logs in this format, not to a terminal. Logging belongs to a whole process."""
    code = LOG.format(log_format=log_format)
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr


def test_a_line_is_json_where_nobody_asked_for_another_format() -> None:
    found = json.loads(line("auto"))
    assert (found["event"], found["level"], found["reason"]) == ("not ready", "warning", "a b")
    assert json.loads(line("json")).keys() == found.keys()


def test_a_line_is_logfmt_or_text_where_it_was_asked_for() -> None:
    assert line("logfmt").endswith(' level=warning event="not ready" reason="a b" logger=streamstop.server\n')
    text = line("text")
    assert "not ready" in text
    assert "\x1b" not in text, "there are colours on a terminal alone"


@pytest.mark.parametrize("log_format", ["auto", "json", "logfmt", "text"])
def test_each_format_can_be_set(log_format: str) -> None:
    assert ServerSettings.from_environ({"STREAMSTOP_LOG_FORMAT": log_format}).log_format == log_format
