"""Jobs, as the API has them."""

from fastapi import APIRouter

router = APIRouter(tags=["jobs"])
