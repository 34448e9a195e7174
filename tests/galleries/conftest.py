"""Ascents are counted; one built gallery is shared by the tests that only look at it."""

from __future__ import annotations

import pytest

from featvis.run import job


@pytest.fixture
def ascents(monkeypatch):
    """The targets of every job that was begun, in order."""
    begun = []
    ascend = job.ascend

    def counted(model, objective, space, **settings):
        begun.append(settings["steps"])
        return ascend(model, objective, space, **settings)

    monkeypatch.setattr(job, "ascend", counted)
    return begun
