"""The field's features, what gives each here, and the test that proves it: ``python -m tests.features``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from featvis.spec.catalog import markdown_table


class Feature(BaseModel):
    """A feature that some tool of the field has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    feature: str
    by: tuple[str, ...] = ()
    """``images/pixel`` (a part), ``fv.render`` (a public name), ``Recipe.steps`` (a field of the recipe),
    ``featvis render --seed`` (a command and its option)."""
    test: str = ""
    """``tests/FILE.py::NAME``, the test that best proves what it means."""
    limit: str = ""
    """What there is of it, where that is not all."""
    reason: str = ""
    """Why it is missing, if it is."""


def load_features() -> list[Feature]:
    """Read the features in the order of their ids."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return [Feature(**row) for row in table["features"]]


def markdown() -> str:
    """Return the features as a table in Markdown."""
    rows = []
    for feature in load_features():
        by = ", ".join(f"`{name}`" for name in feature.by)
        limit = f" ({feature.limit})" if feature.limit else ""
        test = f"`{feature.test}`" if feature.test else "-"
        rows.append((feature.id, feature.feature, by + limit + feature.reason, test))
    return "\n".join(markdown_table(("id", "feature", "here", "proved by"), rows))


if __name__ == "__main__":
    print(markdown())
