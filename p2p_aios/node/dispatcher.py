"""Does this node's duties: through the compute gateway, then by transactions.

Each duty runs in a task of its own: fetch the blobs it needs, have the work done on Ray, keep the
output, submit the transaction, wait until the state shows it. A duty that fails ends, and is begun
again with the next block for as long as the state still asks for it; none stops another. Whatever
contributors and their cluster answer is theirs to answer for: it fails the duty, never the node.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, assert_never

import trio

from p2p_aios.codec.cid import format_cid
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.ledger.queries import read_job, read_round, read_task
from p2p_aios.node.blobs import Blobs
from p2p_aios.node.chain import Chain
from p2p_aios.node.duties import AttestDuty, Duty, JobDuty, RevealDuty, TrainDuty, duties
from p2p_aios.node.gateway import Gateway
from p2p_aios.node.transactions import Transactions
from p2p_aios.params import Params
from p2p_aios.types.gateway import (
    JudgeRound,
    RevealRound,
    RunJob,
    Signed,
    Terms,
    TrainRound,
)
from p2p_aios.types.learning import (
    PARAMETER_BYTES,
    AttestRound,
    ModelSpec,
    SubmitTask,
    count_parameters,
)
from p2p_aios.units import Address, Amount, Cid, Hash

CONTRIBUTOR_BYTES_MAX: Final = 1024
"""More than a commit, reveal or receipt takes; prices its fee before it exists."""
SHOWN_BLOCKS_MAX: Final = 12
"""A submitted duty that the state does not show by then is begun again."""
RETRY_S: Final = 1.0
"""Pause after a failure."""
DUTIES_MAX: Final = 512
"""Duties of contributors under way at once; further ones wait for a later block. Our own, one a
task, are not kept waiting by theirs."""
INPUT_BYTES_MAX: Final = 256 << 20
"""Most bytes of one job's inputs together: they pass through this process."""
UPDATE_SLACK_BYTES: Final = 64 * 1024
"""How much larger than its model's parameters an update may be and still be looked at."""

log = logging.getLogger(__name__)


