"""Options of ``celery worker`` that do not apply, read by Celery's own parser."""

from types import SimpleNamespace

import click
import pytest
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.worker import worker as command

from streamstop_worker.celery_parts.not_applicable import refuse_options


def start(*arguments: str, concurrency: int = 256) -> None:
    """Check the options as a worker that starts does."""
    app = Celery("any", set_as_current=False)
    app.conf.worker_concurrency = concurrency
    with (
        app,
        command.make_context("worker", list(arguments), obj=CLIContext(app, no_color=True, workdir=None)) as context,
    ):
        asked = context.params["concurrency"]
        refuse_options(SimpleNamespace(concurrency=2 if asked == "auto" else asked, logfile=None))


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("--pool", ["-P", "solo"]),
        ("--pool", ["--pool=prefork"]),
        ("--pool", ["-P", "threads"]),
        ("--autoscale", ["--autoscale=10,2"]),
        ("--time-limit", ["--time-limit=10"]),
        ("--soft-time-limit", ["--soft-time-limit", "10"]),
        ("--max-tasks-per-child", ["--max-tasks-per-child=10"]),
        ("--max-memory-per-child", ["--max-memory-per-child=10000"]),
        ("--pool-start-method", ["--pool-start-method=spawn"]),
        ("-O", ["-O", "fair"]),
        ("--prefetch-multiplier", ["--prefetch-multiplier=1"]),
        ("--disable-prefetch", ["--disable-prefetch"]),
        ("--queues", ["-Q", "other"]),
        ("--queues", ["-Q", "streamstop,other"]),
        ("--exclude-queues", ["-X", "streamstop"]),
        ("--purge", ["--purge"]),
        ("--beat", ["-B"]),
        ("--schedule", ["-s", "somewhere"]),
        ("--scheduler", ["--scheduler=some.Scheduler"]),
        ("--concurrency=auto", ["-c", "auto"]),
    ],
)
def test_an_option_that_does_not_apply_ends_the_worker_with_one_line(option: str, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        start(*arguments)
    message = str(ended.value)
    assert message.startswith(f"streamstop: {option} does not apply: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "arguments", [[], ["-c", "1"], ["-c", "1000"], ["-c", "0"], ["-Q", "streamstop"], ["-O", "default"]]
)
def test_arguments_without_inapplicable_options_are_accepted(arguments: list[str]) -> None:
    start(*arguments)
    assert click.get_current_context(silent=True) is None


def test_no_more_than_a_thousand_jobs_are_under_way_at_once() -> None:
    with pytest.raises(SystemExit, match="from 1 to 1000, not 1001"):
        start("-c", "1001")


def test_a_worker_that_no_command_line_started_is_taken() -> None:
    refuse_options(SimpleNamespace(concurrency=256, logfile=None))
