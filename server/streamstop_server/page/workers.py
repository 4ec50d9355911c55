"""The screen Workers."""

from fastapi import APIRouter

router = APIRouter()
