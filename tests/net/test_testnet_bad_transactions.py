"""Whatever transaction a client sends to a running testnet: it is told the code of what is wrong,
and nobody's balance or chain feels it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import httpx
import pytest

from p2p_aios.codec import cbor, schema
from p2p_aios.crypto.keys import ORDER, KeyPair
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import AiosError, Invalid
from p2p_aios.params import Params
from p2p_aios.sdk import Client, sign_action
from p2p_aios.types.transaction import (
    TRANSACTION_BYTES_MAX,
    Action,
    CheckedTransaction,
    Transaction,
    Transfer,
    sign_transaction,
)
from p2p_aios.units import AIOS, Amount, Hash, Height, PublicKey, Signature
from testnet.creation import Wish
from tests.net.standing_testnet import Standing, Watch, standing_testnet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STRANGER = KeyPair.from_secret(b"\x07" * 32)
"""Of whom the chain has never heard."""
AMPLE_FEE = Amount(AIOS // 100)
"""More than any transaction here costs."""


@pytest.fixture(scope="module")
def testnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    root = tmp_path_factory.mktemp("bad") / "net"
    with standing_testnet(root, Wish(nodes=4, workers=0, has_ray=False)) as standing:
        yield standing


@dataclass(frozen=True)
class Forge:
    """Makes transactions of `key` that are right in all but one thing."""

    key: KeyPair
    recipient: KeyPair
    chain_id: Hash
    params: Params
    nonce: int
    height: int
    balance: int

    def make(self, key: KeyPair | None = None, **changes: object) -> CheckedTransaction:
        """A payment of one AIOS, signed by its sender, but for `changes` to its body."""
        pay = sign_action(
            key or self.key,
            self.chain_id,
            self.params,
            self.pay(AIOS),
            nonce=self.nonce,
            expires=Height(self.height + 100),
            fee=AMPLE_FEE,
        )
        if not changes:
            return pay
        return sign_transaction(key or self.key, replace(pay.body, **changes))  # type: ignore[arg-type]

    def pay(self, amount: int) -> Action:
        return Transfer(self.recipient.address, Amount(amount))

    def resign(self, signature: Signature, **changes: object) -> bytes:
        """A payment with another signature, or with `changes` made after it was signed."""
        body = replace(self.make().body, **changes)  # type: ignore[arg-type]
        return schema.encode(Transaction(body, signature))

    @property
    def signature(self) -> Signature:
        return schema.decode(Transaction, self.make().raw).signature


async def forge_for(standing: Standing, client: Client) -> Forge:
    alice, bob = (load_keystore(standing.layout.wallet(name), None) for name in ("alice", "bob"))
    chain_id, genesis = await client.chain()
    account = await client.account(alice.address)
    return Forge(
        alice, bob, chain_id, genesis.params, account.next_nonce, account.height, account.balance
    )


def bad_forms(forge: Forge) -> dict[str, tuple[bytes, str]]:
    """Bytes that are no transaction, by what is wrong with them."""
    raw = forge.make().raw
    body, signature = cbor.decode(raw)
    assert raw[0] == 0x82, "an array of two"
    no_point = {"sender": PublicKey(b"\x02" + b"\xff" * 32)}
    high_s = (ORDER - int.from_bytes(forge.signature[32:], "big")).to_bytes(32, "big")
    return {
        "noise": (b"\xff" + os.urandom(60), "cbor_malformed"),
        "cut short": (raw[:-1], "cbor_malformed"),
        "a byte too many": (raw + b"\x00", "cbor_not_canonical"),
        "a map": (b"\xa1\x00\x00", "cbor_malformed"),
        "tagged": (b"\xc2\x41\x00", "cbor_malformed"),
        "a float": (cbor.encode([body, signature, 0])[:-1] + b"\xf9\x7e\x00", "schema_mismatch"),
        "nested without end": (b"\x81" * 5_000, "cbor_malformed"),
        "another shape": (cbor.encode([signature, body]), "schema_mismatch"),
        "an unknown action": (cbor.encode([[*body[:-1], [99]], signature]), "schema_mismatch"),
        "a negative nonce": (
            cbor.encode([[*body[:2], -1, *body[3:]], signature]),
            "schema_mismatch",
        ),
        "longer than needed": (b"\x98\x02" + raw[1:], "cbor_not_canonical"),
        "another chain's": (forge.make(chain_id=Hash(b"\x01" * 32)).raw, "wrong_chain"),
        "another's signature": (
            forge.resign(STRANGER.sign_digest(forge.make().id)),
            "signature_invalid",
        ),
        "no signature": (forge.resign(Signature(bytes(64))), "signature_invalid"),
        "high s": (forge.resign(Signature(forge.signature[:32] + high_s)), "signature_high_s"),
        "changed afterwards": (
            forge.resign(forge.signature, action=forge.pay(2 * AIOS)),
            "signature_invalid",
        ),
        "a key that is no point": (forge.resign(forge.signature, **no_point), "signature_invalid"),
    }


def bad_terms(forge: Forge) -> dict[str, tuple[bytes, str]]:
    """Sound transactions that the state does not take, by what is wrong with them."""
    return {
        "replayed nonce": (forge.make(nonce=forge.nonce - 1).raw, "nonce_too_low"),
        "far nonce": (forge.make(nonce=forge.nonce + 65).raw, "nonce_too_far"),
        "no fee": (forge.make(fee=Amount(0)).raw, "fee_too_low"),
        "more than there is": (
            forge.make(action=forge.pay(forge.balance)).raw,
            "funds_insufficient",
        ),
        "more than there can be": (
            forge.make(action=forge.pay(2**63 - 1)).raw,
            "funds_insufficient",
        ),
        "fee above everything": (
            forge.make(fee=Amount(forge.balance + 1)).raw,
            "funds_insufficient",
        ),
        "an empty account's": (forge.make(STRANGER, nonce=0).raw, "funds_insufficient"),
        "expired": (forge.make(expires=Height(1)).raw, "expired"),
        "valid for ever": (forge.make(expires=Height(10**9)).raw, "expires_too_far"),
    }


async def test_each_is_refused_with_its_code_and_costs_nobody_anything(testnet: Standing) -> None:
    async with testnet.client() as client:
        forge = await forge_for(testnet, client)
        # So that there is a nonce to replay.
        await client.send_and_wait(forge.key, forge.pay(AIOS))
        forge = await forge_for(testnet, client)
        parties = forge.key.address, forge.recipient.address, STRANGER.address
        before = await testnet.accounts(*parties)
        bad = bad_forms(forge) | bad_terms(forge)
        expected = {name: code for name, (_, code) in bad.items()}
        async with Watch(testnet):
            for number in range(len(testnet.plan.nodes)):
                async with testnet.client(number) as each:
                    results = await each.submit_all([raw for raw, _ in bad.values()])
                found = {name: told(each) for name, each in zip(bad, results, strict=True)}
                assert found == expected
    for number in range(len(testnet.plan.nodes)):
        after = await testnet.accounts(*parties, node=number)
        assert [(a.balance, a.nonce, a.next_nonce) for a in after] == [
            (b.balance, b.nonce, b.next_nonce) for b in before
        ]


def told(result: Hash | AiosError) -> str:
    """The code the sender was told; each comes with a sentence."""
    if not isinstance(result, AiosError):
        return "taken"
    assert len(result.message) > 10
    return result.code


async def test_what_was_final_is_never_applied_again(testnet: Standing) -> None:
    async with testnet.client() as client, testnet.client(2) as other, Watch(testnet):
        forge = await forge_for(testnet, client)
        pay = forge.make()
        await client.wait(await client.submit(pay.raw))
        (before,) = await testnet.accounts(forge.recipient.address)
        for node in (client, other):
            # The same bytes are the same payment: their sender learns what became of it.
            status = await node.wait(await node.submit(pay.raw))
            assert (status.id, status.receipt and status.receipt.code) == (pay.id, "ok")
            with pytest.raises(Invalid, match="nonce"):
                await node.submit(forge.make(fee=Amount(pay.body.fee + 1)).raw)
        await client.send_and_wait(forge.key, forge.pay(2 * AIOS))
        (after,) = await testnet.accounts(forge.recipient.address)
        assert after.balance - before.balance == 2 * AIOS, "nothing but this one"


async def test_what_is_too_large_is_refused_before_it_is_read(testnet: Standing) -> None:
    async with testnet.client() as client, Watch(testnet):
        with pytest.raises(Invalid, match="params_invalid"):
            await client.submit(bytes(TRANSACTION_BYTES_MAX + 1))
        with pytest.raises(Invalid, match="body_too_large"):
            await client.submit(bytes(2 << 20))
        with pytest.raises(Invalid, match="body_too_large"):
            await client.put_blob(bytes((64 << 20) + 1))
        url = testnet.plan.nodes[0].url
        async with httpx.AsyncClient() as http:
            call = {"jsonrpc": "2.0", "id": 1, "method": "tx.submit", "params": {"raw": "00"}}
            refused = await http.post(url, json=[call] * 101)
            assert refused.json()["error"]["data"]["code"] == "batch_too_large"


async def test_two_that_exclude_each_other_end_with_one(testnet: Standing) -> None:
    """The same nonce through two nodes at once: one is final, everywhere, and paid once."""
    async with testnet.client(0) as left, testnet.client(3) as right, Watch(testnet):
        forge = await forge_for(testnet, left)
        (before,) = await testnet.accounts(forge.recipient.address)
        first, second = forge.make(), forge.make(action=forge.pay(3 * AIOS))
        await left.submit(first.raw)
        await right.submit(second.raw)
        await left.send_and_wait(forge.key, forge.pay(AIOS))
        (after,) = await testnet.accounts(forge.recipient.address)
        assert after.balance - before.balance in (2 * AIOS, 4 * AIOS)
