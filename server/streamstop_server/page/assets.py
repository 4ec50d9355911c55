"""Assets: scripts and styles under names that change with their contents, so that browsers keep them for ever."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from streamstop_server.http.problems import Problem

router = APIRouter()

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FILES: Mapping[str, bytes] = {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES}
_DIGESTS: Mapping[str, str] = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _FILES.items()}


def url(name: str) -> str:
    """Return the path of an asset. Raises KeyError if there is none."""
    return f"/static/{_DIGESTS[name]}/{name}"


@router.get("/static/{digest}/{name}")
async def asset(digest: str, name: str) -> Response:
    """Return a script or a style."""
    if _DIGESTS.get(name) != digest:
        raise Problem(404, "not-found", "there is no such file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_FILES[name], media_type=_TYPES[Path(name).suffix], headers=headers)
