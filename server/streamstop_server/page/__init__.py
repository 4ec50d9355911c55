"""The page: screens for people, rendered here, live by htmx and server-sent events."""

from fastapi import APIRouter

from streamstop_server.page import (
    assets,
    dead_letters,
    events,
    jobs,
    lanes,
    live,
    rooms,
    shutdowns,
    sign_in,
    workers,
)
from streamstop_server.page.shell import error_page

__all__ = ["error_page", "live", "router"]

router = APIRouter(include_in_schema=False)
for part in (assets, sign_in, live, lanes, rooms, shutdowns, jobs, dead_letters, workers, events):
    router.include_router(part.router)
