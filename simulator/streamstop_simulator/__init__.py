"""Simulates the vendors' APIs: checks signatures, enforces limits, injects faults, answers in the vendors' format.

``streamstop-simulator --port 8099`` runs it. In Python::

    with run_in_thread() as simulator:
        simulator.start_tasks("demo-aliyun-1", [StopMPUTask(app_id="app", task_id="t-1")])
        ...  # stop the task: call simulator.url
        assert simulator.summary().over_limit == 0
"""

from streamstop_simulator.accounts import DEFAULT_ACCOUNTS, Account
from streamstop_simulator.client import ControlError, LaneSummary, SeenTask, SimulatorClient, Summary
from streamstop_simulator.faults import Fault, FaultKind
from streamstop_simulator.journal import Call
from streamstop_simulator.running import run_in_process, run_in_thread
from streamstop_simulator.simulation import Settings
from streamstop_simulator.tasks import Phase, TaskState

__all__ = [
    "DEFAULT_ACCOUNTS",
    "Account",
    "Call",
    "ControlError",
    "Fault",
    "FaultKind",
    "LaneSummary",
    "Phase",
    "SeenTask",
    "Settings",
    "SimulatorClient",
    "Summary",
    "TaskState",
    "run_in_process",
    "run_in_thread",
]
