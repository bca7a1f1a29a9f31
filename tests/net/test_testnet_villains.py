"""One honest contributor and one honest majority among villains: a round on real processes and
real Ray settles without every update that is no update, and names each by its code; a validator
that attests what is not so is named too.

The villains are accounts: a contributor is nothing but a key that signs.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import trio

from compute.parameters import Format, ParameterBlob, blob_bytes_max, write_parameters
from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import AiosError
from p2p_aios.node.dispatcher import update_bytes_max
from p2p_aios.sdk import Client
from p2p_aios.types.compute import JobKind, RegisterWorker
from p2p_aios.types.event import AttestationRefused, Event, RoundSettled, UpdateRefused
from p2p_aios.types.learning import (
    AttestRound,
    CommitUpdate,
    RevealUpdate,
    Score,
    TaskId,
    Verdict,
    count_parameters,
    update_commitment,
)
from p2p_aios.types.transaction import Action, Transfer
from p2p_aios.types.views import Phase, RoundView
from p2p_aios.units import AIOS, ZERO_HASH, Amount, Cid, Hash, Height
from testnet.creation import Wish
from testnet.demo.follow import events_of
from testnet.demo.submission import submit_digits
from testnet.digits import MODEL, UPDATE_LIMIT, digits_task
from testnet.inspection import audit_supply
from testnet.verification import verify_settled_round
from tests.net.standing_testnet import Standing, Watch, standing_testnet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LYING_TESTNET = Path(__file__).with_name("lying_testnet.py")
FUNDS = Amount(10 * AIOS)
PHASE_S_MAX = 60.0
COUNT = count_parameters(MODEL)
ZEROS = np.zeros(COUNT, np.int32)


def fixed(values: np.ndarray) -> bytes:
    return write_parameters(values.astype(np.int32))


def floats(value: float) -> bytes:
    """Zeros but for one component."""
    data = np.zeros(COUNT, "<f4")
    data[7] = value
    return schema.encode(ParameterBlob(1, Format.FLOAT32, COUNT, data.tobytes()))


@dataclass(frozen=True)
class Villain:
    name: str
    blob: bytes | None
    """What it reveals; None: it commits and is never heard of again."""
    code: str
    is_served: bool = True
    """Whether the bytes are anywhere to be had."""

    @property
    def key(self) -> KeyPair:
        return KeyPair.from_secret(sha256(self.name.encode()))

    @property
    def update(self) -> Cid:
        return cid_of(self.blob or b"")


VILLAINS = [
    Villain("nan", floats(float("nan")), "update_non_finite"),
    Villain("infinite", floats(float("-inf")), "update_non_finite"),
    Villain("misshapen", fixed(np.zeros(COUNT + 1)), "update_misshapen"),
    Villain("oversized", bytes(blob_bytes_max(MODEL) + 1), "update_oversized"),
    Villain("huge", bytes(update_bytes_max(MODEL) + 1), "update_unavailable"),
    Villain("beyond", fixed(ZEROS + UPDATE_LIMIT + 1), "update_out_of_range"),
    Villain("garbage", b"\xff" * 100, "update_malformed"),
    Villain("nowhere", b"never shown to anyone", "update_unavailable", is_served=False),
    Villain("silent", None, "update_unrevealed"),
]
TWINS = [Villain(name, fixed(ZEROS), "update_duplicate") for name in ("twin", "other twin")]
"""The same sound update twice: the first seat's counts."""
EVERYBODY = [*VILLAINS, *TWINS]
BYSTANDER = Villain("bystander", None, "")
"""Has coins and no seat."""


@pytest.fixture(scope="module")
def testnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    root = tmp_path_factory.mktemp("villains") / "net"
    with standing_testnet(root, Wish(nodes=4, workers=1), (str(LYING_TESTNET),)) as standing:
        yield standing


async def test_a_round_settles_without_villains_and_names_them(testnet: Standing) -> None:
    async with testnet.client() as client, Watch(testnet):
        liar = await join_villains(testnet, client)
        task = await submit_task(testnet, client)
        before = await balances(client)
        fees = await play_round(client, task)
        view = await reach(client, task, Phase.SETTLED)
        refused = {v.key.address: v.code for v in VILLAINS}
        twins = [seat for seat in view.seats if seat.worker in {t.key.address for t in TWINS}]
        assert [seat.verdict for seat in twins] == [Verdict.ACCEPTED, Verdict.DUPLICATE]
        refused[twins[1].worker] = "update_duplicate"
        events = await events_between(client, view.opened, await lag(client, view))
        found = {e.worker: e.code for e in events if isinstance(e, UpdateRefused)}
        assert found == refused
        (settled,) = [e for e in events if isinstance(e, RoundSettled)]
        assert set(settled.contributors) == {s.worker for s in view.seats} - refused.keys()
        assert len(settled.contributors) == 2, "the honest one and the first twin"
        named = [(e.validator, e.code) for e in events if isinstance(e, AttestationRefused)]
        assert named == [(liar, "attestation_wrong")]
        after = await balances(client)
        for villain in EVERYBODY:
            address = villain.key.address
            gain = settled.paid if address not in refused else -task_bond(testnet)
            assert after[address] - before[address] == gain - fees[address], villain.name
        assert (await verify_settled_round(client, task, 0)).differences == ()
        _, differences = await audit_supply(client)
        assert differences == ()


