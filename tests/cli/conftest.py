"""The commands load the embedded network once."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _loaded_once(embedded_once):
    """See there."""
