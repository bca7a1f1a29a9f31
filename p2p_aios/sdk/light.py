"""Asking a node that one does not trust: every answer is proven up to a known committee.

async with Client(urls, checked=genesis) as client:
    view = await client.account(bob)              # balance and nonce are proven
    task = await client.record(TASKS, task_id)    # any record of the state is
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar

import trio

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.sdk.failover import Nodes
from p2p_aios.sdk.proofs import Trusted, check_state, check_succession, closing_height
from p2p_aios.types.block import Header
from p2p_aios.types.committee import Committee
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.units import Epoch, Height

EPOCHS_WALK_MAX: Final = 4096
"""Most committees followed from the trusted one to the present; beyond it, a checkpoint."""
COMMITTEES_MAX: Final = 128
"""Committees remembered, for reads of the past."""

T = TypeVar("T")


class Source(Protocol):
    """What the light client asks of the plain one."""

    async def prove_state(self, key: bytes, height: Height | None = None) -> StateProof: ...

    async def prove_block(self, height: Height | None = None) -> FinalityProof: ...

    async def committee(self, epoch: int | None = None) -> Committee: ...


class LightClient:
    """Follows committees from the trusted one on, and checks proofs with them."""

    def __init__(self, source: Source, trusted: Trusted) -> None:
        self._source = source
        self._trusted = trusted
        self._committees: dict[Epoch, Committee] = {trusted.committee.epoch: trusted.committee}
        self._turn = trio.Lock()
        self._seen = Height(0)
        """Highest block proven so far: a node that answers from before it hides something."""

    @property
    def trusted(self) -> Trusted:
        return self._trusted

    async def read(self, key: bytes, height: Height | None = None) -> tuple[bytes | None, Header]:
        """The value at a state key, None where there is none, and the header that proves it.

        Raises Invalid with what is wrong in the proof, Unavailable(`answer_stale`) for a state
        older than one proven before, and as the node does.
        """
        proof = await self._source.prove_state(key, height)
        if proof.key != key:
            raise Invalid("proof_off_topic", "the node proved another key than was asked for")
        committee = await self._committee(proof.finality.certificate.ballot.epoch)
        header = check_state(committee, self._trusted.chain_id, proof)
        if height is not None and header.height != height:
            raise Invalid("proof_off_topic", f"asked for height {height}, not {header.height}")
        if height is None:
            self._require_fresh(header)
        return proof.value, header

    def _require_fresh(self, header: Header) -> None:
        if header.height < self._seen:
            raise Unavailable(
                "answer_stale", f"the node is at {header.height}, {self._seen} was seen; try again"
            )
        self._seen = header.height

    async def _committee(self, epoch: Epoch) -> Committee:
        async with self._turn:
            first = self._trusted.committee.epoch
            if epoch < first:
                raise Invalid("committee_unproven", f"epoch {epoch} is before the trusted {first}")
            known = max(each for each in self._committees if each <= epoch)
            if epoch - known > EPOCHS_WALK_MAX:
                raise Invalid(
                    "checkpoint_needed", f"{epoch - known} epochs to follow: name a later committee"
                )
            for each in range(known, epoch):
                await self._follow(Epoch(each))
            return self._committees[epoch]

    async def _follow(self, epoch: Epoch) -> None:
        """Learn the committee after `epoch`'s from the node, and keep it if it is proven."""
        trusted = replace(self._trusted, committee=self._committees[epoch])
        claimed = await self._source.committee(epoch)
        following = await self._source.committee(epoch + 1)
        proof = await self._source.prove_block(closing_height(trusted))
        self._committees[Epoch(epoch + 1)] = check_succession(trusted, claimed, following, proof)
        first = self._trusted.committee.epoch
        if len(self._committees) > COMMITTEES_MAX:
            self._committees.pop(min(each for each in self._committees if each != first))


async def checked_anywhere(read: Callable[[], Awaitable[T]], nodes: Nodes) -> T:
    """`read`, leaving each node that cannot prove its answer for the next.

    Raises the last one's fault.
    """
    for _ in range(nodes.count - 1):
        try:
            return await read()
        except Invalid as fault:
            if not fault.code.startswith(("proof_", "certificate_", "committee_", "node_")):
                raise
        except Unavailable as fault:
            if fault.code != "answer_stale":
                raise
        nodes.leave()
    return await read()
