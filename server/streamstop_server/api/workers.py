"""Workers and operations, as the API has them."""

from fastapi import APIRouter

router = APIRouter(tags=["workers and operations"])
