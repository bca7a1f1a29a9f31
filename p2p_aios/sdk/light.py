"""Asking a node that one does not trust: every answer is proven up to a known committee.

    async with Client(urls, checked=genesis) as client:
        view = await client.account(bob)              # balance and nonce are proven
        task = await client.record(TASKS, task_id)    # any record of the state is
        schema.to_json(client.trusted)                # keep it: begin there next time

Committees hand over to one another: a block that the known one finalized commits to the next. Who
was away walks from the last known to the present, a few hundred bytes of trust and some 10 KB of
proof an epoch. Committees of long ago are known to archive nodes only.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import trio

from p2p_aios.consensus.committee import last_height
from p2p_aios.errors import Invalid, Unavailable, invariant
from p2p_aios.ledger.state import StateReader
from p2p_aios.sdk.failover import Nodes
from p2p_aios.sdk.proofs import (
    TRUSTING_MS,
    Trusted,
    check_finality,
    check_succession,
    check_value,
)
from p2p_aios.types.block import Header
from p2p_aios.types.committee import Committee
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.units import Epoch, Height

EPOCHS_WALK_MAX: Final = 4096
"""Most committees followed from the trusted one to the present: twice the trusting period's worth
of ten-minute epochs."""
HANDOVERS_MAX: Final = 16
"""Committees asked for in one batch."""
COMMITTEES_MAX: Final = 128
"""Committees remembered, for reads of the past."""

T = TypeVar("T")
Question = tuple[Any, str, dict[str, Any]]
"""Annotation of the answer, method, parameters."""


class Source(Protocol):
    """What the light client asks of the plain one."""

    async def request(self, method: str, result: Any, **params: Any) -> Any: ...

    async def request_all(self, questions: Sequence[Question]) -> list[Any]: ...


class LightClient:
    """Follows committees from the trusted one on, and checks proofs with them."""

    def __init__(self, source: Source, trusted: Trusted) -> None:
        self._source = source
        self._first = trusted
        self._known: dict[Epoch, Trusted] = {trusted.committee.epoch: trusted}
        self._turn = trio.Lock()
        self._checked: tuple[FinalityProof, Header] | None = None
        """The last one checked: reads of one state share it."""
        self.seen = Height(0)
        """Highest block proven so far: a node that answers from before it hides something."""

    @property
    def trusted(self) -> Trusted:
        """The newest committee known."""
        return self._known[max(self._known)]

    async def derive(
        self, project: Callable[[StateReader], T], height: Height | None = None
    ) -> tuple[T, Header]:
        """`project` of the state after one block, each record it reads proven; and that block.

        Raises as `read`.
        """
        state = _ProvenState(self, height)
        # In a thread, for `project` is plain code, which waits for each proof where it reads.
        answer = await trio.to_thread.run_sync(project, state)
        return answer, state.header

    async def read(self, key: bytes, height: Height | None = None) -> tuple[bytes | None, Header]:
        """The value at a state key, None where there is none, and the header that proves it.

        Raises Invalid with what is wrong in the proof, Invalid(`checkpoint_needed`),
        Unavailable(`answer_stale`) for a state older than one proven before, and as the node does.
        """
        seen = self.seen
        proof: StateProof = await self._source.request(
            "state.proof", StateProof, key=key.hex(), height=height
        )
        if proof.key != key:
            raise Invalid("proof_off_topic", "the node proved another key than was asked for")
        header = await self._check(proof.finality)
        check_value(header, proof)
        if height is not None and header.height != height:
            raise Invalid("proof_off_topic", f"asked for height {height}, not {header.height}")
        if height is None:
            self._require_fresh(header, seen)
        return proof.value, header

    async def header(self, height: Height, *, seen: Height | None = None) -> Header:
        """Of the final block at `height`; where the node calls it its last, `seen` is what had been
        when it was asked.

        Raises as `read`.
        """
        proof = await self._source.request("block.proof", FinalityProof, height=height)
        header = await self._check(proof)
        if header.height != height:
            raise Invalid("proof_off_topic", f"asked for height {height}, not {header.height}")
        if seen is not None:
            self._require_fresh(header, seen)
        return header

    async def _check(self, proof: FinalityProof) -> Header:
        """The first header, shown to be final."""
        if self._checked is None or self._checked[0] != proof:
            committee = await self._committee(proof.certificate.ballot.epoch)
            header = check_finality(committee, self._first.chain_id, proof)
            self._checked = proof, header
        return self._checked[1]

    def _require_fresh(self, header: Header, seen: Height) -> None:
        """seen: when the node was asked; other tasks may have seen more since."""
        if header.height < seen:
            raise Unavailable(
                "answer_stale", f"the node is at {header.height}, {seen} was seen; try again"
            )
        self.seen = max(self.seen, header.height)

    async def _committee(self, epoch: Epoch) -> Committee:
        async with self._turn:
            first = self._first.committee.epoch
            if epoch < first:
                raise Invalid("committee_unproven", f"epoch {epoch} is before the trusted {first}")
            known = self._known[max(each for each in self._known if each <= epoch)]
            behind = epoch - known.committee.epoch
            _require_recent(known)
            if behind > EPOCHS_WALK_MAX:
                raise Invalid(
                    "checkpoint_needed", f"{behind} epochs to follow: name a later committee"
                )
            while known.committee.epoch < epoch:
                known = await self._follow(known, min(HANDOVERS_MAX, epoch - known.committee.epoch))
            return known.committee

    async def _follow(self, known: Trusted, count: int) -> Trusted:
        """Learn the next `count` committees from the node; the last, all of them proven."""
        first = known.committee.epoch
        # The last block of an epoch is certified by the epoch's own committee.
        heights = [last_height(Epoch(first + n), known.epoch_blocks) for n in range(count)]
        committees: list[Question] = [
            (Committee, "committee.get", {"epoch": first + n}) for n in range(count + 1)
        ]
        proofs: list[Question] = [
            (FinalityProof, "block.proof", {"height": height}) for height in heights
        ]
        try:
            answers = await self._source.request_all(committees + proofs)
        except Unavailable as fault:
            if fault.code != "height_pruned":
                raise
            raise Unavailable(
                "height_pruned",
                f"no node asked still knows the committee of epoch {first}: name an archive "
                "(keep_blocks = 0) among the nodes, or a checkpoint that is not as old",
            ) from None
        for claimed, following, proof in zip(
            answers[:count], answers[1 : count + 1], answers[count + 1 :], strict=True
        ):
            known = check_succession(known, claimed, following, proof)
            self._remember(known)
        return known

    def _remember(self, trusted: Trusted) -> None:
        self._known[trusted.committee.epoch] = trusted
        if len(self._known) > COMMITTEES_MAX:
            kept = {self._first.committee.epoch, max(self._known)}
            del self._known[next(epoch for epoch in self._known if epoch not in kept)]


class _ProvenState:
    """The state after one block: what it says at a key is proven when it is first asked for.

    Read from a worker thread, while the light client's own loop asks the node.
    """

    def __init__(self, light: LightClient, height: Height | None) -> None:
        self._light = light
        self._height = height
        self._header: Header | None = None
        self._values: dict[bytes, bytes | None] = {}

    @property
    def header(self) -> Header:
        """Of the block, once something was read."""
        invariant(self._header is not None, "every projection reads something")
        assert self._header is not None
        return self._header

    def get(self, key: bytes, /) -> bytes | None:
        if key not in self._values:
            at = self._height if self._header is None else self._header.height
            value, header = trio.from_thread.run(self._light.read, key, at)
            if self._header not in (None, header):
                raise Invalid("proof_off_topic", f"two blocks at height {at} were proven final")
            self._values[key], self._header = value, header
        return self._values[key]


def _require_recent(trusted: Trusted) -> None:
    age_ms = int(time.time() * 1000) - trusted.timestamp_ms
    if age_ms > TRUSTING_MS:
        raise Invalid(
            "checkpoint_needed",
            f"the committee of epoch {trusted.committee.epoch} was vouched for "
            f"{age_ms // 86_400_000} days ago, and is believed for {TRUSTING_MS // 86_400_000}: "
            "name a later committee (or look at this machine's clock)",
        )


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
