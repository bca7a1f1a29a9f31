"""A client that trusts a genesis alone believes a real node, and no lie of a false one."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.tables import ACCOUNTS, CHAIN, COMMITTEES, TASKS, VALIDATORS, epoch_key
from p2p_aios.node.chain import Chain
from p2p_aios.sdk import Client, Trusted, trust_genesis
from p2p_aios.types.committee import Committee
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.transaction import Transfer
from p2p_aios.types.views import AccountView
from p2p_aios.units import ZERO_HASH, Address, Amount, Epoch, Height, Millis
from tests.node.chain_backend import ChainBackend
from tests.node.founders import ALICE, BOB, FUNDS, PARAMS, Founders, key
from tests.rpc.serving import serving

NOW_MS = int(time.time() * 1000)
FOUNDERS = Founders(timestamp_ms=NOW_MS)
STRANGERS = Founders(timestamp_ms=NOW_MS + 1)


class Liar(ChainBackend):
    """Alters what it proves."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain)
        self.on_state: Callable[[StateProof], StateProof] = lambda proof: proof
        self.on_block: Callable[[FinalityProof], FinalityProof] = lambda proof: proof
        self.on_committee: Callable[[Committee], Committee] = lambda committee: committee
        self.balance = 0

    async def account(self, address: Address, height: Height | None = None) -> AccountView:
        view = await super().account(address, height)
        return replace(view, balance=Amount(view.balance + self.balance))

    async def prove_state(self, key: bytes, height: Height | None) -> StateProof:
        return self.on_state(await super().prove_state(key, height))

    async def prove_block(self, height: Height | None) -> FinalityProof:
        return self.on_block(await super().prove_block(height))

    async def committee(
        self, epoch: Epoch | None, height: Height | None = None
    ) -> Committee | None:
        found = await super().committee(epoch, height)
        return None if found is None else self.on_committee(found)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """Into its fifth epoch."""
    async with FOUNDERS.open_chain(tmp_path / "chain") as opened:
        for _ in range(4 * PARAMS.epoch_blocks + 2):
            pay = FOUNDERS.transaction(opened, ALICE, Transfer(BOB.address, Amount(1)))
            await FOUNDERS.extend(opened, pay)
        yield opened


