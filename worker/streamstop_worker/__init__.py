"""The worker: ``celery -A streamstop_worker worker`` pulls stop and status commands and calls the vendors.

Celery finds the app in :mod:`streamstop_worker.app`; importing this package alone reads no setting.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

for _needed in ("httpx", "structlog"):
    if find_spec(_needed) is None:
        raise ModuleNotFoundError(
            f"{_needed} is not installed: workers need the extra, pip install 'streamstop[worker]'"
        )


def __getattr__(name: str) -> "Celery":
    """Make the Celery app when ``celery -A streamstop_worker`` asks for it."""
    if name == "celery":
        from streamstop_worker.app import app

        return app
    raise AttributeError(name)
