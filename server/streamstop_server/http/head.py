"""HEAD: every path that answers GET answers HEAD, with the same status and headers, and without a body."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """Middleware that serves HEAD as GET. A stream is cancelled when its headers are sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})  # what is noted of the request is in both scopes
        is_over = False

        async def without_body(message: Message) -> None:
            nonlocal is_over
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not is_over:
                is_over = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body"):
                serving.cancel()

        serving = asyncio.ensure_future(self._app({**scope, "method": "GET"}, receive, without_body))
        try:
            await serving
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not is_over or (task is not None and task.cancelling()):
                raise
