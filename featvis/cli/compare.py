"""``featvis compare``: two recipes on the same units and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featvis.cli.checks import check_at_least
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network, judges_of
from featvis.cli.options import JsonOrFile, Judges, JudgeWeights, OutOrNothing, Seeds, Set, Size, StepsOfTwo
from featvis.cli.output import STDOUT, note, print_json, write_json
from featvis.errors import count_of


def compare(
    recipe_a: str,
    recipe_b: str,
    targets: list[str],
    judge: Judges = None,
    judge_weights: JudgeWeights = None,
    seeds: Seeds = 1,
    steps: StepsOfTwo = None,
    size: Size = None,
    settings: Set = None,
    out: OutOrNothing = None,
    as_json: JsonOrFile = None,
    *,
    network: Network,
) -> int:
    """Render the same units by two recipes. Prints each measure's difference with its 95 % interval.

    What is set by --steps, --size and --set is set in both.

    Example: featvis compare portrait channel --targets classifier:0:1000:50

    Args:
        recipe_a: A recipe's name or TOML file.
        recipe_b: The other recipe's name or TOML file.
        --targets -t: Addresses of units: classifier:0:1000:50; may be repeated.
    """
    from featvis.errors import RecipeError

    check_at_least(1, seeds=seeds)
    counts: list[str | None] = [*steps.split(",")] if steps is not None else [None, None]
    counts = counts * 2 if len(counts) == 1 else counts
    if len(counts) != 2:
        raise RecipeError(f"--steps is one number, or one for each recipe as 64,256; got {steps!r}")
    recipes = [
        choose_recipe(name, {"steps": count, "size": size}, settings).recipe
        for name, count in zip((recipe_a, recipe_b), counts, strict=True)
    ]
    network.check(targets)
    panel = judges_of(judge, judge_weights, network.device)
    own = network.load()
    judges = None if panel is None else [member.load() for member in panel]
    from featvis.trust.compare import compare as measure

    comparison = measure(
        recipes[0], recipes[1], targets, model=own, judges=judges, seeds=seeds, out=out, say=note
    )
    if as_json == STDOUT:
        print_json(comparison)
        return 0
    _print_table(comparison, recipe_a, recipe_b)
    if as_json is not None:
        write_json(Path(as_json), comparison)
    return 0


def _print_table(comparison: dict[str, Any], a: str, b: str) -> None:
    units = count_of(len(comparison["targets"]), "unit")
    print(f"{units}, {count_of(comparison['pictures'], 'picture')} by each; a: {a}, b: {b}")
    width = max(map(len, comparison["measures"]))
    print(f"{'':{width}}  {'a':>9}  {'b':>9}  {'b - a':>9}  95 % interval")
    for name, row in comparison["measures"].items():
        if row["difference"] is None:
            continue
        interval = "" if row["interval"] is None else "{:.4g} to {:.4g}".format(*row["interval"])
        mark = f"  {row['better']} is better" if row["better"] else ""
        print(f"{name:{width}}  {row['a']:9.4g}  {row['b']:9.4g}  {row['difference']:9.4g}  {interval}{mark}")
