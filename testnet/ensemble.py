"""All processes of a testnet under one supervisor.

Services are grouped in stages. All start at once (each waits for what it needs by itself); they
stop stage by stage, last stage first, so that workers and nodes can still speak to the Ray head
while they leave. When `run` returns, nothing that it started is left.
"""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from p2p_aios.errors import AiosError, Unavailable, invariant
from testnet.layout import Layout, Plan
from testnet.logs import bound_log
from testnet.processes import ProcessId, boot_id, find_processes, read_process, sweep
from testnet.service import ORPHAN_GRACE_S, Service, ServiceSpec
from testnet.state import EnsembleState, ServiceState, read_state, write_state

TEND_S: Final = 1.0
"""Least often that the state file is renewed and logs are measured."""
STATE_GAP_S: Final = 0.05
"""Changes closer together than this share one write."""

LEADERS_S: Final = 2.0
"""How often the sessions of the testnet's processes are noted."""
LEADERS_MAX: Final = 512

Stages = Sequence[Sequence[ServiceSpec]]


class Ensemble:
    """A testnet's services. `run` is called once; the rest may be read at any time."""

    def __init__(self, layout: Layout, plan: Plan, stages: Stages) -> None:
        self.layout = layout
        self.plan = plan
        self.ready = trio.Event()
        self._waiting_for: tuple[str, ...] = ()
        self._stages = [[Service(spec, plan.id, self._touch) for spec in stage] for stage in stages]
        self._changed = trio.Event()
        self._leaders: set[ProcessId] = set()
        self._noted_s = -LEADERS_S
        self._failure: AiosError | None = None
        self._started_ms = time.time_ns() // 10**6

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple(service for stage in self._stages for service in stage)

    def state(self) -> EnsembleState:
        me = read_process(os.getpid())
        invariant(me is not None, "a running process is in /proc")
        assert me is not None
        started = {service.process for service in self.services if service.process is not None}
        leaders = sorted(self._leaders | started, key=lambda leader: leader.started_ticks)
        return EnsembleState(
            supervisor=me.id,
            boot=boot_id(),
            started_ms=self._started_ms,
            ready=self.ready.is_set(),
            waiting_for=self._waiting_for,
            failure=str(self._failure) if self._failure else None,
            services=tuple(_state_of(service) for service in self.services),
            leaders=tuple(leaders),
        )

    def wait_for(self, missing: tuple[str, ...]) -> None:
        """Say what does not work yet."""
        self._waiting_for = missing
        self._touch()

    async def run(self, until_ready: Callable[[], Awaitable[None]]) -> None:
        """Keep everything running until cancelled; `until_ready` returns once the whole works.

        Raises the AiosError with which `until_ready` failed; Unavailable(`testnet_folder_gone`).
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tend, nursery.cancel_scope)
                await self._serve(until_ready)
                nursery.cancel_scope.cancel()
        finally:
            if self.layout.plan_file.exists():
                write_state(self.layout, self.state())
        if self._failure is not None:
            raise self._failure

    async def _serve(self, until_ready: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            for service in self.services:
                nursery.start_soon(service.run)
            try:
                await until_ready()
                self.ready.set()
                self._touch()
                await trio.sleep_forever()
            except AiosError as error:
                self._failure = error
            finally:
                with trio.CancelScope(shield=True):
                    await self._stop_all()

    async def _stop_all(self) -> None:
        for stage in reversed(self._stages):
            async with trio.open_nursery() as nursery:
                for service in stage:
                    nursery.start_soon(service.stop)
        await self.end_leftovers()

    async def end_leftovers(self) -> None:
        """Of a supervisor that was killed before us, or of our own services."""
        before = read_state(self.layout)
        leaders = {*(before.leaders if before else ()), *self.state().leaders}
        await sweep(self.plan.id, leaders=leaders, grace_s=ORPHAN_GRACE_S)

    async def _tend(self, scope: trio.CancelScope) -> None:
        while self.layout.plan_file.exists():
            self._changed = trio.Event()
            self._note_leaders()
            write_state(self.layout, self.state())
            for service in self.services:
                bound_log(service.spec.log)
            await trio.sleep(STATE_GAP_S)
            with trio.move_on_after(TEND_S):
                await self._changed.wait()
        self._failure = Unavailable(
            "testnet_folder_gone", f"{self.layout.root} was removed under the running testnet"
        )
        scope.cancel()

    def _note_leaders(self) -> None:
        """Remember the sessions of ours, for when whoever carries our marks there is dead."""
        now_s = trio.current_time()
        if now_s < self._noted_s + LEADERS_S:
            return
        self._noted_s = now_s
        seen = {row.id for row in find_processes(self.plan.id) if row.is_leader}
        newest = sorted(self._leaders | seen, key=lambda leader: leader.started_ticks)
        self._leaders = set(newest[-LEADERS_MAX:])

    def _touch(self) -> None:
        self._changed.set()


def _state_of(service: Service) -> ServiceState:
    return ServiceState(
        name=service.spec.name,
        phase=service.phase,
        process=service.process,
        restarts=service.restarts,
        exit_status=service.exit_status,
    )
