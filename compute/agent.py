"""The contributor agent: holds the key and the data, outside Ray, and signs what it did itself.

Any member of a Ray cluster can run code on every other, so neither key nor data may live there: a
Ray actor on the contributor's machine only passes frames on (`compute.agent_socket`).

What it signs: transactions of its own chain, within its fee limit, of exactly four actions, each
about its own work: RegisterWorker, CommitUpdate, RevealUpdate, SubmitReceipt. An update is on disk
before its commitment leaves, and a repeated request yields the same commitment.

Work waits its turn; signing what is done does not. So the node may ask again on other terms, and a
reveal comes in time whatever is being trained.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from compute.commitments import CommitmentStore, CommittedUpdate, make_committed
from compute.jobs import JobOutput, make_receipt, run_job
from compute.local_data import LocalData
from compute.parameters import read_model, read_update, write_parameters
from compute.training import train_update, training_seed
from p2p_aios.codec.cid import cid_of, format_cid, matches
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import Invalid
from p2p_aios.types.compute import JobKind, Kinds, RegisterWorker, SubmitReceipt
from p2p_aios.types.gateway import (
    AgentRequest,
    Contributor,
    Describe,
    RevealRound,
    RunJob,
    Signed,
    Terms,
    TrainRound,
)
from p2p_aios.types.learning import (
    CommitUpdate,
    RevealUpdate,
    Verdict,
    check_model,
    update_commitment,
)
from p2p_aios.types.transaction import Action, TransactionBody, sign_transaction
from p2p_aios.units import Address, Amount, Cid, Hash, Height

FINISHED_MAX: Final = 8
"""Outputs of jobs kept to be signed again; a forgotten one is only computed again."""
FINISHED_BYTES_MAX: Final = 64 << 20
"""Of all of them together, if there are several."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the contributor's owner allows."""

    chain_id: Hash
    """The only chain whose transactions are signed."""
    fee_max: Amount
    """Highest fee of one transaction."""
    kinds: Kinds
    """Job kinds that may run; training rounds need TRAIN."""


