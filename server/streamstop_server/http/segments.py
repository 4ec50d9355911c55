"""Segments: rooms' names in paths. A name may contain a slash, which a client sends as ``%2F``.

Servers decode a path before it is routed, and a decoded slash would divide the name. So the slash is written as a
stand-in until the route has been found. The convertor ``segment`` in :data:`ROOM` puts it back.
"""

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Receive, Scope, Send

from streamstop_server.http.middleware import Middleware

#: A character that Unicode reserves for use within a program. Where a name contains it, it is doubled in a way.
_ESCAPE = "\ufdd0"
_ITSELF, _SLASH = f"{_ESCAPE}0", f"{_ESCAPE}1"
#: A room in the path of a route.
ROOM = "/rooms/{room:segment}"
#: The paths whose next segment is a room.
_PREFIXES = ("/v1/rooms/", "/rooms/")


class Segments(Middleware):
    """Middleware that keeps a room in one segment of the path."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["path"].startswith(_PREFIXES) and scope.get("raw_path"):
            scope.setdefault("state", {})  # what is noted of the request is in both scopes
            scope = {**scope, "path": _path(scope["raw_path"])}
        await self.app(scope, receive, send)


class SegmentConvertor(Convertor[str]):
    """One segment of a path, with slashes in it."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Return the segment as the client meant it."""
        return value.replace(_SLASH, "/").replace(_ITSELF, _ESCAPE)

    def to_string(self, value: str) -> str:
        """Return the segment as it is in a routed path."""
        return _stand_in(value)


def _path(raw: bytes) -> str:
    return "/".join(_stand_in(unquote(segment)) for segment in raw.decode("latin-1").split("/"))


def _stand_in(segment: str) -> str:
    return segment.replace(_ESCAPE, _ITSELF).replace("/", _SLASH)


register_url_convertor("segment", SegmentConvertor())
