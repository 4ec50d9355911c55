"""HEAD: every path that answers GET answers HEAD, with the same status and headers, and without a body."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from streamstop_server.http.middleware import Middleware


class Head(Middleware):
    """Middleware that serves HEAD as GET. A stream is cancelled when its headers are sent."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["method"] != "HEAD":
            await self.app(scope, receive, send)
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

        serving = asyncio.ensure_future(self.app({**scope, "method": "GET"}, receive, without_body))
        try:
            await serving
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not is_over or (task is not None and task.cancelling()):
                raise
