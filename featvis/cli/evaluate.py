"""``featvis evaluate``: how far a folder's pictures are to be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featvis.cli.checks import check_at_least, check_folder, check_views
from featvis.cli.network import NetworkOfFolder, judges_of
from featvis.cli.options import AsJson, Judges, JudgeWeights, Photographs, Unbounded, Views
from featvis.cli.output import note, print_json, write_json
from featvis.errors import OutputError, UserError, count_of

AGREED = {"naming": "free names", "names": "names of the list", "choice": "one of two photographs"}
AGREED |= {scale: f"rating, {scale}" for scale in ("photograph", "whole", "harsh")}


def evaluate(
    folders: list[Path] | None = None,
    judge: Judges = None,
    judge_weights: JudgeWeights = None,
    examples: Photographs = None,
    batch: int = 8,
    views: Views = None,
    answers: list[Path] | None = None,
    key: list[Path] | None = None,
    accept: Path | None = None,
    to_mark: Path | None = None,
    unbounded: Unbounded = False,
    as_json: AsJson = False,
    *,
    network: NetworkOfFolder,
) -> int:
    """Judge the saved pictures of a folder. Writes a verdict for each into the manifest and the pages.

    With --answers it says what people saw in a quiz, and writes nothing.

    Example: featvis evaluate gallery/blocks4 --judge efficientnet_lite1
    Example: featvis evaluate gallery/quiz --answers answers/*.json

    Args:
        folders: A folder of pictures, or a gallery; with --answers the folder of the quiz, and more answers.
        --batch: How many pictures are taken together to measure BatchNorm statistics.
        --answers FILE: Answers to `featvis quiz` that people saved, or a folder of them; may be repeated.
        --key FILE: The quiz's key.json; may be repeated. [in the folder, or beside the answers]
        --accept FILE: Which free names are right: JSON, for each label a list of them, or a table of names
            with true, false or null.
        --to-mark FILE: Where to write such a table of the names that nobody marked yet.
    """
    if answers:
        _tell_answers(list(folders or ()), answers, key, accept, to_mark, as_json=as_json)
        return 0
    if key or accept is not None or to_mark is not None:
        raise UserError("--key, --accept and --to-mark are about --answers FILE")
    if folders is None or len(folders) != 1:
        raise UserError("name one folder of pictures, or what people answered to a quiz by --answers FILE")
    folder = folders[0]
    check_at_least(1, batch=batch)
    check_folder(folder)
    if not folder.is_dir():
        raise OutputError(f"no folder {str(folder)!r}")
    if examples is not None and not examples.is_dir():
        raise UserError(f"no folder of photographs {str(examples)!r}")
    check_views(views)
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
        folder,
        judges=judges,
        model=own,
        examples=examples,
        batch=batch,
        views=views,
        unbounded=unbounded,
        say=note,
    )
    if as_json:
        print_json(evaluation)
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
            if known := opinion["photographs"]:
                of = f"first {known['top1']:.1%}, mean probability {known['probability']:.2f}"
                print(f"  {known['pictures']} photographs: {of}")
        if permuted := opinion.get("permuted_labels"):
            print(f"  asked for other pictures' classes: first {permuted['top1']:.1%}")
        if nature := opinion.get("naturalness"):
            _print_norms(nature)
    _print_set(evaluation)
    for control in evaluation["controls"]["random_weights"]:
        if control["cascade"]:
            trained, random = control["trained"], control["cascade"][-1]["z"]
            above = f"{trained:.1f} standard deviations above noise, {random:.1f} with random weights"
            print(f"{control['layer']}: {above}")
    print("verdicts:")
    for verdict, count in evaluation["verdicts"].items():
        print(f"  {count_of(count, 'picture'):>13}: {verdict}")
    if evaluation["missing"]:
        missing = count_of(evaluation["missing"], "picture")
        verb, them = ("is", "it") if evaluation["missing"] == 1 else ("are", "them")
        print(f"{missing} failed or {verb} not in the folder: nothing is said of {them}")


def _print_norms(nature: dict[str, Any]) -> None:
    beside = nature["photographs"]

    def told(measure: str, words: str) -> str:
        known = beside.get(measure)
        if known is None:
            return f"{words} {nature[measure]:.3f}"
        low, high = known["quartiles"]
        return (
            f"{words} {nature[measure]:.3f} (photographs' {known['mean']:.3f}, half {low:.3f} to {high:.3f})"
        )

    batches = f"{told('shift', 'D_mu')}, {told('spread', 'D_sigma')}"
    print(f"  BatchNorm statistics in batches of {nature['batch']}: {batches}")
    print(f"  of each picture alone: {told('alone', 'D_sigma')}")


def _print_set(evaluation: dict[str, Any]) -> None:
    if not evaluation["set"]:
        return
    shown, photographs = len(evaluation["pictures"]), evaluation["photographs"]
    whose = "photographs" if photographs["folder"] is None else f"{photographs['images']} photographs"
    print(f"the set of {shown} pictures beside {whose}:")
    for name, one in evaluation["set"].items():
        means = f"mean {one['mean']:.3f}, photographs' {one['photographs']:.3f}"
        apart = f"{one['distance']:.3f} apart, as many photographs up to {one['usual']:.3f}"
        print(f"  {name.replace('_', ' '):14}  {means}; {apart}: {one['says']}")


def _tell_answers(
    places: list[Path],
    answers: list[Path],
    keys: list[Path] | None,
    accept: Path | None,
    to_mark: Path | None,
    *,
    as_json: bool,
) -> None:
    from featvis.trust.answers import evaluate_answers
    from featvis.trust.quiz import KEY

    # A shell writes `--answers answers/*.json` as one option and further arguments.
    files = [place for place in places if not place.is_dir()]
    of_folders = [place for place in places if place.is_dir() and (place / KEY).is_file()]
    if lost := [place for place in places if place.is_dir() and place not in of_folders]:
        raise OutputError(f"{lost[0]} holds no {KEY}; it is no folder of a quiz")
    given = [*(keys or ()), *of_folders]
    told = evaluate_answers([*answers, *files], given or None, accept=accept, say=note)
    if to_mark is not None:
        write_json(to_mark, told["to_mark"])
    if as_json:
        print_json(told)
    else:
        _print_answers(told)


def _print_answers(told: dict[str, Any]) -> None:
    finished = sum(rater["answers"] == rater["of"] for rater in told["raters"])
    print(f"{count_of(len(told['raters']), 'rater')}, {finished} to the end")
    for rater in told["raters"]:
        pace = "" if rater["seconds"] is None else f", {rater['seconds']:.1f} s each"
        print(f"  {rater['rater']:24}  {rater['answers']} of {rater['of']} questions{pace}")
    for title, table in (("named freely", told["naming"]), ("chosen from the list", told["names"])):
        _print_shares(title, table)
    for kind, table in told["choice"].items():
        _print_shares(f"photograph chosen, by {'pictures' if kind == 'pictures' else 'photographs'}", table)
    for published in told["published"]:
        figures = f"by pictures {published['pictures']}, by photographs {published['photographs']}"
        print(f"  {published['source']}: {published['question']}: {figures}; {published['remark']}")
    for scale, table in told["ratings"].items():
        print(f"rated 1 to 5, {scale}:")
        for name, row in _rows(table):
            interval = "" if row["interval"] is None else " ({:.2f} to {:.2f})".format(*row["interval"])
            print(f"  {name:24}  {row['mean']:.2f}{interval}, {count_of(row['pictures'], 'picture')}")
    if told["agreement"]:
        print("agreement of raters:")
    for what, row in told["agreement"].items():
        alpha = "" if row["alpha"] is None else f", Krippendorff's alpha {row['alpha']:.2f}"
        apart = row.get("mean_difference")
        how = f"{row['same']:.1%} the same" if apart is None else f"{apart:.2f} apart in the mean"
        print(f"  {AGREED.get(what, what):24}  {how}{alpha}, {count_of(row['questions'], 'question')}")
    for title, pairs in (
        ("chosen for", told["confusion"]["names"]),
        ("said of", told["confusion"]["naming"]),
    ):
        for pair in pairs[:8]:
            print(f"  {pair['said']!r} {title} {pair['label']!r}: {pair['times']}")
        if len(pairs) > 8:
            print(f"  … and {len(pairs) - 8} more in --json")
    if told["to_mark"]:
        names = sum(map(len, told["to_mark"].values()))
        print(f"{count_of(names, 'free name')} for a person to mark: --to-mark FILE, then --accept FILE")


def _rows(table: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what was measured of each folder, and of all where there are several."""
    folders = list(table["folders"].items())
    return folders if len(folders) == 1 else [*folders, ("all of them", table["all"])]


def _print_shares(title: str, table: dict[str, Any]) -> None:
    if not table:
        return
    print(f"{title}:")
    for name, row in _rows(table):
        low, high = row["interval"]
        more = f", {row['open']} to be marked" if row.get("open") else ""
        right = f"{row['right']} of {row['answers']}"
        print(f"  {name:24}  {row['share']:.1%} ({low:.1%} to {high:.1%}), {right}{more}")
