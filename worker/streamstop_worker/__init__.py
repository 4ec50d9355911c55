"""The worker: ``celery -A streamstop_worker worker`` pulls stop and status commands and calls the vendors.

Celery finds the app in :mod:`streamstop_worker.app`; importing this package alone reads no setting.
"""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

#: What the extra `worker` installs, and a service need not have (kombu comes with celery).
_EXTRA = ("celery", "httpx", "aiohttp", "yarl", "hiredis", "structlog")


def __getattr__(name: str) -> "Celery":
    """Make the Celery app when ``celery -A streamstop_worker`` asks for it. Exits where the extra is not installed."""
    if name == "celery":
        for needed in _EXTRA:
            if find_spec(needed) is None:
                sys.exit(f"streamstop: {needed} is not installed: workers need pip install 'streamstop[worker]'")
        from streamstop_worker.app import app

        return app
    raise AttributeError(name)
