"""The ASGI application: the API under ``/v1``, the page under ``/``, and what orchestrators ask."""

import asyncio
import gc
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from streamstop import AsyncClient, __version__
from streamstop_server import api, page, system
from streamstop_server.access.auth import Authenticator
from streamstop_server.access.bounds import BodyBounds, Failures
from streamstop_server.http import documented, logs, problems
from streamstop_server.http.access_log import AccessLog
from streamstop_server.http.head import Head
from streamstop_server.http.headers import Headers
from streamstop_server.http.segments import Segments
from streamstop_server.queue.lane_times import LaneTimes
from streamstop_server.settings import ServerSettings
from streamstop_server.waiting.ending import Ending
from streamstop_server.waiting.following import Following
from streamstop_server.waiting.waits import Waits

_DESCRIPTION = """Stops stream tasks at cloud vendors, each account and operation at its own pace.

Commands are enqueued here; workers send them. Every error is `application/problem+json`."""


def create(settings: ServerSettings | None = None, client: Callable[[], AsyncClient] = AsyncClient) -> FastAPI:
    """Return the application.

    Without `settings`, they are read from the environment, as the queue's are, and the process' log is set up.
    """
    if settings is None:
        settings = ServerSettings.from_environ()
        logs.set_up(settings.log_level, settings.log_format)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        app.state.ending = Ending()
        app.state.ending.listen()
        if threading.current_thread() is threading.main_thread():
            again = partial(app.state.authenticator.refresh, now=True)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)
        async with client() as app.state.client, page.LaneFeed(app.state.client) as app.state.lane_feed:
            app.state.following = Following(app.state.client)
            _tune_garbage_collector()
            yield

    app = FastAPI(
        title="streamstop",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # They would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # The operations' ids in the OpenAPI document, from which generators name a client's methods.
        generate_unique_id_function=lambda route: route.name,
    )
    app.openapi = partial(documented.openapi, app)  # type: ignore[method-assign]
    app.state.settings = settings
    app.state.authenticator = Authenticator(settings)
    app.state.failures = Failures()
    app.state.waits = Waits()
    app.state.lane_times = LaneTimes()
    app.include_router(api.router)
    app.include_router(system.router)
    app.include_router(page.router)
    problems.install(app, page.error_page)
    app.add_middleware(Head)
    app.add_middleware(Segments)
    app.add_middleware(BodyBounds)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After"],
        )
    app.add_middleware(Headers)
    app.add_middleware(AccessLog)
    return app


def _tune_garbage_collector() -> None:
    """Exempt all objects of the start from garbage collection, and collect less often.

    With a thousand clients that wait, collections took two fifths of the process' CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
