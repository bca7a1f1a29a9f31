"""Workers: contributors that offer computing power (DESIGN §9, "Jobs")."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import replace

from p2p_aios.errors import Invalid
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import WORKERS_MAX, Worker, WorkerIndex
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import VALIDATORS, WORKER_INDEX, WORKERS
from p2p_aios.types.compute import RegisterWorker
from p2p_aios.types.event import WorkerRegistered, WorkerRetired
from p2p_aios.units import Address


def registered_workers(state: State) -> tuple[Worker, ...]:
    """All workers, retired ones of the open epoch included, ascending by address."""
    index = state.require(WORKER_INDEX)
    return tuple(state.require(WORKERS, address) for address in index.addresses)


def check_offer(state: State, sender: Address, action: RegisterWorker) -> None:
    """Raises Invalid: `kinds_malformed`, `unknown_validator`, `too_many_workers`."""
    if list(action.kinds) != sorted(set(action.kinds)):
        raise Invalid("kinds_malformed", "list each job kind once, in ascending order")
    if state.get(VALIDATORS, action.home) is None:
        raise Invalid("unknown_validator", "home must be the address of a validator")
    if state.get(WORKERS, sender) is None:
        count = len(state.require(WORKER_INDEX).addresses)
        if count >= WORKERS_MAX:
            raise Invalid("too_many_workers", f"all {WORKERS_MAX} places are taken; try later")


def register_worker(env: Environment, sender: Address, action: RegisterWorker) -> None:
    """Enter or change the sender's offer. Raises as `check_offer`."""
    state = env.state
    check_offer(state, sender, action)
    known = state.get(WORKERS, sender)
    if known is None:
        worker = Worker(
            sender,
            action.home,
            action.capacity,
            action.kinds,
            held=0,
            seats=0,
            accepted=0,
        )
        _index(state, sender)
    else:
        worker = replace(known, home=action.home, capacity=action.capacity, kinds=action.kinds)
    state.put(WORKERS, sender, worker)
    env.events.append(WorkerRegistered(sender, action.home))


def retire_worker(env: Environment, sender: Address) -> None:
    """Withdraw the sender's offer. Raises Invalid(`not_a_worker`)."""
    worker = env.state.get(WORKERS, sender)
    if worker is None or not worker.kinds:
        raise Invalid("not_a_worker", "the sender offers no computing power")
    env.state.put(WORKERS, sender, replace(worker, kinds=()))
    env.events.append(WorkerRetired(sender))


def count_accepted(state: State, workers: Sequence[Address]) -> None:
    """Credit one accepted update to each, for the epoch's settlement."""
    for address in workers:
        worker = state.require(WORKERS, address)
        state.put(WORKERS, address, replace(worker, accepted=worker.accepted + 1))


def forget_retired(env: Environment) -> None:
    """At an epoch's end, once settled: drop retired workers that nothing refers to."""
    state, kept = env.state, []
    index = state.require(WORKER_INDEX)
    for worker in registered_workers(state):
        if worker.kinds or worker.held or worker.seats:
            kept.append(worker.address)
        else:
            state.put(WORKERS, worker.address, None)
    if len(kept) < len(index.addresses):
        state.put(WORKER_INDEX, b"", WorkerIndex(tuple(kept)))


def _index(state: State, address: Address) -> None:
    addresses = list(state.require(WORKER_INDEX).addresses)
    insort(addresses, address)
    state.put(WORKER_INDEX, b"", WorkerIndex(tuple(addresses)))
