"""A FastAPI service that stops relays: ``uvicorn fastapi_service:app``."""

from fastapi import FastAPI

from streamstop import AsyncClient
from streamstop.operations import StopMPUTask

app, client = FastAPI(), AsyncClient()


@app.post("/relays/{task_id}/stop")
async def stop(task_id: str) -> dict[str, str]:
    """Stop a relay, and say how that ended."""
    job = await client.enqueue(StopMPUTask(app_id="yourapp", task_id=task_id), account="live-cn")
    outcome = await job.outcome(timeout=30)
    return {"job": job.id, "result": outcome.result}
