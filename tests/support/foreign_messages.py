"""Messages as producers in other languages write them."""

import base64
import json


def foreign_message(command: object, *, job_id: str, task: str = "streamstop.execute", **envelope: object) -> str:
    """Return a Celery message as a producer in another language writes it, by Celery's documented protocol 2."""
    body = base64.b64encode(json.dumps([[command], {}, {}]).encode()).decode()
    headers = {"id": job_id, "task": task, "root_id": job_id, "parent_id": None, "group": None, "lang": "go"}
    properties = {
        "correlation_id": job_id,
        "delivery_mode": 2,
        "delivery_tag": job_id,
        "priority": 0,
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": envelope.pop("queue", "")},
    }
    fields = {"body": body, "content-encoding": "utf-8", "content-type": "application/json"}
    return json.dumps({**fields, "headers": headers, "properties": properties, **envelope})
