"""``featvis evaluate``: how far a folder's pictures are to be believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from featvis.cli.checks import check_at_least, check_folder
from featvis.cli.network import NetworkOfFolder, judges_of
from featvis.cli.options import AsJson, Judges, JudgeWeights, Photographs, Unbounded
from featvis.cli.output import note
from featvis.errors import OutputError, UserError


def evaluate(
    folder: Path,
    judge: Judges = None,
    judge_weights: JudgeWeights = None,
    examples: Photographs = None,
    batch: int = 8,
    unbounded: Unbounded = False,
    as_json: AsJson = False,
    *,
    network: NetworkOfFolder,
) -> int:
    """Judge the saved pictures of a folder. Writes a verdict for each into the manifest and the pages.

    Example: featvis evaluate gallery/blocks4 --judge efficientnet_lite1

    Args:
        folder: A folder of pictures, or a gallery.
        --batch: How many pictures are taken together to measure BatchNorm statistics.
    """
    check_at_least(1, batch=batch)
    check_folder(folder)
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    if examples is not None and not examples.is_dir():
        raise UserError(f"no folder of photographs {str(examples)!r}")
    panel = judges_of(judge, judge_weights, network.device)
    from featvis.models.sources.register import check_read_name
    from featvis.trust.panel import load_network_of
    from featvis.trust.subjects import read_folder

    manifest = read_folder(folder)
    if network.is_named:
        own = network.load(network.model or check_read_name(str(manifest.get("model")), folder))
    else:
        own = load_network_of(folder, manifest, network.device)
        for line in own.notes:
            note(line)
    judges = None if panel is None else [member.load() for member in panel]
    from featvis.trust.evaluation import evaluate as measure

    evaluation = measure(
        folder, judges=judges, model=own, examples=examples, batch=batch, unbounded=unbounded, say=note
    )
    if as_json:
        print(json.dumps(evaluation, indent=1))
    else:
        _print_summary(evaluation)
    return 0


def _print_summary(evaluation: dict[str, Any]) -> None:
    for name, opinion in evaluation["judges"].items():
        seen = opinion.get("transfer", {})
        if not seen.get("pictures"):
            print(f"{name} names no class that these are pictures of")
        else:
            low, high = seen["top1_interval"]
            first = f"first {seen['top1']:.1%} ({low:.1%} to {high:.1%}), among five {seen['top5']:.1%}"
            mean = f"mean probability {seen['probability']:.3f}, margin {seen['margin']:.2f}"
            print(f"{name}: {seen['pictures']} classes, {first}, {mean}")
        if permuted := opinion.get("permuted_labels"):
            print(f"  asked for other pictures' classes: first {permuted['top1']:.1%}")
        if nature := opinion.get("naturalness"):
            distances = f"D_mu {nature['shift']:.3f}, D_sigma {nature['spread']:.3f}"
            print(f"  BatchNorm statistics in batches of {nature['batch']}: {distances}")
    looks = [entry["look"] for entry in evaluation["pictures"] if "look" in entry]
    for name, (low, high) in evaluation["photographs"]["ranges"].items():
        values = [look[name] for look in looks if look[name] is not None]
        if values:
            mean, inside = sum(values) / len(values), sum(low <= value <= high for value in values)
            within = f"{inside} of {len(looks)} inside photographs' {low:.3g} to {high:.3g}"
            print(f"{name.replace('_', ' ')}: mean {mean:.3f}, {within}")
    for control in evaluation["controls"]["random_weights"]:
        if control["cascade"]:
            trained, random = control["trained"], control["cascade"][-1]["z"]
            above = f"{trained:.1f} standard deviations above noise, {random:.1f} with random weights"
            print(f"{control['layer']}: {above}")
    print("verdicts:")
    for verdict, count in evaluation["verdicts"].items():
        print(f"  {count:5d}  {verdict}")
    if evaluation["missing"]:
        print(f"{evaluation['missing']} pictures failed or are not in the folder: nothing is said of them")
