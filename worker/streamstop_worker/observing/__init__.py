"""What a worker shows of its work: metrics, traces and error reports, each an extra of its own."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import structlog

from streamstop._tracing import tracer_provider
from streamstop.errors import InvalidSettings
from streamstop_worker.pipeline.observer import Observer, Observers
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.settings import WorkerSettings

_log = structlog.get_logger("streamstop")


def check_extras(settings: WorkerSettings) -> None:
    """Raise :class:`~streamstop.errors.InvalidSettings` if a setting needs an extra that is not installed."""
    if settings.metrics_port is not None and find_spec("prometheus_client") is None:
        raise InvalidSettings(
            "STREAMSTOP_METRICS_PORT needs the extra metrics: pip install 'streamstop[worker,metrics]'"
        )


def observe(settings: WorkerSettings, slots: Slots) -> Observer:
    """Return what the worker's settings ask for. Import nothing that they do not ask for."""
    observers: list[Observer] = []
    if settings.metrics_port is not None:
        from streamstop_worker.observing.metrics import Metrics

        metrics = Metrics(slots.concurrency, lambda: slots.under_way)
        try:
            metrics.serve(settings.metrics_host, settings.metrics_port)
        except OSError as error:
            _log.error("the metrics cannot be served", port=settings.metrics_port, reason=error.strerror)
        else:
            _log.info("metrics are served", host=settings.metrics_host, port=settings.metrics_port)
        observers.append(metrics)
    if (provider := tracer_provider()) is not None:
        from streamstop_worker.observing.tracing import Tracing, leave_celery_to_us

        leave_celery_to_us()
        observers.append(Tracing(provider))
        _log.info("jobs are traced", by="OpenTelemetry")
    if is_sentry_set_up():
        from streamstop_worker.observing.sentry import Transactions

        observers.append(Transactions())
        _log.info("errors are reported", to="Sentry")
    elif os.environ.get("SENTRY_DSN") and find_spec("sentry_sdk") is None:
        _log.warning(
            "errors are not reported: SENTRY_DSN needs the extra sentry", do="pip install 'streamstop[worker,sentry]'"
        )
    return Observers(observers) if observers else Observer()


def is_sentry_set_up() -> bool:
    """Return whether Sentry is initialised in this process. SENTRY_DSN initialises it."""
    if find_spec("sentry_sdk") is None:
        return False
    if "sentry_sdk" not in sys.modules and not os.environ.get("SENTRY_DSN"):
        return False
    import sentry_sdk

    if not sentry_sdk.get_client().is_active() and os.environ.get("SENTRY_DSN"):
        sentry_sdk.init()
    return sentry_sdk.get_client().is_active()


def reports() -> Callable[[Mapping[str, Any]], None] | None:
    """Return what reports log lines to Sentry; None if Sentry is not set up."""
    if not is_sentry_set_up():
        return None
    from streamstop_worker.observing.sentry import Reports

    return Reports()
