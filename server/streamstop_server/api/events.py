"""Events and errors, as the API has them."""

from fastapi import APIRouter

router = APIRouter(tags=["events and errors"])
