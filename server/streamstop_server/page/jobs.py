"""The screen Job."""

from fastapi import APIRouter

router = APIRouter()
