"""A Flask service that closes rooms: ``flask --app flask_service run``."""

from typing import Any

from flask import Flask, request

from streamstop import Client, QueueUnavailable
from streamstop.operations import StopMPUTask

app, client = Flask(__name__), Client()


@app.post("/rooms/<room>/relays/<task_id>")
def started(room: str, task_id: str) -> dict[str, Any]:
    """Note that a relay was started in a room; if the room is closing, it is stopped at once."""
    shutdown = client.register(room, StopMPUTask(app_id="yourapp", task_id=task_id), account="live-cn")
    return {"stopped at once": shutdown is not None}


@app.delete("/rooms/<room>")
def close(room: str) -> dict[str, Any]:
    """Stop everything that runs in a room. Safe to call twice."""
    return {"shutdown": client.stop_room(room).id}


@app.get("/shutdowns/<shutdown_id>")
def progress(shutdown_id: str) -> dict[str, Any]:
    """Say how far a shutdown is; with ``?wait``, when it has ended."""
    shutdown = client.shutdown(shutdown_id)
    seen = shutdown.wait(timeout=30) if "wait" in request.args else shutdown.progress()
    return {"status": seen.status, "ended": seen.ended, "total": seen.total}


@app.errorhandler(QueueUnavailable)
def unavailable(error: QueueUnavailable) -> tuple[dict[str, str], int]:
    """Say that Redis is away, and whether anything may have been enqueued."""
    return {"error": str(error)}, 503
