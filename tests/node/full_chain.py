"""A small chain on which all has happened: jobs in each state, rounds settled and voided."""

from p2p_aios.codec import cbor
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.ledger.queries import list_open_jobs, read_job, read_round
from p2p_aios.ledger.records import JobStatus, LearningRound, RoundPhase
from p2p_aios.node.chain import Chain
from p2p_aios.types.compute import (
    JobKind,
    JobReceipt,
    RegisterWorker,
    SubmitJob,
    SubmitReceipt,
    input_digest,
)
from p2p_aios.types.learning import CommitUpdate, RevealUpdate, update_commitment
from p2p_aios.types.transaction import Action
from p2p_aios.units import AIOS, ZERO_HASH, Amount, Hash
from tests.ledger.world import attest, cid, make_task
from tests.node.founders import ALICE, BOB, Founders

JOB = SubmitJob(JobKind.EVALUATE, (cid("model"), cid("shard")), cbor.encode([]), Amount(AIOS), 2)
TASK = make_task(seats=2, updates_min=2, rounds=4, commit_blocks=2)
BLOCKS_MAX = 60
FEE = Amount(AIOS)


class FullChain:
    """Ids of what is on it; `fill` puts it there."""

    def __init__(self, founders: Founders, chain: Chain) -> None:
        self._founders = founders
        self._chain = chain
        self.task = ZERO_HASH
        """Its round 0 is settled, round 1 voided, and a later one runs."""
        self.settled = ZERO_HASH
        self.refunded = ZERO_HASH
        self.open = ZERO_HASH

    async def fill(self) -> None:
        kinds = (JobKind.TRAIN, JobKind.EVALUATE)
        offer = RegisterWorker(self._founders.validators[0].address, 4, kinds)
        await self._do((ALICE, offer), (BOB, offer))
        self.task = await self._submit(TASK)
        await self._settle_round()
        self.settled = await self._submit(JOB)
        await self._settle_job()
        self.refunded = await self._submit(JOB)
        while not self._is_refunded() or not self._is_voided():
            await self._founders.extend(self._chain)
            assert self._chain.tip.height < BLOCKS_MAX
        self.open = await self._submit(JOB)

    async def _settle_round(self) -> None:
        while (round_ := self._round(0)) is None:
            await self._founders.extend(self._chain)
        updates = {worker: cid(worker.address.hex()) for worker in (ALICE, BOB)}
        chain_id = self._chain.chain_id
        commits = {
            worker: update_commitment(
                chain_id, self.task, 0, worker.address, round_.base, update, ZERO_HASH
            )
            for worker, update in updates.items()
        }
        await self._do(*((w, CommitUpdate(self.task, 0, each)) for w, each in commits.items()))
        reveals = [(w, RevealUpdate(self.task, 0, u, ZERO_HASH)) for w, u in updates.items()]
        await self._do(*reveals)
        statement = attest(self.task, 0, attest(self.task, 0).verdicts[:2])
        panel = self._founders.validators
        await self._do(*((validator, statement) for validator in panel), fee=Amount(0))
        settled = self._round(0)
        assert settled is not None
        assert settled.phase is RoundPhase.SETTLED

    async def _settle_job(self) -> None:
        await self._founders.extend(self._chain)
        with self._chain.state() as state:
            (job,) = list_open_jobs(state)
        worker = next(each for each in (ALICE, BOB) if each.address == job.worker)
        digest = input_digest(JOB.inputs, JOB.arguments)
        receipt = JobReceipt(job.id, 0, ZERO_HASH, digest, ZERO_HASH, cid("output"), 9)
        await self._do((worker, SubmitReceipt(receipt)))

    def _round(self, number: int) -> LearningRound | None:
        with self._chain.state() as state:
            return read_round(state, self.task, number)

    def _is_voided(self) -> bool:
        round_ = self._round(1)
        return round_ is not None and round_.phase is RoundPhase.VOIDED

    def _is_refunded(self) -> bool:
        with self._chain.state() as state:
            job = read_job(state, self.refunded)
        return job is not None and job.status is JobStatus.REFUNDED

    async def _submit(self, action: Action) -> Hash:
        signed = self._founders.transaction(self._chain, ALICE, action, fee=FEE)
        await self._founders.extend(self._chain, signed)
        return signed.id

    async def _do(self, *pairs: tuple[KeyPair, Action], fee: Amount = FEE) -> None:
        make = self._founders.transaction
        signed = [make(self._chain, sender, action, fee=fee) for sender, action in pairs]
        await self._founders.extend(self._chain, *signed)
