"""Ascents are counted; one built gallery is shared by the tests that only look at it."""

from __future__ import annotations

import pytest

from featvis.run import job


@pytest.fixture
def ascents(monkeypatch):
    """The targets of every job that was begun, in order."""
    begun = []
    climb = job.climb

    def counted(model, objective, space, recipe, *rest, **options):
        begun.append(recipe.steps)
        return climb(model, objective, space, recipe, *rest, **options)

    monkeypatch.setattr(job, "climb", counted)
    return begun
