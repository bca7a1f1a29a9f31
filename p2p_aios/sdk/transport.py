"""JSON-RPC and blobs over HTTP, with the node's refusals raised as they were there."""

import json
from collections.abc import Sequence
from typing import Any, Final

import httpx

from p2p_aios.errors import AiosError, Invalid, Unavailable

ANSWER_BYTES_MAX: Final = 64 << 20
"""Largest JSON answer read."""
CONNECT_S_MAX: Final = 5
ANSWER_S_MAX: Final = 40
"""Longer than the node holds any answer back."""
GREETING_S_MAX: Final = 5
"""For the first sign of life: a port that stays mute need not be waited for as long as a call."""
CONNECTIONS_MAX: Final = 16

Call = tuple[str, dict[str, Any]]
"""Method and parameters."""


class Transport:
    """One node, over a few kept-alive connections. Used as an async context."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            # Loading the trusted authorities takes some 20 ms, for nothing where there is no TLS.
            verify=not url.startswith("http://"),
            # A proxy named in the environment has no business between a client and its node.
            trust_env=False,
        )
        self._url = url
        self._is_met = False
        """Whether the node has answered anything yet."""
        self._last_id = 0

    async def aclose(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """The `result`; raises the node's Invalid or Unavailable, or `node_unreachable`."""
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        answer = await self._post(request)
        if not isinstance(answer, dict):
            raise _malformed("an answer is an object")
        return _result(answer)

    async def batch(self, calls: Sequence[Call]) -> list[Any | AiosError]:
        """Results in the order of `calls`; a refused call's place holds its error."""
        if not calls:
            return []
        first = self._last_id + 1
        self._last_id += len(calls)
        requests = [
            {"jsonrpc": "2.0", "id": first + index, "method": method, "params": params}
            for index, (method, params) in enumerate(calls)
        ]
        answers = await self._post(requests)
        if isinstance(answers, dict):
            # The batch as a whole was refused.
            _result(answers)
        if not isinstance(answers, list) or not all(isinstance(a, dict) for a in answers):
            raise _malformed("a batch is answered by an array")
        by_id = {answer.get("id"): answer for answer in answers}
        return [_result_or_fault(by_id.get(request["id"], {})) for request in requests]

    async def put_blob(self, data: bytes) -> Any:
        """The node's BlobView in JSON."""
        status, body = await self._request("PUT", "/blob", data, {}, ANSWER_BYTES_MAX)
        answer = _parse(body)
        return answer if status == 200 else _result(answer)

    async def get_blob(self, cid: str, bytes_max: int) -> bytes:
        """Raises Invalid(`blob_too_large`) for one beyond `bytes_max`."""
        status, body = await self._request("GET", f"/blob/{cid}", None, {}, bytes_max)
        if status != 200:
            _result(_parse(body))
            raise _malformed(f"HTTP {status}")
        return body

    async def _post(self, request: Any) -> Any:
        body = json.dumps(request, separators=(",", ":")).encode("ascii")
        headers = {"content-type": "application/json"}
        _, answer = await self._request("POST", "/", body, headers, ANSWER_BYTES_MAX)
        return _parse(answer)

    async def _request(
        self, verb: str, path: str, body: bytes | None, headers: dict[str, str], bytes_max: int
    ) -> tuple[int, bytes]:
        try:
            if not self._is_met:
                async with self._http.stream("HEAD", "/", timeout=GREETING_S_MAX):
                    self._is_met = True
            stream = self._http.stream(verb, path, content=body, headers=headers)
            async with stream as response:
                data = bytearray()
                async for piece in response.aiter_raw():
                    data += piece
                    if len(data) > bytes_max:
                        raise Invalid("answer_too_large", f"more than {bytes_max} bytes arrived")
                return response.status_code, bytes(data)
        except httpx.TransportError as error:
            raise Unavailable(
                "node_unreachable",
                f"no answer from {self._url} ({_reason(error)}); is the node running?",
            ) from None


def fault_of(error: Any) -> AiosError:
    """The exception that the node raised, from a response's `error` member."""
    try:
        data = dict(error["data"])
        kind = {"invalid": Invalid, "unavailable": Unavailable}[data.pop("kind")]
        return kind(str(data.pop("code")), str(error["message"]), **data)
    except (KeyError, TypeError, ValueError):
        return _malformed(f"error {str(error)[:200]}")


def _result(answer: dict[str, Any]) -> Any:
    result = _result_or_fault(answer)
    if isinstance(result, AiosError):
        raise result
    return result


def _result_or_fault(answer: dict[str, Any]) -> Any | AiosError:
    if "error" in answer:
        return fault_of(answer["error"])
    if "result" not in answer:
        return _malformed("neither a result nor an error")
    return answer["result"]


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _malformed(f"not JSON: {body[:80]!r}") from None


def _malformed(why: str) -> Unavailable:
    return Unavailable("answer_malformed", f"the node answered what no AIOS node would: {why}")


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ReadTimeout):
        return "something listens there, but says nothing"
    return str(error) or type(error).__name__
