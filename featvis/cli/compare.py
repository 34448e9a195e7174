"""``featvis compare``: two recipes on the same units and seeds, or two folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featvis.cli.checks import check_at_least, check_views
from featvis.cli.fields import choose_recipe
from featvis.cli.network import Network, judges_of
from featvis.cli.options import (
    JsonOrFile,
    Judges,
    JudgeWeights,
    OutOrNothing,
    Photographs,
    Seeds,
    Set,
    Size,
    StepsOfTwo,
    Views,
)
from featvis.cli.output import STDOUT, note, print_json, write_json
from featvis.errors import RecipeError, UserError, count_of


def compare(
    recipe_a: str,
    recipe_b: str,
    targets: list[str] | None = None,
    judge: Judges = None,
    judge_weights: JudgeWeights = None,
    views: Views = None,
    examples: Photographs = None,
    classes: Path | None = None,
    seeds: Seeds = 1,
    steps: StepsOfTwo = None,
    size: Size = None,
    settings: Set = None,
    out: OutOrNothing = None,
    as_json: JsonOrFile = None,
    *,
    network: Network,
) -> int:
    """Compare two recipes, or two folders. Prints each measure's difference with its 95 % interval.

    By two recipes the same units are rendered; what is set by --steps, --size and --set is set in both.
    Of two folders pictures of the same classes are compared, whoever made them. One wins that is better by
    some yardstick and worse by none.

    Example: featvis compare portrait channel --targets classifier:0:1000:50
    Example: featvis compare gallery/mine published/ --classes published.csv --judge squeezenet1_1

    Args:
        recipe_a: A recipe's name or TOML file, or a folder of pictures.
        recipe_b: The other recipe's name or TOML file, or the other folder.
        --targets -t: Addresses of units: classifier:0:1000:50; may be repeated. [none: two folders are given]
        --classes FILE: Which plain image is of which class: CSV, a line FILE,CLASS for each.
            [the number in its name, or the folder that it lies in]
    """
    check_views(views)
    if examples is not None and not examples.is_dir():
        raise UserError(f"no folder of photographs {str(examples)!r}")
    folders = [Path(name).is_dir() for name in (recipe_a, recipe_b)]
    if any(folders):
        if not all(folders):
            other = recipe_b if folders[0] else recipe_a
            raise UserError(f"one is a folder and {other!r} is none; name two folders, or two recipes")
        given = {"--targets": targets, "--steps": steps, "--size": size, "--set": settings, "--out": out}
        if told := [option for option, value in given.items() if value]:
            raise RecipeError(f"{told[0]} is about recipes, and two folders are given")
        comparison = _of_folders(recipe_a, recipe_b, classes, judge, judge_weights, views, examples, network)
        if as_json != STDOUT:
            _print_folders(comparison)
    else:
        if not targets:
            raise RecipeError("name the units to render by --targets, for instance classifier:0:1000:50")
        if classes is not None:
            raise RecipeError("--classes is about folders of images, and two recipes are given")
        comparison = _of_recipes(
            (recipe_a, recipe_b),
            targets,
            (steps, size, settings),
            (judge, judge_weights, views, examples),
            seeds,
            out,
            network,
        )
        if as_json != STDOUT:
            count = f"{count_of(len(comparison['targets']), 'unit')}, "
            count += f"{count_of(comparison['pictures'], 'picture')} by each"
            print(f"{count}; a: {recipe_a}, b: {recipe_b}")
    if as_json == STDOUT:
        print_json(comparison)
        return 0
    _print_table(comparison)
    if as_json is not None:
        write_json(Path(as_json), comparison)
    return 0


def _of_recipes(
    names: tuple[str, str],
    targets: list[str],
    set_in_both: tuple[str | None, str | None, list[str] | None],
    asked: tuple[list[str] | None, list[str] | None, int | None, Path | None],
    seeds: int,
    out: Path | None,
    network: Network,
) -> dict[str, Any]:
    check_at_least(1, seeds=seeds)
    steps, size, settings = set_in_both
    judge, judge_weights, views, examples = asked
    counts: list[str | None] = [*steps.split(",")] if steps is not None else [None, None]
    counts = counts * 2 if len(counts) == 1 else counts
    if len(counts) != 2:
        raise RecipeError(f"--steps is one number, or one for each recipe as 64,256; got {steps!r}")
    recipes = [
        choose_recipe(name, {"steps": count, "size": size}, settings).recipe
        for name, count in zip(names, counts, strict=True)
    ]
    network.check(targets)
    panel = judges_of(judge, judge_weights, network.device)
    own = network.load()
    judges = None if panel is None else [member.load() for member in panel]
    from featvis.trust.compare import compare as measure

    return measure(
        recipes[0],
        recipes[1],
        targets,
        model=own,
        judges=judges,
        seeds=seeds,
        views=views,
        examples=examples,
        out=out,
        say=note,
    )


def _of_folders(
    a: str,
    b: str,
    classes: Path | None,
    judge: list[str] | None,
    judge_weights: list[str] | None,
    views: int | None,
    examples: Path | None,
    network: Network,
) -> dict[str, Any]:
    panel = judges_of(judge, judge_weights, network.device)
    judges = None if panel is None else [member.load() for member in panel]
    from featvis.trust.compare_folders import compare_folders

    return compare_folders(a, b, classes=classes, judges=judges, views=views, examples=examples, say=note)


def _print_folders(comparison: dict[str, Any]) -> None:
    folders, pictures, left_out = (comparison[name] for name in ("folders", "pictures", "left_out"))
    counts = " and ".join(str(pictures[side]) for side in folders)
    named = ", ".join(f"{side}: {folder}" for side, folder in folders.items())
    print(f"{comparison['classes']} classes, {counts} pictures; {named}")
    for side, count in left_out.items():
        if count:
            are = f"{count_of(count, 'picture')} of {side} {'is' if count == 1 else 'are'}"
            print(f"{are} of classes that only this folder holds: left out")


def _print_table(comparison: dict[str, Any]) -> None:
    width = max(map(len, comparison["measures"]))
    print(f"{'':{width}}  {'a':>9}  {'b':>9}  {'b - a':>9}  95 % interval")
    for name, row in comparison["measures"].items():
        if row["difference"] is None:
            continue
        interval = "" if row["interval"] is None else "{:.4g} to {:.4g}".format(*row["interval"])
        mark = f"  {row['better']} is better" if row["better"] else ""
        if not mark and row.get("usual") is not None and max(row["a"], row["b"]) <= row["usual"]:
            mark = "  both like photographs"
        print(f"{name:{width}}  {row['a']:9.4g}  {row['b']:9.4g}  {row['difference']:9.4g}  {interval}{mark}")
    ahead, wins = comparison["ahead"], comparison["wins"]
    count = len(comparison["yardsticks"])
    if comparison["too_few"]:
        print("nobody wins: fewer than six units or classes do not tell whom the next one would favour")
    elif wins:
        print(f"{wins} wins: better by {len(ahead[wins])} of {count} yardsticks, worse by none")
    elif ahead["a"] or ahead["b"]:
        print(f"neither wins: of {count} yardsticks a is better by {len(ahead['a'])}, b by {len(ahead['b'])}")
    else:
        print(f"neither wins: no difference by any of {count} yardsticks")
