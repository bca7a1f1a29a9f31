"""Faults on demand, for tests and for people (`aios testnet kill NAME`).

A name is a service (`node-1`, `ray-head`, `worker-0`) or a part of one: `gateway-1` is the compute
gateway that node-1 holds.
"""

import signal
from typing import Final

import trio

from p2p_aios.errors import Invalid, Unavailable
from testnet.layout import Layout, read_plan
from testnet.processes import ProcessId, command_of, find_processes, signal_process
from testnet.service import Phase
from testnet.state import ServiceState, read_state

GATEWAY_PROGRAM: Final = "compute.gateway"
RESTART_S_MAX: Final = 30.0
POLL_S: Final = 0.1


def locate(layout: Layout, name: str) -> ProcessId:
    """The living process of that name.

    Raises Invalid: `testnet_missing`, `unknown_process`; Unavailable(`testnet_not_running`).
    """
    plan = read_plan(layout)
    kind, _, number = name.rpartition("-")
    holder = f"node-{number}" if kind == "gateway" else name
    if holder not in plan.service_names():
        raise Invalid(
            "unknown_process",
            f"{name!r} is none of {', '.join(plan.service_names())}, gateway-N",
        )
    if kind == "gateway":
        return _gateway(plan.id, holder)
    service = _service(layout, name)
    if service.phase is not Phase.RUNNING or service.process is None:
        raise _not_running(name)
    return service.process


def send_signal(layout: Layout, name: str, signum: int) -> ProcessId:
    """Send a signal to the process called `name` alone, not to its children; raises as `locate`."""
    process = locate(layout, name)
    if not signal_process(process, signum):
        raise _not_running(name)
    return process


def kill(layout: Layout, name: str) -> ProcessId:
    """kill -9; raises as `locate`."""
    return send_signal(layout, name, signal.SIGKILL)


async def wait_restarted(layout: Layout, name: str, killed: ProcessId) -> ProcessId:
    """The process that took the place of a killed one; raises Unavailable(`testnet_slow`)."""
    with trio.move_on_after(RESTART_S_MAX):
        while True:
            try:
                process = locate(layout, name)
            except Unavailable:
                process = killed
            if process != killed:
                return process
            await trio.sleep(POLL_S)
    raise Unavailable("testnet_slow", f"{name} is not back after {RESTART_S_MAX:.0f} s")


def _service(layout: Layout, name: str) -> ServiceState:
    state = read_state(layout)
    service = state.service(name) if state else None
    if service is None:
        raise _not_running(name)
    return service


def _gateway(testnet: str, node: str) -> ProcessId:
    for row in find_processes(testnet, node):
        if any(GATEWAY_PROGRAM in word for word in command_of(row.id.pid)):
            return row.id
    raise _not_running(f"the gateway of {node}")


def _not_running(name: str) -> Unavailable:
    return Unavailable("testnet_not_running", f"{name} does not run now; see `aios testnet status`")
