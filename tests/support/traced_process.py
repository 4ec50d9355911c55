"""A process whose spans, or what it sends to Sentry, go to a file, one JSON object in each line."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Runs when Python starts, as `opentelemetry-instrument` does. Every process appends whole lines to one file.
_SITE = """
import os
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

out = open(os.environ["SPANS"], "a", buffering=1)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(
    ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\\n")
))
trace.set_tracer_provider(provider)
for instrumentor in (AioHttpClientInstrumentor, CeleryInstrumentor, HTTPXClientInstrumentor):
    instrumentor().instrument()
"""

#: Sentry with all integrations of what is installed, Celery's, Redis' and aiohttp's among them.
_SENTRY_SITE = """
import os
import sentry_sdk
from sentry_sdk.transport import Transport

out = open(os.environ["SPANS"], "a", buffering=1)

class Sent(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            if item.type in ("event", "transaction"):
                out.write(item.get_bytes().decode() + "\\n")

sentry_sdk.init("https://key@sentry.invalid/1", transport=Sent(), traces_sample_rate=1.0)
"""


def traced_environ(folder: Path) -> Mapping[str, str]:
    """Return the environment of processes that are traced by OpenTelemetry and three of its instrumentations."""
    return _environ(folder, _SITE)


def sentry_environ(folder: Path) -> Mapping[str, str]:
    """Return the environment of processes that report to Sentry."""
    return _environ(folder, _SENTRY_SITE)


def _environ(folder: Path, code: str) -> Mapping[str, str]:
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(code)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "SPANS": str(folder / "spans.jsonl")}


def spans_in(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Return what all processes have written so far."""
    path = folder / "spans.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]
