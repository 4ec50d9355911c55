"""Schemathesis over the OpenAPI document: every route answers what the document says, whatever it is sent."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.http_service import http_service
from tests.support.world import World

pytestmark = pytest.mark.long

#: Not checked: that whatever fits the schema is accepted. A schema cannot say which accounts workers have, which
#: parameters each operation has, what a cursor of an earlier page looks like, and how Idempotency-Key may be quoted.
_EXCLUDED = "positive_data_acceptance"


def test_schemathesis_finds_nothing(shared_world: World, tmp_path: Path) -> None:
    with http_service(shared_world.server.url, tmp_path) as service:
        with service.http(None) as http:
            document = http.get("/openapi.json").json()
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
        command += ["-H", f"Authorization: Bearer {service.tokens['everything']}", "--request-timeout", "90"]
        command += ["--checks", "all", "--exclude-checks", _EXCLUDED, "--phases", "examples,coverage,fuzzing"]
        command += ["--max-examples", "10", "--continue-on-failure", "--seed", "1", "--suppress-health-check", "all"]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        operations = sum(len(operations) for operations in document["paths"].values())
        assert f"Operations:       {operations} selected / {operations} total" in done.stdout
        assert "Traceback" not in service.text()


def test_every_route_is_described_with_its_errors(shared_world: World, tmp_path: Path) -> None:
    with http_service(shared_world.server.url, tmp_path) as service, service.http(None) as http:
        document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    assert {"enqueue_jobs", "look_at_job", "stop_room", "follow_shutdown"} <= set(ids)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert operation.get("description"), where
            problems = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            assert str(httpx.codes.SERVICE_UNAVAILABLE) in problems, where
            if path.startswith("/v1/"):
                assert {"401", "403"} <= problems.keys(), where
            for status, answer in problems.items():
                assert list(answer["content"]) == ["application/problem+json"], f"{where} {status}"
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= problems.keys(), where
                (body,) = operation["requestBody"]["content"].values()
                assert "example" in str(body) or "$ref" in str(body), where
