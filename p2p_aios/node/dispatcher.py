"""Does this node's duties: through the compute gateway, then by transactions.

Each duty runs in a task of its own: fetch the blobs it needs, have the work done on Ray, keep the
output, submit the transaction, wait until the state shows it. A duty that fails ends, and is begun
again after a pause for as long as the state still asks for it; none stops another. Whatever
contributors and their cluster answer is theirs to answer for: it fails the duty, never the node.
"""

import logging
from dataclasses import dataclass
from typing import Final, assert_never

import trio

from p2p_aios.codec.cid import format_cid
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.ledger.queries import read_job, read_round, read_task
from p2p_aios.node.blobs import Blobs
from p2p_aios.node.chain import Chain
from p2p_aios.node.contributors import Contributors
from p2p_aios.node.duties import AttestDuty, Duty, JobDuty, RevealDuty, TrainDuty, duties
from p2p_aios.node.gateway import Gateway
from p2p_aios.node.transactions import Transactions
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
from p2p_aios.units import Amount, Cid, Hash

SHOWN_BLOCKS_MAX: Final = 12
"""A submitted duty that the state does not show by then is begun again."""
RETRY_S: Final = 1.0
"""Pause after a duty's first failure; it doubles with each further one."""
RETRY_S_MAX: Final = 4.0
DUTIES_MAX: Final = 512
"""Duties of contributors under way at once; further ones wait for a later block. Our own, one a
task, are not kept waiting by theirs."""
INPUT_BYTES_MAX: Final = 256 << 20
"""Most bytes of one job's inputs together: they pass through this process."""
ABSENT_CODES: Final = frozenset({"blob_absent", "blob_too_large"})
"""Why an update counts as not served."""
UPDATE_SLACK_BYTES: Final = 64 * 1024
"""How much larger than its model's parameters an update may be and still be looked at."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Of a duty that is still due."""

    rest_s: float
    rests_until_s: float


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
        self._failures: dict[Duty, _Failure] = {}
        self._contributors = Contributors(chain, transactions, blobs)
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
                for past in self._failures.keys() - self._due().keys():
                    del self._failures[past]
                for duty in self._due():
                    has_room = len(self._under_way) < DUTIES_MAX or isinstance(duty, AttestDuty)
                    if has_room and duty not in self._under_way and not self._rests(duty):
                        self._under_way.add(duty)
                        nursery.start_soon(self._do, duty)
                await block.wait()

    def _rests(self, duty: Duty) -> bool:
        failure = self._failures.get(duty)
        return failure is not None and trio.current_time() < failure.rests_until_s

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
            await self._until_shown(duty, await self._perform(duty))
        except (Invalid, Unavailable) as error:
            log.info("duty %s failed: %s", _describe(duty), error)
            self._note_failure(duty)
        except Corrupt:
            raise
        except Exception:  # what a gateway answers must not end the node
            log.exception("duty %s failed", _describe(duty))
            self._note_failure(duty)
        finally:
            self._under_way.discard(duty)

    def _note_failure(self, duty: Duty) -> None:
        """Let it rest, ever longer: some fail for good, and each attempt may cost seconds of work.
        Meanwhile others have its place."""
        known = self._failures.get(duty)
        rest_s = RETRY_S if known is None else min(2 * known.rest_s, RETRY_S_MAX)
        self._failures[duty] = _Failure(rest_s, trio.current_time() + rest_s)

    async def _perform(self, duty: Duty) -> Hash:
        """Id of the transaction that does it."""
        match duty:
            case TrainDuty():
                return await self._train(duty)
            case RevealDuty():
                return await self._reveal(duty)
            case AttestDuty():
                return await self._attest(duty)
            case JobDuty():
                return await self._run_job(duty)
            case other:
                assert_never(other)

    async def _train(self, duty: TrainDuty) -> Hash:
        spec, base = self._round(duty)
        await self._blobs.hold(base)

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
            return Signed(await self._gateway.train(request, self._blobs.fetch), b"")

        return await self._contributors.work(duty.worker, train)

    async def _reveal(self, duty: RevealDuty) -> Hash:
        _, base = self._round(duty)

        async def reveal(terms: Terms) -> Signed:
            request = RevealRound(duty.worker, terms, duty.task, duty.round, base)
            return await self._gateway.reveal(request)

        return await self._contributors.sign(duty.worker, reveal)

    async def _run_job(self, duty: JobDuty) -> Hash:
        with self._chain.state() as state:
            job = read_job(state, duty.job)
        if job is None:
            raise Unavailable("unknown_job", "the job is gone")
        order = job.order
        room = INPUT_BYTES_MAX
        for cid in dict.fromkeys(order.inputs):
            room -= await self._blobs.hold(cid, room)

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
            return await self._gateway.run_job(request, self._blobs.fetch)

        return await self._contributors.work(duty.worker, run)

    async def _attest(self, duty: AttestDuty) -> Hash:
        spec, base = self._round(duty)
        for cid in (base, spec.test_shard):
            await self._blobs.hold(cid)
        limit = update_bytes_max(spec.model)
        updates = [await self._find_update(cid, limit) for cid in self._revealed(duty)]
        request = JudgeRound(spec, base, tuple(updates))
        judged = await self._gateway.judge(request, self._blobs.fetch)
        aggregate = await self._blobs.put(judged.aggregate)
        action = AttestRound(duty.task, duty.round, judged.verdicts, aggregate, judged.score)
        # A panel member's attestation is free of fees.
        return await self._transactions.submit_own(self._key, action, Amount(0))

    async def _find_update(self, cid: Cid, limit: int) -> Cid | None:
        """The update, held here; None where nobody serves it, or only more than `limit`.

        To say so costs the contributor its bond, or us our good name. Raises Unavailable where the
        fault may be ours: `committee_unreachable`, `storage_failed`.
        """
        try:
            await self._blobs.hold(cid, limit)
        except Unavailable as error:
            if error.code not in ABSENT_CODES:
                raise
            if not self._blobs.can_tell_absence():
                raise Unavailable(
                    "committee_unreachable", "too few of the committee can be asked for an update"
                ) from None
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

    async def _until_shown(self, duty: Duty, submitted: Hash) -> None:
        """Until the state asks no more, or what was submitted is lost: while it waits for a block,
        however long, another one would only cost its sender a second fee."""
        last = self._chain.tip.height + SHOWN_BLOCKS_MAX
        waiting = self._transactions.mempool
        while duty in self._due():
            if self._chain.tip.height >= last and not waiting.contains(submitted):
                return
            await self._block.wait()


def update_bytes_max(model: ModelSpec) -> int:
    """Largest update that a panel looks at. It must be the same on every node: what is larger
    counts as not served, so that no contributor fills a panel's memory. Twice what the parameters
    take leaves room for the judgement to name what is merely too large.
    """
    return 2 * PARAMETER_BYTES * count_parameters(model) + UPDATE_SLACK_BYTES


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
