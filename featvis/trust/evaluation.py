"""evaluate: everything that can be said of a folder's pictures, and a verdict for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from featvis.errors import RecipeError
from featvis.models.handle import ModelHandle
from featvis.trust.agreement import agreement, diversity
from featvis.trust.controls import is_untrained, permute_labels
from featvis.trust.judging import glance, likeness
from featvis.trust.naturalness import PHOTOGRAPHS, is_unlike, look, naturalness, outside, range_of
from featvis.trust.own_network import groups_of, measure_own, measure_random_weights, responses_of
from featvis.trust.panel import own_network, panel_of
from featvis.trust.photographs import (
    Beside,
    compare_with_photographs,
    measure_choice,
    measure_paths,
    search_photographs,
)
from featvis.trust.record import rounded, write_verdicts
from featvis.trust.references import read_photographs
from featvis.trust.response import band_of_class
from featvis.trust.subjects import Subject, read_contents, read_folder
from featvis.trust.transfer import class_of, classes_of, recognitions, summarize
from featvis.trust.verdicts import kind_of, verdicts_of
from featvis.version import __version__

Told = dict[str, Any]


def evaluate(
    folder: str | Path,
    *,
    judges: Sequence[str | ModelHandle] | None = None,
    model: ModelHandle | str | None = None,
    examples: str | Path | None = None,
    batch: int = 8,
    write: bool = True,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure how far a folder's pictures are to be believed, on the PNGs as they lie there.

    Args:
        folder: what ``featvis render`` or ``featvis gallery build`` wrote.
        judges: networks that were not climbed, by name or handle; by default the embedded ones that are
            installed, but for the folder's own. An empty list asks none.
        model: the folder's own network, where its name alone does not give it.
        examples: a folder of photographs to compare with.
        batch: how many pictures stand together for BatchNorm statistics.
        write: enter the verdicts in ``manifest.json``, write ``evaluation.json``, and the pages anew if the
            folder has any.
        say: is told how far it is, a line at a time.

    Returns:
        ``model, weights, judges`` (by name: ``transfer``, ``permuted_labels``, ``naturalness``),
        ``photographs`` (ranges, and of which folder), ``controls``, ``verdicts`` (how many pictures have
        which), and ``pictures``, one table for each with its ``verdicts``.

    Raises:
        UserError: no pictures there, a network that does not load or is another one, a judge that was
            climbed itself, or the folder cannot be written.
    """
    place = Path(folder)
    if batch < 1:
        raise RecipeError(f"batch is at least 1, got {batch}")
    say = say or (lambda line: None)
    manifest = read_folder(place)
    own = own_network(place, manifest, model)
    panel = panel_of(judges, own)
    contents = read_contents(place, manifest, own.channels)
    subjects = contents.subjects
    tables = [_table(one) for one in subjects]
    beside = None
    if examples is not None:
        say(f"reading photographs of {examples}")
        beside = Beside(Path(examples), read_photographs(Path(examples), own))
    looks = None if beside is None else range_of([look(image) for image in beside.photographs.images])
    judged: dict[str, Told] = {}
    pooled: list[dict[str, Tensor]] = []
    for judge in panel if subjects else ():
        # Modules of one class have one name.
        name = judge.name if judge.name not in judged else f"{judge.name} ({len(judged) + 1})"
        judged[name], features = _ask(judge, name, subjects, tables, batch, say)
        pooled.append(features)
    _measure_looks(subjects, tables, looks or dict(PHOTOGRAPHS))
    if pooled and len(subjects) > 1:
        _measure_likeness(subjects, tables, pooled[0], panel[0], beside, own)
    controls = _measure_own(subjects, tables, own, beside, say)
    for table in tables:
        table["verdicts"] = verdicts_of(table)
    tables += [{**_claims(entry), "status": "dead", "verdicts": ["dead"]} for entry in contents.dead]
    told = {
        "featvis": __version__,
        "model": own.name,
        "weights": manifest.get("weights"),
        "judges": judged,
        "photographs": {
            "folder": None if beside is None else beside.folder.resolve().name,
            "images": None if beside is None else len(beside.photographs.names),
            "ranges": {name: list(pair) for name, pair in (looks or PHOTOGRAPHS).items()},
        },
        "controls": controls,
        "verdicts": _count(tables),
        "missing": len(contents.missing),
        "pictures": tables,
    }
    found: dict[str, Any] = rounded(told)
    if write:
        write_verdicts(place, found)
    return found


def _table(one: Subject) -> Told:
    return {**_claims(one.entry), "genuine": one.genuine}


def _claims(entry: dict[str, Any]) -> Told:
    names = ("file", "target", "layer", "unit", "label", "variant", "seed", "key")
    return {name: entry.get(name) for name in names}


