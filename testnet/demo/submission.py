"""Bringing a learning task to the chain: its blobs first, then the task by `learn.submit`."""

from collections.abc import Callable
from typing import Final

from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.sdk import Client, sign_action
from p2p_aios.sdk.client import require_success
from p2p_aios.types.learning import SubmitTask, TaskId
from p2p_aios.units import Height
from testnet.layout import Layout

LIFETIME_BLOCKS: Final = 100
FINAL_S_MAX: Final = 20.0


async def submit_digits(
    layout: Layout,
    client: Client,
    task: SubmitTask,
    on_signed: Callable[[TaskId], None] = lambda _task: None,
) -> TaskId:
    """Submit the digits' task from the treasury's account; returns once it is final.

    `on_signed` learns the task's id before it is sent, so that no event of it comes too early.
    Raises the node's refusal; Unavailable(`transaction_pending`).
    """
    await client.put_blob(layout.test_shard.read_bytes())
    await client.put_blob(layout.base_model.read_bytes())
    treasury = load_keystore(layout.wallet("treasury"), None)
    chain_id, genesis = await client.chain()
    account = await client.account(treasury.address)
    expires = Height(account.height + LIFETIME_BLOCKS)
    signed = sign_action(
        treasury, chain_id, genesis.params, task, nonce=account.next_nonce, expires=expires
    )
    on_signed(TaskId(signed.id))
    await client.submit_task(signed.raw)
    require_success(await client.wait(signed.id, FINAL_S_MAX))
    return TaskId(signed.id)
