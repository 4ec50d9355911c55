"""Pauses and limits, as the API has them."""

from fastapi import APIRouter

router = APIRouter(tags=["pauses and limits"])
