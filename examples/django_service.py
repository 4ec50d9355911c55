"""A Django service that stops relays, in one file: ``python django_service.py runserver``."""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path

from streamstop import Client, InvalidCommand
from streamstop.operations import StopMPUTask

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="only for this example")  # noqa: S106
client = Client()


def stop(request: HttpRequest, task_id: str) -> JsonResponse:
    """Enqueue a stop and return at once; a worker does the rest."""
    try:
        job = client.enqueue(StopMPUTask(app_id="yourapp", task_id=task_id), account="live-cn")
    except InvalidCommand as wrong:
        return JsonResponse({"error": str(wrong), "field": wrong.field}, status=400)
    return JsonResponse({"job": job.id}, status=202)


def ended(request: HttpRequest, job_id: str) -> JsonResponse:
    """Say how a stop ended."""
    outcome = client.job(job_id).outcome(timeout=30)
    return JsonResponse(outcome.model_dump(mode="json"))


urlpatterns = [path("relays/<str:task_id>/stop", stop), path("jobs/<str:job_id>", ended)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
