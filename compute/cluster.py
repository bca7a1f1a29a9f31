"""What a gateway asks of its Ray cluster: blocking calls run in threads, waits are bounded."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from compute.environment import ACTOR_PREFIX, NAMESPACE, actor_name
from compute.panel import PanelActor
from p2p_aios.codec import schema
from p2p_aios.codec.cbor import MESSAGE_BYTES_MAX
from p2p_aios.codec.cid import format_cid, matches
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.types.gateway import (
    FRAME_BYTES_MAX,
    AgentCall,
    AgentReply,
    AgentRequest,
    Contributor,
    Contributors,
    Describe,
    Done,
    Failure,
    Judged,
    JudgeRound,
    ListContributors,
    Ping,
    Request,
    Result,
    RevealRound,
    RunJob,
    Signed,
    StoreBlob,
    TrainRound,
    error_of,
)
from p2p_aios.units import Address, Cid

BLOBS_BYTES_MAX: Final = 512 << 20
"""Most blob bytes kept in the object store for this gateway; the least used go first."""
DESCRIBE_SECONDS_MAX: Final = 3.0
JUDGEMENTS_AT_ONCE: Final = 2
NODES_SECONDS_MAX: Final = 5.0


class Cluster:
    """A connected Ray driver; lives in one asyncio loop."""

    def __init__(self) -> None:
        self._node_id: str = ray.get_runtime_context().get_node_id()
        self._blobs: OrderedDict[Cid, tuple[Any, int]] = OrderedDict()
        self._actors: dict[str, Any] = {}
        here = NodeAffinitySchedulingStrategy(self._node_id, soft=False)
        self._panel = (
            ray.remote(PanelActor)
            .options(
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=JUDGEMENTS_AT_ONCE,
                scheduling_strategy=here,
            )
            .remote()
        )
        self._panel.warm_up.remote()

    async def handle(self, request: Request, timeout_s: float) -> Result:
        """Answer one request within about `timeout_s`.

        Raises Unavailable: `compute_timeout`, `worker_gone`, `blob_missing`, `agent_gone`; and
        whatever the agent or the judgement answers.
        """
        match request:
            case Ping():
                return Done()
            case StoreBlob(cid, data):
                return await self._store(cid, data)
            case ListContributors():
                return await self._contributors()
            case TrainRound():
                return await self._ask_worker(request.worker, request, (request.base,), timeout_s)
            case RevealRound():
                return await self._ask_worker(request.worker, request, (), timeout_s)
            case RunJob():
                return await self._ask_worker(request.worker, request, request.inputs, timeout_s)
            case JudgeRound():
                return await self._judge(request, timeout_s)

    async def is_connected(self) -> bool:
        """Whether the cluster still counts the node that this driver joined through."""
        try:
            nodes = await asyncio.wait_for(asyncio.to_thread(ray.nodes), NODES_SECONDS_MAX)
        except (TimeoutError, ray.exceptions.RayError, RuntimeError):
            return False
        return any(node["NodeID"] == self._node_id and node["Alive"] for node in nodes)

    async def _store(self, cid: Cid, data: bytes) -> Done:
        if not await asyncio.to_thread(matches, cid, data):
            raise Invalid("blob_mismatch", f"the bytes given for {format_cid(cid)} are others")
        if cid not in self._blobs:
            self._blobs[cid] = (await asyncio.to_thread(ray.put, data), len(data))
        kept = sum(size for _, size in self._blobs.values())
        while kept > BLOBS_BYTES_MAX and len(self._blobs) > 1:
            _, (_, size) = self._blobs.popitem(last=False)
            kept -= size
        return Done()

    def _refs(self, cids: Sequence[Cid]) -> list[Any]:
        missing = [cid for cid in cids if cid not in self._blobs]
        if missing:
            raise Unavailable("blob_missing", f"store {format_cid(missing[0])} again, then ask")
        for cid in cids:
            self._blobs.move_to_end(cid)
        return [self._blobs[cid][0] for cid in cids]

    async def _contributors(self) -> Contributors:
        names = await asyncio.to_thread(list_named_actors)
        found = await asyncio.gather(
            *(
                self._describe(name.removeprefix(ACTOR_PREFIX))
                for name in sorted(names)
                if name.startswith(ACTOR_PREFIX)
            )
        )
        return Contributors(tuple(member for member in found if member is not None))

    async def _describe(self, contributor: str) -> Contributor | None:
        try:
            member, _ = await self._call(contributor, Describe(), (), DESCRIBE_SECONDS_MAX)
        except AiosError:
            return None
        is_it = isinstance(member, Contributor) and format_address(member.address) == contributor
        return member if isinstance(member, Contributor) and is_it else None

    async def _ask_worker(
        self, worker: Address, request: AgentRequest, inputs: Sequence[Cid], timeout_s: float
    ) -> Signed:
        reply, output = await self._call(format_address(worker), request, inputs, timeout_s)
        if not isinstance(reply, Signed):
            raise Unavailable("worker_gone", "the contributor's agent answered something else")
        return replace(reply, output=output)

    async def _call(
        self, contributor: str, request: AgentRequest, inputs: Sequence[Cid], timeout_s: float
    ) -> tuple[Contributor | Signed, bytes]:
        header = schema.encode(AgentCall(len(inputs), request))
        refs = self._refs(inputs)
        try:
            actor = await self._actor(contributor)
            call = actor.call.remote(timeout_s, header, *refs)
            data, output = await asyncio.wait_for(_result(call), timeout_s)
        except TimeoutError:
            raise Unavailable(
                "compute_timeout", f"{contributor} did not answer in {timeout_s:.1f} s"
            ) from None
        except (ray.exceptions.RayError, ValueError) as error:
            # ValueError is ray's way to say that no actor has this name.
            self._actors.pop(contributor, None)
            raise Unavailable(
                "worker_gone", f"{contributor} is not in this cluster: {type(error).__name__}"
            ) from None
        reply = schema.decode_as(AgentReply, data, MESSAGE_BYTES_MAX)
        if isinstance(reply, Failure):
            raise error_of(reply)
        return reply, output

    async def _actor(self, contributor: str) -> Any:
        if contributor not in self._actors:
            find = partial(ray.get_actor, actor_name(contributor), namespace=NAMESPACE)
            self._actors[contributor] = await asyncio.to_thread(find)
        return self._actors[contributor]

    async def _judge(self, request: JudgeRound, timeout_s: float) -> Judged:
        served = [cid for cid in request.updates if cid is not None]
        refs = self._refs((request.base, request.task.test_shard, *served))
        try:
            call = self._panel.judge.remote(schema.encode(request), *refs)
            name, data = await asyncio.wait_for(_result(call), timeout_s)
        except TimeoutError:
            raise Unavailable("compute_timeout", f"no judgement in {timeout_s:.1f} s") from None
        except ray.exceptions.RayError as error:
            raise Unavailable(
                "panel_gone", f"the judging process died: {type(error).__name__}"
            ) from None
        if name == Failure.__name__:
            raise error_of(schema.decode(Failure, data))
        return schema.decode(Judged, data, FRAME_BYTES_MAX)


async def _result(ref: Any) -> Any:
    return await ref
