"""The screen Events."""

from fastapi import APIRouter

router = APIRouter()