async def join_villains(standing: Standing, client: Client) -> bytes:
    """Fund and register them at the lying validator, whose address is returned."""
    async with standing.client(-1) as last:
        liar = (await last.status()).validator
    assert liar is not None
    treasury = load_keystore(standing.layout.wallet("treasury"), None)
    funding = [Transfer(villain.key.address, FUNDS) for villain in (*EVERYBODY, BYSTANDER)]
    *_, last_id = await client.sender(treasury).send_all(funding)
    await client.wait(last_id)
    offer = RegisterWorker(liar, 1, (JobKind.TRAIN,))
    await each(lambda villain: client.send_and_wait(villain.key, offer))
    return liar


async def submit_task(standing: Standing, client: Client) -> TaskId:
    """One round with a seat for everybody."""
    base = digits_task(standing.layout, standing.plan, rounds=1)
    seats = 1 + len(EVERYBODY)
    task = replace(base, seats=seats, updates_min=1, commit_blocks=60, reveal_blocks=16)
    return await submit_digits(standing.layout, client, task)


def task_bond(standing: Standing) -> int:
    return digits_task(standing.layout, standing.plan, rounds=1).bond


async def play_round(client: Client, task: TaskId) -> dict[bytes, int]:
    """Commit and reveal as each villain does; the fees they paid."""
    fees = {villain.key.address: 0 for villain in EVERYBODY}
    chain_id, _ = await client.chain()
    view = await reach(client, task, Phase.COMMIT)

    async def do(villain: Villain, action: Action) -> None:
        status = await client.send_and_wait(villain.key, action)
        fees[villain.key.address] += status.transaction.body.fee

    async def commit(villain: Villain) -> None:
        await do(villain, committing(villain, chain_id, task, view.base))

    async def reveal(villain: Villain) -> None:
        if villain.blob is not None:
            await do(villain, RevealUpdate(task, 0, villain.update, ZERO_HASH))

    first = EVERYBODY[0]
    await check_refusals(client, task, committing(first, chain_id, task, view.base))
    await each(commit)
    for villain in EVERYBODY:
        if villain.blob is not None and villain.is_served:
            await client.put_blob(villain.blob)
    await reach(client, task, Phase.REVEAL)
    other = RevealUpdate(task, 0, cid_of(b"another"), ZERO_HASH)
    assert await refusal(client, first, other) == "commitment_mismatch"
    await each(reveal)
    return fees


async def check_refusals(client: Client, task: TaskId, commit: CommitUpdate) -> None:
    """What a seat may not say while its round takes commitments."""
    villain = EVERYBODY[0]
    nobody = Villain("nobody", None, "")
    attest = AttestRound(task, 0, (), cid_of(b"x"), Score(0, 0, 0))
    reveal = RevealUpdate(task, 0, cid_of(b"x"), ZERO_HASH)
    assert await refusal(client, villain, replace(commit, round=1)) == "unknown_round"
    assert await refusal(client, villain, replace(commit, task=ZERO_HASH)) == "unknown_task"
    assert await refusal(client, villain, reveal) == "round_not_yet"
    assert await refusal(client, villain, attest) == "not_on_panel"
    assert await refusal(client, nobody, commit) == "funds_insufficient"
    assert await refusal(client, BYSTANDER, commit) == "not_seated"


async def refusal(client: Client, villain: Villain, action: Action) -> str:
    with pytest.raises(AiosError) as refused:
        await client.send(villain.key, action)
    return refused.value.code


def committing(villain: Villain, chain_id: Hash, task: TaskId, base: Cid) -> CommitUpdate:
    where = (chain_id, task, 0, villain.key.address, base)
    return CommitUpdate(task, 0, update_commitment(*where, villain.update, ZERO_HASH))


async def each(act: Callable[[Villain], Awaitable[object]]) -> None:
    """All villains at once."""
    async with trio.open_nursery() as nursery:
        for villain in EVERYBODY:
            nursery.start_soon(act, villain)


async def reach(client: Client, task: TaskId, phase: Phase) -> RoundView:
    """The task's only round, once it is in `phase`."""
    with trio.fail_after(PHASE_S_MAX):
        while True:
            try:
                view = await client.round(task, 0)
            except AiosError:
                view = None
            if view is not None and view.phase >= phase:
                assert view.phase is phase, f"{view.phase.name} {view.code}"
                return view
            await trio.sleep(0.1)


async def lag(client: Client, view: RoundView) -> int:
    """A height by which late attestations are on the chain too."""
    assert view.closed is not None
    height = view.closed + 8
    with trio.fail_after(PHASE_S_MAX):
        while (await client.status()).height < height:
            await trio.sleep(0.1)
    return height


async def events_between(client: Client, first: int, last: int) -> list[Event]:
    found: list[Event] = []
    for height in range(first, last + 1):
        block = await client.block(Height(height), has_outcome=True)
        found += [notice.event for notice in events_of(block)]
    return found


async def balances(client: Client) -> dict[bytes, int]:
    return {
        villain.key.address: (await client.account(villain.key.address)).balance
        for villain in EVERYBODY
    }
