"""Streams: server-sent events of the API and of the page.

A stream begins with a comment, so that its client knows that it is open. While nothing happens, there is a comment each
15 seconds. When the process ends, and when Redis does not answer, the last event is ``reconnect``, with a ``retry``:
the client connects again, and says with ``Last-Event-ID`` where to go on. A stream ends, with its next frame, after
its token has left the tokens file.
"""

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from streamstop import StreamstopError
from streamstop_server.access.auth import authenticator
from streamstop_server.waiting.ending import ending_of
from streamstop_server.waiting.waits import waits_of

#: How long a stream is silent at most, in seconds.
KEEP_ALIVE_S = 15.0
#: When clients connect again, in milliseconds: not all of them at once.
_RETRY_MS = (500, 3000)
_OVER = b""


class EventStream(EventSourceResponse):
    """An answer that sends frames until they end, or the process does. It counts as a wait.

    What a generator of frames yields is sent as it is. None stands for a comment that keeps the connection alive.
    """

    def __init__(self, request: Request, frames: AsyncGenerator[bytes | None, None]) -> None:
        self._waits = waits_of(request)
        self._waits.begin()
        self._frames = frames
        # nginx must not gather what is sent.
        super().__init__(_sent(request, frames), headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream, and let go of what it holds."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._waits.end()
            await self._frames.aclose()


async def _sent(request: Request, frames: AsyncGenerator[bytes | None, None]) -> AsyncGenerator[bytes, None]:
    yield format_sse_event(comment="open")
    ending = ending_of(request)
    with suppress(StreamstopError):
        async with aclosing(frames):
            while (frame := await ending.bounded(anext(frames, _OVER), _OVER)) != _OVER:
                if not authenticator(request).knows(request.state.caller):
                    return
                yield KEEPALIVE_COMMENT if frame is None else frame
        if not ending.has_begun:
            return
    yield format_sse_event(data_str="{}", event="reconnect", retry=random.randint(*_RETRY_MS))  # noqa: S311