class Agent:
    """Answers requests about one key and one set of data."""

    def __init__(self, key: KeyPair, policy: Policy, data: LocalData, folder: Path) -> None:
        self._key = key
        self._policy = policy
        self._data = data
        self._store = CommitmentStore(folder / "commitments")
        # One computation at a time: the machine's cores belong to its owner. It also makes the
        # store's single writer, so that a round has one commitment.
        self._turn = trio.CapacityLimiter(1)
        self._finished: OrderedDict[RunJob, JobOutput] = OrderedDict()

    @property
    def address(self) -> Address:
        return self._key.address

    @property
    def kinds(self) -> Kinds:
        """What its owner lets it run."""
        return self._policy.kinds

    async def answer(
        self, request: AgentRequest, blobs: Sequence[bytes] = ()
    ) -> Contributor | Signed:
        """Do what `request` asks, with its `blobs` in the order the request names them.

        Raises Invalid: `wrong_chain`, `wrong_worker`, `fee_over_limit`, `kind_not_allowed`,
        `blob_mismatch`, `not_committed`, `update_out_of_range`, and the codes of the work itself.
        """
        match request:
            case Describe():
                return Contributor(self.address, self._policy.kinds)
            case TrainRound() as train:
                self._admit(train.worker, train.terms, JobKind.TRAIN)
                committed = await self._find(train)
                if committed is None:
                    committed = await self._in_turn(partial(self._commit, train, blobs))
                return self._sign(train.terms, self._commitment(committed))
            case RevealRound() as reveal:
                self._admit(reveal.worker, reveal.terms, JobKind.TRAIN)
                committed = await self._find(reveal)
                if committed is None:
                    raise Invalid("not_committed", f"nothing committed in round {reveal.round}")
                return self._sign(reveal.terms, _reveal(committed), committed.blob)
            case RunJob() as job:
                self._admit(job.worker, job.terms, job.kind)
                output = self._finished.get(_without_terms(job))
                if output is None:
                    output = await self._in_turn(partial(self._run, job, blobs))
                receipt = make_receipt(job, cid_of(output.blob), output.units)
                return self._sign(job.terms, SubmitReceipt(receipt), output.blob)

    def sign_offer(self, terms: Terms, home: Address, capacity: int) -> Signed:
        """Its RegisterWorker, for its own worker alone: whoever reaches the socket must not lead
        the contributor to another home. Raises Invalid: `wrong_chain`, `fee_over_limit`.
        """
        self._check_terms(terms)
        return self._sign(terms, RegisterWorker(home, capacity, self._policy.kinds))

    async def _find(self, request: TrainRound | RevealRound) -> CommittedUpdate | None:
        find = partial(self._store.find, request.task, request.round, request.base)
        return await trio.to_thread.run_sync(find)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(
            work,
            limiter=self._turn,
            abandon_on_cancel=True,  # type: ignore[call-arg]  # trio-typing's stubs lag behind trio
        )

    def _commit(self, request: TrainRound, blobs: Sequence[bytes]) -> CommittedUpdate:
        """The update of a round: trained once, durable, the same ever after."""
        found = self._store.find(request.task, request.round, request.base)
        if found is not None:
            return found
        check_model(request.model)
        _check_blobs((request.base,), blobs)
        base = read_model(blobs[0], request.model)
        seed = training_seed(request.task, request.round, self.address)
        update = train_update(request.model, request.plan, base, self._data, seed)
        blob = write_parameters(update)
        # Our own refusal costs nothing; the chain's would cost the bond.
        if isinstance(read_update(blob, request.model, request.update_limit), Verdict):
            raise Invalid(
                "update_out_of_range", "the trained update exceeds the task's update_limit"
            )
        committed = make_committed(request.task, request.round, request.base, blob)
        self._store.save(committed)
        return committed

    def _run(self, request: RunJob, blobs: Sequence[bytes]) -> JobOutput:
        """The output of a job: computed once, as long as it is remembered."""
        job = _without_terms(request)
        if job not in self._finished:
            _check_blobs(request.inputs, blobs)
            self._remember(job, run_job(request, blobs, self._data))
        return self._finished[job]

    def _remember(self, job: RunJob, output: JobOutput) -> None:
        finished = self._finished
        finished[job] = output
        while len(finished) > 1 and (
            len(finished) > FINISHED_MAX
            or sum(len(o.blob) for o in finished.values()) > FINISHED_BYTES_MAX
        ):
            finished.popitem(last=False)

    def _commitment(self, committed: CommittedUpdate) -> CommitUpdate:
        task, round, chain_id = committed.task, committed.round, self._policy.chain_id
        commitment = update_commitment(
            chain_id, task, round, self.address, committed.base, committed.update, committed.salt
        )
        return CommitUpdate(task, round, commitment)

    def _sign(self, terms: Terms, action: Action, output: bytes = b"") -> Signed:
        body = TransactionBody(
            chain_id=self._policy.chain_id,
            sender=self._key.public_key,
            nonce=terms.nonce,
            fee=terms.fee,
            expires=terms.expires,
            action=action,
        )
        return Signed(sign_transaction(self._key, body).raw, output)

    def _admit(self, worker: Address, terms: Terms, kind: JobKind) -> None:
        if worker != self.address:
            raise Invalid(
                "wrong_worker",
                f"asked for {format_address(worker)}, this is {format_address(self.address)}",
            )
        self._check_terms(terms)
        if kind not in self._policy.kinds:
            raise Invalid("kind_not_allowed", f"this contributor runs no {kind.name.lower()} jobs")

    def _check_terms(self, terms: Terms) -> None:
        if terms.chain_id != self._policy.chain_id:
            raise Invalid("wrong_chain", "this contributor signs for another chain only")
        if terms.fee > self._policy.fee_max:
            raise Invalid(
                "fee_over_limit", f"a fee of {terms.fee} units; the limit is {self._policy.fee_max}"
            )


def _without_terms(job: RunJob) -> RunJob:
    """What makes it this job, whatever the transaction that pays for it."""
    return replace(job, terms=Terms(job.terms.chain_id, 0, Amount(0), Height(0)))


def _reveal(committed: CommittedUpdate) -> RevealUpdate:
    return RevealUpdate(committed.task, committed.round, committed.update, committed.salt)


def _check_blobs(cids: Sequence[Cid], blobs: Sequence[bytes]) -> None:
    if len(cids) != len(blobs):
        raise Invalid("blob_mismatch", f"{len(blobs)} blobs came with {len(cids)} names")
    for cid, blob in zip(cids, blobs, strict=True):
        if not matches(cid, blob):
            raise Invalid("blob_mismatch", f"the bytes given for {format_cid(cid)} are others")
