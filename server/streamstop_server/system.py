"""What orchestrators and Prometheus ask: ``/healthz``, ``/readyz`` and ``/metrics``."""

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from streamstop import QueueUnavailable
from streamstop.exporter import Exporter
from streamstop_server.access.auth import Reader, check_all_accounts
from streamstop_server.http.problems import RETRY_AFTER_S, Problem
from streamstop_server.queue.client import Queue
from streamstop_server.waiting.ending import ending_of

router = APIRouter(tags=["system"])
_log = structlog.get_logger("streamstop.server")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Return 200 while the process serves requests, whatever Redis does."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, queue: Queue) -> dict[str, str]:
    """Return 200 while the process should get requests: Redis answers, and the process does not end.

    Everybody may ask, so that the answer does not say where Redis is. The log does.
    """
    if ending_of(request).has_begun:
        raise Problem(503, "ending", "the process ends")
    try:
        await queue.accounts()
    except QueueUnavailable as error:
        _log.warning("not ready", reason=str(error))
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem(503, "queue-unavailable", "Redis does not answer", headers=headers) from None
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(caller: Reader, queue: Queue) -> Response:
    """Return what Redis knows of the queue, as Prometheus reads it. It is the same from every process."""
    check_all_accounts(caller, "the metrics")
    registry = Exporter(queue.client).registry
    return Response(await run_in_threadpool(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)
