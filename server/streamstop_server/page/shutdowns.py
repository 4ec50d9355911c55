"""The screen Shutdown."""

from fastapi import APIRouter

router = APIRouter()
