"""The worker: ``celery -A streamstop_worker worker`` pulls stop and status commands and calls the vendors."""
