"""The screen Dead letters."""

from fastapi import APIRouter

router = APIRouter()
