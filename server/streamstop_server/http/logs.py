"""Logs: every line of the service, uvicorn's too, as JSON, logfmt, or text for a terminal, to standard error."""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

from streamstop._core.logfmt import logfmt_line


def set_up(level: str, log_format: str = "auto") -> None:
    """Send the lines of structlog and of the standard library to standard error; ``auto``: text if it is a terminal."""
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    is_terminal = sys.stderr.isatty()
    renderer: Processor
    if log_format == "text" or (log_format == "auto" and is_terminal):
        renderer = structlog.dev.ConsoleRenderer(colors=is_terminal)
    elif log_format == "logfmt":
        renderer = _render_logfmt
    else:
        renderer = structlog.processors.JSONRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _render_logfmt(_logger: object, _method: str, event: EventDict) -> str:
    return logfmt_line(event)