def _ask(
    judge: ModelHandle,
    name: str,
    subjects: Sequence[Subject],
    tables: Sequence[Told],
    batch: int,
    say: Callable[[str], None],
) -> tuple[Told, dict[str, Tensor]]:
    """Let a judge look at every picture; return its summary, and its features of each."""
    say(f"asking {name} of {len(subjects)} pictures")
    images = [one.image for one in subjects]
    classes = [class_of(one.label, judge) if one.sign > 0 else None for one in subjects]
    known = [place for place, number in enumerate(classes) if number is not None]
    labels = [number for number in classes if number is not None]
    logits, features = glance(images, judge)
    found = recognitions(logits[known], labels) if known else []
    for place, one in zip(known, found, strict=True):
        tables[place].setdefault("transfer", {})[name] = {
            **one.to_json(),
            "said": classes_of(judge)[one.said],
            "band": band_of_class(one.logit, judge.name),
        }
    told: Told = {"input_size": list(judge.input_size), "transfer": summarize(found)}
    if len(set(labels)) > 1:
        told["permuted_labels"] = summarize(recognitions(logits[known], permute_labels(labels)))
    statistics = naturalness(images, judge, batch)
    told["naturalness"] = None if statistics is None else statistics.to_json()
    if statistics is not None:
        for table, alone in zip(tables, statistics.alone, strict=True):
            table.setdefault("batchnorm_alone", {})[name] = alone
    return told, features


def _measure_looks(subjects: Sequence[Subject], tables: Sequence[Told], ranges: dict[str, Any]) -> None:
    for one, table in zip(subjects, tables, strict=True):
        seen = look(one.image)
        alone = table.get("batchnorm_alone", {})
        table["look"] = seen.to_json()
        table["outside"] = outside(seen, ranges)
        table["unlike"] = is_unlike(seen, ranges, min(alone.values(), default=None))


def _measure_likeness(
    subjects: Sequence[Subject],
    tables: Sequence[Told],
    pooled: dict[str, Tensor],
    judge: ModelHandle,
    beside: Beside | None,
    own: ModelHandle,
) -> None:
    """Compare pictures with each other, and with photographs, as a judge sees them."""
    layers: dict[str, list[int]] = {}
    for place, one in enumerate(subjects):
        layers.setdefault(one.layer, []).append(place)
    for places in layers.values():
        plain = [place for place in places if subjects[place].sign > 0]
        if len(plain) < 2:
            continue
        alike = likeness({name: part[plain] for name, part in pooled.items()})
        targets = [str(subjects[place].entry["target"]) for place in plain]
        for target, found in agreement(alike, targets).items():
            mine = [row for row, name in enumerate(targets) if name == target]
            scores = [float(subjects[plain[row]].entry.get("score") or 0) for row in mine]
            spread = diversity(alike[mine][:, mine], scores)
            for row in mine:
                tables[plain[row]]["agreement"] = found.to_json()
                tables[plain[row]]["diversity"] = spread
    if beside is not None:
        measure_choice(groups_of(subjects), subjects, tables, pooled, judge, own, beside)


def _measure_own(
    subjects: Sequence[Subject],
    tables: Sequence[Told],
    own: ModelHandle,
    beside: Beside | None,
    say: Callable[[str], None],
) -> Told:
    """Show pictures to their own network, as it is and with random weights; return the controls."""
    by_name = {one.name: table for one, table in zip(subjects, tables, strict=True)}
    photographs = None if beside is None else beside.photographs.images
    untrained = is_untrained(own, list(photographs) if photographs is not None else ())
    controls: Told = {"untrained": untrained, "random_weights": []}
    groups = groups_of(subjects)
    searched = None
    if beside is not None:
        say(f"searching the photographs of {beside.folder}")
        searched = search_photographs(groups, own, beside)
    for group in groups:
        say(f"{group.layer}: {len(group.members)} pictures in their own network, and with random weights")
        said = responses_of(group, own, photographs)
        found = measure_own(group, own, said)
        controls["random_weights"].append(measure_random_weights(group, own, found))
        if beside is not None and searched is not None:
            compare_with_photographs(group, found, searched)
            measure_paths(group, own, found, beside)
        for one, told in zip(group.members, found, strict=True):
            if one.label and one.sign > 0 and group.layer == own.output_layer:
                told["band"] = band_of_class(told["score"], own.name)
            by_name[one.name].update(told)
    for table in tables:
        table["untrained"] = untrained
    return controls


def _count(tables: Sequence[Told]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for table in tables:
        for verdict in map(kind_of, table["verdicts"]):
            counts[verdict] = counts.get(verdict, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
