"""The API, version 1."""

from fastapi import APIRouter

from streamstop_server.api import controls, dead_letters, events, jobs, lanes, rooms, shutdowns, workers

router = APIRouter(prefix="/v1")
for part in (jobs, rooms, shutdowns, lanes, controls, events, dead_letters, workers):
    router.include_router(part.router)
