"""The seeded chain that the store's tests share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

GROWTH = Path(__file__).parent / "growth.py"


@pytest.fixture(scope="session")
def growth() -> ModuleType:
    """The module growth.py beside this file."""
    spec = importlib.util.spec_from_file_location("store_growth", GROWTH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
