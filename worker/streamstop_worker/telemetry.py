"""Telemetry: logs all lines of a worker, including Celery's, in one format: JSON, logfmt, or text for a terminal."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO

import click
import structlog
from click.core import ParameterSource
from structlog.typing import EventDict, Processor

from streamstop._core.logfmt import logfmt_line

#: Loggers of Celery that log each job. Our lines say more, so theirs only show at DEBUG.
_PER_JOB = ("celery.worker.strategy", "celery.app.trace")


#: Receive the lines of our own loggers at warning and above.
_watchers: list[Callable[[Mapping[str, Any]], None]] = []


def watch(watcher: Callable[[Mapping[str, Any]], None]) -> None:
    """Let `watcher` receive each line of our own loggers at warning and above, with its fields."""
    _watchers.append(watcher)


def _tell_watchers(_logger: object, _method: str, event: EventDict) -> EventDict:
    if _watchers and event["level"] not in {"debug", "info"} and str(event.get("logger")).startswith("streamstop"):
        for watcher in _watchers:
            with suppress(Exception):  # its error could only be logged again
                watcher(event)
    return event


def level_was_asked_for() -> bool:
    """Return whether the running Celery command has a ``--loglevel``, which overrides our setting."""
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source("loglevel") is ParameterSource.COMMANDLINE


def set_up(level: int | str, log_format: str, logfile: str | None = None) -> None:
    """Send the lines of structlog and of the standard library to `logfile`, or to standard error."""
    handler: logging.Handler = logging.FileHandler(logfile) if logfile else logging.StreamHandler(sys.stderr)
    as_text = log_format == "text" or (log_format == "auto" and not logfile and _is_terminal(sys.stderr))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _tell_watchers,  # before the exception becomes text
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor
    if as_text:
        renderer = structlog.dev.ConsoleRenderer(colors=_is_terminal(sys.stderr))
    elif log_format == "logfmt":
        renderer = _render_logfmt
    else:
        renderer = structlog.processors.JSONRenderer(default=str)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _PER_JOB:
        logging.getLogger(name).setLevel(logging.DEBUG if root.level <= logging.DEBUG else logging.WARNING)
    for name in ("httpx", "httpcore"):  # their lines contain whole URLs, including signatures
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _render_logfmt(_logger: object, _method: str, event: EventDict) -> str:
    return logfmt_line(event)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty()
