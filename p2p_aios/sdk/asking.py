"""How a client asks: typed calls of the nodes it knows, or proven reads of the state.

The calls themselves stand in one module per noun. Their classes inherit from this one and make up
`Client` together, so that a program writes `client.job(id)` and need not know who holds what.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from p2p_aios.codec.url import parse_url
from p2p_aios.errors import Invalid
from p2p_aios.ledger.state import StateReader
from p2p_aios.sdk.answers import read_answer
from p2p_aios.sdk.failover import TRIES, Nodes
from p2p_aios.sdk.light import LightClient, Question, checked_anywhere
from p2p_aios.sdk.proofs import Trusted, trust_genesis
from p2p_aios.types.block import Header
from p2p_aios.types.genesis import Genesis
from p2p_aios.units import Hash, Height

T = TypeVar("T")


class Asking:
    """Base of the classes that make up `Client`."""

    def __init__(
        self,
        url: str | Sequence[str],
        token: str | None = None,
        *,
        checked: Genesis | Trusted | None = None,
        tries: int = TRIES,
    ) -> None:
        """Each node is shown the `token`, and asked `tries` times before this client gives up.

        Raises Invalid: `url_malformed`, `nodes_malformed`, and as `trust_genesis`.
        """
        self._token = token
        urls = [url] if isinstance(url, str) else url
        self._nodes = Nodes([*map(parse_url, urls)], token, tries)
        trusted = trust_genesis(checked) if isinstance(checked, Genesis) else checked
        self._light = None if trusted is None else LightClient(self, trusted)

    @property
    def trusted(self) -> Trusted | None:
        """The newest committee that was proven so far: keep it, and begin there next time."""
        return None if self._light is None else self._light.trusted

    async def request(self, method: str, result: Any, **params: Any) -> Any:
        """Call any method; `params` are JSON values, `result` is the annotation of the answer."""
        return read_answer(result, await self._nodes.call(method, params))

    async def request_all(self, questions: Sequence[Question]) -> list[Any]:
        """Call methods in one batch, all of one node; raises the first refusal."""
        calls = [(method, params) for _, method, params in questions]
        answers = await self._nodes.batch(calls, is_whole=True)
        return [
            read_answer(result, answer)
            for (result, _, _), answer in zip(questions, answers, strict=True)
        ]

    async def _ask(self, kind: type[T], method: str, **params: Any) -> T:
        answer: T = await self.request(method, kind, **params)
        return answer

    async def _list(
        self, _entry: type[T], listing: Any, method: str, **params: Any
    ) -> tuple[T, ...]:
        answer: tuple[T, ...] = await self.request(method, listing, **params)
        return answer

    async def _id(self, method: str, **params: Any) -> Hash:
        id: Hash = await self.request(method, Hash, **params)
        return id

    async def _prove(
        self, project: Callable[[StateReader], T], height: Height | None
    ) -> tuple[T, Header]:
        """`project` of a state, each of whose records is proven, and the block after which.

        Raises Invalid(`nothing_trusted`), and as `LightClient.derive`.
        """
        if self._light is None:
            raise Invalid("nothing_trusted", "open the client with checked=genesis or a committee")
        return await self._checked(self._light.derive, project, height)

    async def _checked(self, read: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """`read`, asked of the next node where one cannot prove what it says."""
        return await checked_anywhere(lambda: read(*arguments), self._nodes)
