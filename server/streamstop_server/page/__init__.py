"""The page: screens for people, rendered here, live by htmx and server-sent events."""

from fastapi import APIRouter

from streamstop_server.page import (
    acts,
    assets,
    dead_letters,
    drain,
    events,
    jobs,
    lane,
    lanes,
    live,
    rooms,
    shutdowns,
    sign_in,
    workers,
)
from streamstop_server.page.lane_feed import LaneFeed
from streamstop_server.page.shell import error_page

__all__ = ["LaneFeed", "error_page", "router"]

router = APIRouter(include_in_schema=False)
for part in (assets, sign_in, live, lanes, lane, acts, drain, rooms, shutdowns, jobs, dead_letters, workers, events):
    router.include_router(part.router)
