"""How a testnet is doing: what its supervisor knows of processes, and what its nodes say."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import trio
from rich.table import Table
from rich.text import Text

from p2p_aios.errors import AiosError
from p2p_aios.sdk import Client
from p2p_aios.types.views import NodeStatus
from testnet.layout import RAY_HEAD, Layout, Plan, read_plan
from testnet.processes import find_processes
from testnet.service import Phase
from testnet.state import EnsembleState, ServiceState, is_supervised, read_state

Clients = Mapping[str, Client]
"""Of nodes, by name."""
ANSWER_S_MAX: Final = 2.0
"""A node that takes longer is shown as silent."""
STYLES: Final = {
    Phase.RUNNING: "green",
    Phase.STARTING: "yellow",
    Phase.BACKING_OFF: "red",
    Phase.STOPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One process, and what it says if it is a node that answers."""

    service: ServiceState
    url: str | None
    """Of a node's RPC."""
    node: NodeStatus | None


@dataclass(frozen=True, slots=True)
class Overview:
    is_up: bool
    """Whether a supervisor lives."""
    is_ready: bool
    orphans: int
    """Processes that outlived their supervisor; `aios testnet down` ends them."""
    standings: tuple[Standing, ...]


@asynccontextmanager
async def open_clients(plan: Plan) -> AsyncIterator[Clients]:
    """One for each node, kept open: making one costs more than asking."""
    async with AsyncExitStack() as stack:
        yield {node.name: await stack.enter_async_context(Client(node.url)) for node in plan.nodes}


async def survey(layout: Layout) -> Overview:
    """Raises Invalid(`testnet_missing`)."""
    plan = read_plan(layout)
    is_up = is_supervised(layout)
    state = read_state(layout)
    if not is_up or state is None:
        leaders = state.leaders if state else ()
        orphans = 0 if is_up else len(find_processes(plan.id, leaders=leaders))
        return Overview(is_up, False, orphans, ())
    async with open_clients(plan) as clients:
        return await survey_of(plan, state, clients)


async def survey_of(plan: Plan, state: EnsembleState, clients: Clients) -> Overview:
    """The same, of a state at hand."""
    answers = await ask_all(clients)
    urls = {node.name: node.url for node in plan.nodes}
    standings = [Standing(s, urls.get(s.name), answers.get(s.name)) for s in state.services]
    return Overview(True, state.ready, 0, tuple(standings))


async def ask_all(clients: Clients) -> dict[str, NodeStatus | None]:
    """What each node says; None where it does not answer in ANSWER_S_MAX."""
    answers: dict[str, NodeStatus | None] = dict.fromkeys(clients)

    async def ask(name: str, client: Client) -> None:
        with trio.move_on_after(ANSWER_S_MAX), suppress(AiosError):
            answers[name] = await client.status()

    async with trio.open_nursery() as nursery:
        for name, client in clients.items():
            nursery.start_soon(ask, name, client)
    return answers


def nodes_table(standings: Sequence[Standing]) -> Table:
    table = _table("node", "process", "height", "block", "epoch", "peers", "gateway", "rpc")
    for standing in standings:
        node = standing.node
        cells = ["–"] * 5
        if node is not None:
            cells = [
                f"{node.height:,}",
                node.block.hex()[:6],
                f"{node.epoch}",
                f"{node.peers}",
                node.gateway.name.lower(),
            ]
        service = standing.service
        table.add_row(service.name, _process(service), *cells, _bare(standing.url))
    return table


def others_table(standings: Sequence[Standing]) -> Table:
    """The Ray head and the workers."""
    table = _table("compute", "process", "pid", "restarts")
    for standing in standings:
        service = standing.service
        pid = f"{service.process.pid}" if _is_running(service) and service.process else "–"
        table.add_row(service.name, _process(service), pid, f"{service.restarts}")
    return table


def overview_tables(overview: Overview) -> list[Table]:
    nodes = [standing for standing in overview.standings if standing.url is not None]
    others = [standing for standing in overview.standings if standing.url is None]
    return [nodes_table(nodes), *([others_table(others)] if others else [])]


def overview_json(overview: Overview) -> dict[str, Any]:
    """For `--json`: nodes with their height and block, workers, head."""
    nodes = [_node_json(standing) for standing in overview.standings if standing.url is not None]
    others = [
        _service_json(standing.service) for standing in overview.standings if standing.url is None
    ]
    return {
        "up": overview.is_up,
        "ready": overview.is_ready,
        "orphans": overview.orphans,
        "nodes": nodes,
        "workers": [each for each in others if each["name"] != RAY_HEAD],
        "head": next((each for each in others if each["name"] == RAY_HEAD), None),
    }


def _node_json(standing: Standing) -> dict[str, Any]:
    node = standing.node
    said = {
        "url": standing.url,
        "height": node.height if node else None,
        "block": node.block.hex() if node else None,
        "epoch": node.epoch if node else None,
        "peers": node.peers if node else None,
        "waiting": node.waiting if node else None,
        "gateway": node.gateway.name.lower() if node else None,
    }
    return _service_json(standing.service) | said


def _service_json(service: ServiceState) -> dict[str, Any]:
    pid = service.process.pid if service.process and _is_running(service) else None
    kept = {"name", "phase", "restarts", "exit_status"}
    return {name: value for name, value in asdict(service).items() if name in kept} | {"pid": pid}


def _bare(url: str | None) -> str:
    return (url or "").removeprefix("http://")


def _is_running(service: ServiceState) -> bool:
    return service.phase is Phase.RUNNING


def _process(service: ServiceState) -> Text:
    restarted = f" ({service.restarts}×)" if service.restarts else ""
    return Text(f"{service.phase}{restarted}", style=STYLES[service.phase])


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        is_number = heading in ("height", "epoch", "peers", "pid", "restarts")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    return table
