"""The screen Rooms."""

from fastapi import APIRouter

router = APIRouter()
