"""Cold shutdown: handlers of SIGQUIT and of a second SIGINT that do nothing but request the shutdown.

Celery's own handlers cancel the consumer, announce each cancelled request and stop the pool. A handler interrupts the
worker's main thread between any two instructions: while it takes jobs, sends an event under a lock, or writes to the
log. Here the main thread does all this itself when its loop ends.
"""

import sys
from typing import Any

from celery.apps import worker

_celery: Any = worker  # Celery's types do not know its handlers


def install_handlers(instance: Any) -> None:
    """Replace Celery's handlers. Call this in the main thread, after Celery has installed them."""
    _celery.install_worker_term_hard_handler(instance, callback=None)
    _celery.install_worker_int_handler(instance, callback=_on_first_interrupt)
    # By REMAP_SIGTERM=SIGQUIT, which Celery reads, SIGTERM is cold too.
    _celery.install_worker_term_handler(instance, callback=None)


def _on_first_interrupt(instance: Any) -> None:
    _celery.safe_say("worker: Ctrl+C again leaves the calls under way to their leases", sys.__stdout__)
    _celery.install_worker_term_hard_handler(instance, sig="SIGINT", callback=None, verbose=False)
