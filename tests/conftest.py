"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

# Shrunk failures print their own reproduction; a time limit per example would only measure how
# busy the machine is.
hypothesis.settings.register_profile("aios", deadline=None, print_blob=True, max_examples=60)
hypothesis.settings.load_profile("aios")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with outside conformance vectors: $AIOS_SHARED, else `shared` beside the checkout.

    Without one the test is skipped; but where AIOS_SHARED names a folder (as in CI), its absence
    is a failure.
    """
    named = os.environ.get("AIOS_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not (folder / "vectors").is_dir():
        if named:
            pytest.fail(f"AIOS_SHARED is {named!r}, where there is no folder 'vectors'")
        pytest.skip("no conformance vectors: set AIOS_SHARED to the folder that holds 'vectors'")
    return folder