class Dispatcher:
    """The duties under way."""

    def __init__(
        self,
        chain: Chain,
        transactions: Transactions,
        blobs: Blobs,
        gateway: Gateway,
        key: KeyPair,
    ) -> None:
        self._chain = chain
        self._transactions = transactions
        self._blobs = blobs
        self._gateway = gateway
        self._key = key
        self._under_way: set[Duty] = set()
        self._signing: dict[Address, trio.Lock] = {}
        self._block = trio.Event()
        self._due_at: Hash | None = None
        self._due_then: dict[Duty, None] = {}

    def wake(self) -> None:
        """A block became final."""
        self._block.set()
        self._block = trio.Event()

    async def run(self) -> None:
        """Do what is due until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                block = self._block
                for duty in self._due():
                    has_room = len(self._under_way) < DUTIES_MAX or isinstance(duty, AttestDuty)
                    if duty not in self._under_way and has_room:
                        self._under_way.add(duty)
                        nursery.start_soon(self._do, duty)
                await block.wait()

    def _due(self) -> dict[Duty, None]:
        """What the tip asks for; read once a block, however many look."""
        tip = self._chain.tip.hash
        if tip != self._due_at:
            with self._chain.state() as state:
                self._due_then = dict.fromkeys(duties(state, self._key.address))
            self._due_at = tip
        return self._due_then

    async def _do(self, duty: Duty) -> None:
        try:
            await self._perform(duty)
            await self._until_shown(duty)
        except (Invalid, Unavailable) as error:
            log.info("duty %s failed: %s", _describe(duty), error)
            await trio.sleep(RETRY_S)
        except Corrupt:
            raise
        except Exception:  # what a gateway answers must not end the node
            log.exception("duty %s failed", _describe(duty))
            await trio.sleep(RETRY_S)
        finally:
            self._under_way.discard(duty)

    async def _perform(self, duty: Duty) -> None:
        match duty:
            case TrainDuty():
                await self._train(duty)
            case RevealDuty():
                await self._reveal(duty)
            case AttestDuty():
                await self._attest(duty)
            case JobDuty():
                await self._run_job(duty)
            case other:
                assert_never(other)

    async def _train(self, duty: TrainDuty) -> None:
        spec, base = self._round(duty)
        blobs = {base: await self._blobs.fetch(base)}

        async def train(terms: Terms) -> Signed:
            request = TrainRound(
                worker=duty.worker,
                terms=terms,
                task=duty.task,
                round=duty.round,
                model=spec.model,
                plan=spec.plan,
                update_limit=spec.update_limit,
                base=base,
            )
            return Signed(await self._gateway.train(request, blobs), b"")

        await self._sign_and_submit(duty.worker, train)

    async def _reveal(self, duty: RevealDuty) -> None:
        _, base = self._round(duty)

        async def reveal(terms: Terms) -> Signed:
            request = RevealRound(duty.worker, terms, duty.task, duty.round, base)
            return await self._gateway.reveal(request)

        await self._sign_and_submit(duty.worker, reveal)

    async def _run_job(self, duty: JobDuty) -> None:
        with self._chain.state() as state:
            job = read_job(state, duty.job)
        if job is None:
            return
        order = job.order
        blobs: dict[Cid, bytes] = {}
        room = INPUT_BYTES_MAX
        for cid in dict.fromkeys(order.inputs):
            blobs[cid] = await self._blobs.fetch(cid, room)
            room -= len(blobs[cid])

        async def run(terms: Terms) -> Signed:
            request = RunJob(
                worker=duty.worker,
                terms=terms,
                job=duty.job,
                assignment=duty.assignment,
                kind=order.kind,
                inputs=order.inputs,
                arguments=order.arguments,
            )
            return await self._gateway.run_job(request, blobs)

        await self._sign_and_submit(duty.worker, run)

    async def _attest(self, duty: AttestDuty) -> None:
        spec, base = self._round(duty)
        blobs = {cid: await self._blobs.fetch(cid) for cid in (base, spec.test_shard)}
        limit = update_bytes_max(spec.model)
        updates = [await self._find_update(cid, limit, blobs) for cid in self._revealed(duty)]
        judged = await self._gateway.judge(JudgeRound(spec, base, tuple(updates)), blobs)
        aggregate = await self._blobs.put(judged.aggregate)
        action = AttestRound(duty.task, duty.round, judged.verdicts, aggregate, judged.score)
        # A panel member's attestation is free of fees.
        await self._transactions.submit_own(self._key, action, Amount(0))

    async def _sign_and_submit(
        self, worker: Address, work: Callable[[Terms], Awaitable[Signed]]
    ) -> None:
        """Have the contributor do its work and sign for it; keep its output; submit.

        One at a time for each contributor: its transactions carry consecutive nonces.
        """
        async with self._turn_of(worker):
            terms = Terms(
                self._chain.chain_id,
                self._transactions.next_nonce(worker),
                _contributor_fee(self._chain.params),
                self._transactions.expiry(),
            )
            signed = await work(terms)
            if signed.output:
                await self._blobs.put(signed.output)
            await self._transactions.submit(signed.raw)

    async def _find_update(self, cid: Cid, limit: int, blobs: dict[Cid, bytes]) -> Cid | None:
        """Add an update to `blobs`; None where nobody serves it, or only more than `limit`."""
        try:
            blobs[cid] = await self._blobs.fetch(cid, limit)
        except Unavailable as error:
            log.warning("update %s is not to be had: %s", format_cid(cid), error)
            return None
        return cid

    def _round(self, duty: TrainDuty | RevealDuty | AttestDuty) -> tuple[SubmitTask, Cid]:
        """The task's specification and the round's base model."""
        with self._chain.state() as state:
            task = read_task(state, duty.task)
            round_ = read_round(state, duty.task, duty.round)
        if task is None or round_ is None:
            raise Unavailable("unknown_round", "the round is gone")
        return task.spec, round_.base

    def _revealed(self, duty: AttestDuty) -> list[Cid]:
        with self._chain.state() as state:
            round_ = read_round(state, duty.task, duty.round)
        seats = () if round_ is None else round_.revealed
        return [seat.update for seat in seats if seat.update is not None]

    @asynccontextmanager
    async def _turn_of(self, signer: Address) -> AsyncIterator[None]:
        lock = self._signing.setdefault(signer, trio.Lock())
        async with lock:
            try:
                yield
            finally:
                if not lock.statistics().tasks_waiting:
                    del self._signing[signer]

    async def _until_shown(self, duty: Duty) -> None:
        last = self._chain.tip.height + SHOWN_BLOCKS_MAX
        while self._chain.tip.height < last and duty in self._due():
            await self._block.wait()


def update_bytes_max(model: ModelSpec) -> int:
    """Largest update that a panel looks at. It must be the same on every node: what is larger
    counts as not served, so that no contributor fills a panel's memory. Twice what the parameters
    take leaves room for the judgement to name what is merely too large.
    """
    return 2 * PARAMETER_BYTES * count_parameters(model) + UPDATE_SLACK_BYTES


def _contributor_fee(params: Params) -> Amount:
    return Amount(params.fee_base + params.fee_per_byte * CONTRIBUTOR_BYTES_MAX)


def _describe(duty: Duty) -> str:
    """For the log: kind, subject, round, worker."""
    match duty:
        case JobDuty():
            return f"job={duty.job.hex()[:16]} worker={format_address(duty.worker)}"
        case AttestDuty():
            return f"attest task={duty.task.hex()[:16]} round={duty.round}"
        case TrainDuty() | RevealDuty():
            verb = "train" if isinstance(duty, TrainDuty) else "reveal"
            worker = format_address(duty.worker)
            return f"{verb} task={duty.task.hex()[:16]} round={duty.round} worker={worker}"
