"""A testnet of harmless real children, for tests of what supervises them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testnet.control import take_down
from testnet.layout import Layout, NodePlan, Plan, layout_at, write_plan
from testnet.ports import choose_ports

SUPERVISOR = Path(__file__).parent / "sleepers.py"
"""A supervisor like `python -m testnet`, of children that only sleep."""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder with a plan whose two nodes are harmless sleepers."""
    layout = layout_at(tmp_path / "net")
    ports = choose_ports(4)
    nodes = tuple(NodePlan(f"node-{i}", ports[2 * i], ports[2 * i + 1]) for i in range(2))
    write_plan(layout, Plan(tmp_path.name.encode().hex()[-16:], "fast", nodes, (), None))
    return layout


@pytest.fixture
async def going_down(layout: Layout) -> AsyncIterator[Layout]:
    """The same, taken down after the test whatever happened."""
    yield layout
    await take_down(layout)