async def test_account_and_records_are_proven_from_genesis(chain: Chain) -> None:
    node = Liar(chain)
    node.balance = 5  # in what it says, not in what it proves
    async with (
        serving(backend=node) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        view = await client.account(BOB.address)
        assert (view.balance, view.nonce, view.height) == (FUNDS + 34, 0, 34)
        assert (await client.account(ALICE.address)).next_nonce == 34
        assert (await client.account(key("stranger").address)).balance == 0
        assert (await client.account(BOB.address, Height(9))).balance == FUNDS + 9
        standing = await client.record(CHAIN)
        assert standing is not None
        assert standing.height == 34
        validator = await client.record(VALIDATORS, FOUNDERS.validators[0].address)
        assert validator is not None
        assert await client.record(TASKS, ZERO_HASH) is None
        committee = await client.record(COMMITTEES, epoch_key(5))
        assert committee is not None
        assert committee.epoch == 5


async def test_a_checkpoint_serves_as_well_and_nothing_before_it(chain: Chain) -> None:
    committee = await ChainBackend(chain).committee(Epoch(3))
    assert committee is not None
    trusted = Trusted(FOUNDERS.chain_id, PARAMS.epoch_blocks, committee, Millis(NOW_MS))
    async with (
        serving(backend=ChainBackend(chain)) as served,  # type: ignore[arg-type]
        Client(served.url, checked=trusted) as client,
    ):
        assert (await client.account(BOB.address)).balance == FUNDS + 34
        with pytest.raises(Invalid) as caught:
            await client.account(BOB.address, Height(3))
        assert caught.value.code == "committee_unproven"


def alter_value(proof: StateProof) -> StateProof:
    assert proof.value is not None
    account = ACCOUNTS.decode(proof.value)
    return replace(proof, value=ACCOUNTS.encode(replace(account, balance=Amount(10**15))))


def alter_header(proof: StateProof) -> StateProof:
    finality = proof.finality
    forged = replace(finality.headers[0], state_root=ZERO_HASH)
    return replace(proof, finality=replace(finality, headers=(forged, *finality.headers[1:])))


def drop_signatures(proof: StateProof) -> StateProof:
    certificate = proof.finality.certificate
    fewer = replace(certificate, seats=certificate.seats[:2], signatures=certificate.signatures[:2])
    return replace(proof, finality=replace(proof.finality, certificate=fewer))


def swap_signatures(proof: StateProof) -> StateProof:
    certificate = proof.finality.certificate
    swapped = replace(certificate, signatures=tuple(reversed(certificate.signatures)))
    return replace(proof, finality=replace(proof.finality, certificate=swapped))


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda proof: replace(proof, key=ACCOUNTS.prefix + ALICE.address), "proof_off_topic"),
        (lambda proof: replace(proof, value=None), "proof_value_differs"),
        (alter_value, "proof_value_differs"),
        (lambda proof: replace(proof, nodes=proof.nodes[:-1]), "proof_incomplete"),
        (lambda proof: replace(proof, nodes=proof.nodes[1:]), "proof_root_mismatch"),
        (alter_header, "proof_uncertified"),
        (drop_signatures, "certificate_quorum"),
        (swap_signatures, "certificate_signature"),
    ],
)
async def test_no_altered_proof_passes(
    chain: Chain, lie: Callable[[StateProof], StateProof], code: str
) -> None:
    node = Liar(chain)
    async with (
        serving(backend=node) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        node.on_state = lie
        with pytest.raises(Invalid) as caught:
            await client.account(BOB.address)
        assert caught.value.code == code
        # A node that lied once is asked again, and believed where it proves what it says.
        node.on_state = lambda proof: proof
        assert (await client.account(BOB.address)).balance == FUNDS + 34


def weigh_more(committee: Committee) -> Committee:
    first, *others = committee.members
    return replace(committee, members=(replace(first, weight=10**6), *others))


@pytest.mark.parametrize(
    ("part", "lie", "code"),
    [
        ("on_committee", weigh_more, "committee_unproven"),
        ("on_committee", lambda each: replace(each, seed=b"\x05" * 32), "committee_unproven"),
        ("on_committee", lambda each: replace(each, epoch=Epoch(9)), "committee_unproven"),
        ("on_block", lambda proof: replace(proof, headers=proof.headers * 2), "proof_unlinked"),
    ],
)
async def test_no_altered_committee_passes(
    chain: Chain, part: str, lie: Callable[[Any], Any], code: str
) -> None:
    node = Liar(chain)
    setattr(node, part, lie)
    async with (
        serving(backend=node) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        with pytest.raises(Invalid) as caught:
            await client.account(BOB.address)
        assert caught.value.code == code


async def test_answers_that_overtake_each_other_are_not_stale(chain: Chain) -> None:
    """The first answer to be asked for is the last to arrive."""
    node = Liar(chain)
    overtaken = trio.Event()
    asked = trio.Event()
    prove = node.prove_state

    async def prove_late(key: bytes, height: Height | None) -> StateProof:
        proof = await prove(key, height)
        if not asked.is_set():
            asked.set()
            await overtaken.wait()
        return proof

    async with (
        serving(backend=node) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
        trio.open_nursery() as nursery,
    ):
        await client.supply()
        node.prove_state = prove_late  # type: ignore[method-assign]

        async def read() -> None:
            assert (await client.account(BOB.address)).height == 34

        nursery.start_soon(read)
        await asked.wait()
        await FOUNDERS.extend(chain)
        assert (await client.account(BOB.address)).height == 35
        assert (await client.block()).header.height == 35
        overtaken.set()


async def test_a_proof_from_before_what_was_proven_is_stale(chain: Chain) -> None:
    node = Liar(chain)
    async with (
        serving(backend=node) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        await client.account(BOB.address)
        old = await ChainBackend(chain).prove_state(ACCOUNTS.prefix + BOB.address, Height(30))
        node.on_state = lambda _: old
        with pytest.raises(Unavailable) as caught:
            await client.account(BOB.address)
        assert caught.value.code == "answer_stale"
        with pytest.raises(Invalid) as elsewhere:
            await client.account(BOB.address, Height(31))
        assert elsewhere.value.code == "proof_off_topic"


async def test_another_chain_is_refused(chain: Chain) -> None:
    async with (
        serving(backend=ChainBackend(chain)) as served,  # type: ignore[arg-type]
        Client(served.url, checked=STRANGERS.genesis) as client,
    ):
        with pytest.raises(Invalid) as caught:
            await client.account(BOB.address)
        assert caught.value.code in ("proof_unlinked", "committee_unproven")


async def test_of_several_nodes_the_honest_one_is_believed(chain: Chain) -> None:
    liar = Liar(chain)
    liar.on_state = alter_value
    async with (
        serving(backend=liar) as false,  # type: ignore[arg-type]
        serving(backend=ChainBackend(chain)) as honest,  # type: ignore[arg-type]
        Client([false.url, honest.url], checked=FOUNDERS.genesis) as client,
    ):
        assert (await client.account(BOB.address)).balance == FUNDS + 34


async def test_nothing_is_proven_without_something_trusted(chain: Chain) -> None:
    async with (
        serving(backend=ChainBackend(chain)) as served,  # type: ignore[arg-type]
        Client(served.url) as client,
    ):
        with pytest.raises(Invalid) as caught:
            await client.record(CHAIN)
        assert caught.value.code == "nothing_trusted"
        assert (await client.prove_block()).headers[0].height == 34
    assert trust_genesis(FOUNDERS.genesis).committee.epoch == 0
