"""evaluate: everything that can be said of a folder's pictures, and a verdict for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from featvis.errors import OutputError, RecipeError, count_of
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.notebook import table
from featvis.results.mirror import takes_addresses
from featvis.results.picture import load_picture
from featvis.results.pictures import sheet_html
from featvis.trust.agreement import agreement, diversity
from featvis.trust.controls import is_untrained, permute_labels
from featvis.trust.evidence import Evidence, Judgement
from featvis.trust.judging import classes_and_pools, likeness
from featvis.trust.known import known_judge, known_looks
from featvis.trust.naturalness import (
    PHOTOGRAPHS,
    is_unlike,
    measure_appearance,
    naturalness,
    outside,
    range_of,
)
from featvis.trust.own_network import groups_of, measure_own, measure_random_weights, responses_of
from featvis.trust.panel import of_its_kind, own_network, panel_of
from featvis.trust.photographs import (
    compare_with_photographs,
    measure_choice,
    measure_paths,
    search_photographs,
)
from featvis.trust.record import rounded, write_verdicts
from featvis.trust.references import PhotographSample, read_photographs
from featvis.trust.response import band_of_class
from featvis.trust.sets import beside_norms, distributions_of, looks_of, norms_of, stand_all
from featvis.trust.subjects import Subject, read_contents, read_folder
from featvis.trust.transfer import class_of, classes_of, recognitions, summarize
from featvis.trust.verdicts import verdicts_of
from featvis.trust.views import PLAIN, views_of
from featvis.trust.views import logits as logits_of
from featvis.version import __version__

Told = dict[str, Any]


class Evaluation(Told):
    """What :func:`evaluate` found, as plain data; notebooks show it as a sheet of the pictures."""

    def __init__(self, told: Told, folder: Path) -> None:
        super().__init__(told)
        self.folder = folder

    def __repr__(self) -> str:
        return f"Evaluation({self._summary()})"

    def _summary(self) -> str:
        count = len(self["pictures"])
        judges = ", ".join(self["judges"]) or "no judge"
        pictures = "1 picture" if count == 1 else f"{count} pictures"
        return f"{pictures} of {self['model']} in {self.folder}, seen by {judges}"

    def _repr_html_(self) -> str:
        shown = []
        for told in self["pictures"]:
            with suppress(OutputError):
                picture = load_picture(self.folder / str(told.get("file")))
                shown.append(replace(picture, verdicts=told["verdicts"]))
        counted = table(("verdict", "pictures"), list(self["verdicts"].items()))
        return f"<div>{sheet_html(shown, self._summary())}{counted}</div>"


@with_gradients
@takes_addresses("folder", writes=True)
def evaluate(
    folder: str | Path,
    *,
    judges: Sequence[str | ModelHandle] | None = None,
    model: ModelHandle | str | None = None,
    examples: str | Path | None = None,
    batch: int = 8,
    views: int | None = None,
    write: bool = True,
    unbounded: bool = False,
    say: Callable[[str], None] | None = None,
) -> Evaluation:
    """Measure how far a folder's pictures are to be believed, on the PNGs as they lie there.

    Args:
        folder: what ``featvis render`` or ``featvis gallery build`` wrote.
        judges: networks that were not climbed, by name or handle; by default the embedded ones that are
            installed, but for the folder's own. An empty list asks none.
        model: the folder's own network, where its name alone does not give it.
        examples: a folder of photographs to compare with.
        batch: how many pictures stand together for BatchNorm statistics.
        views: how often a judge looks at each picture before it names a class, 1 or 8 (three sizes and a
            crop, each also mirrored, the softmax averaged); by default what is known to suit it: 8 for
            ``squeezenet1_1``, 1 for all others.
        write: enter the verdicts in ``manifest.json``, write ``evaluation.json``, and the pages anew if the
            folder has any.
        unbounded: whether the pictures' recipes may ask for more than is taken from a folder that somebody
            else may have made.
        say: is told how far it is, a line at a time.

    Returns:
        ``model, weights, judges`` (by name: ``transfer``, ``permuted_labels``, ``naturalness``, and
        ``photographs``, what is known of it on these), ``set`` (spectrum and tone of all pictures together:
        ``mean``, photographs' mean, the Wasserstein-1 ``distance`` of the two distributions, the ``usual``
        one of as many photographs, and what that ``says``), ``photographs`` (ranges, and of which folder),
        ``controls``, ``verdicts`` (how many pictures have which), and ``pictures``, one table for each with
        its ``verdicts``. A dict, which notebooks show.

    Raises:
        UserError: no pictures there, a network that does not load or is another one, a judge that was
            climbed itself, or the folder cannot be written.

    >>> import tempfile, featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = fv.render(model, "1:0", size=16, steps=4, lanes=1, out=folder)
    ...     evaluation = fv.evaluate(folder, model=model, judges=[])
    >>> sorted(evaluation["pictures"][0]["selectivity"])
    ['rank', 'rank_beside_photographs', 'units', 'z']
    """
    place = Path(folder)
    if batch < 1:
        raise RecipeError(f"batch is at least 1, got {batch}")
    say = say or (lambda line: None)
    manifest = read_folder(place)
    own = own_network(place, manifest, model)
    panel = of_its_kind(panel_of(judges, own), own, say)
    contents = read_contents(place, manifest, own.channels, unbounded=unbounded)
    subjects = contents.subjects
    evidence = [Evidence(subject.entry, subject.genuine) for subject in subjects]
    photographs = None
    if examples is not None:
        say(f"reading photographs of {examples}")
        photographs = read_photographs(Path(examples), own)
    ranges = dict(PHOTOGRAPHS)
    if photographs is not None:
        ranges = range_of([measure_appearance(image) for image in photographs.images])
    seen = None if photographs is None else photographs.images
    judged: dict[str, Told] = {}
    pooled: list[dict[str, Tensor]] = []
    for judge in panel if subjects else ():
        # Modules of one class have one name.
        name = judge.name if judge.name not in judged else f"{judge.name} ({len(judged) + 1})"
        judged[name], features = _ask(judge, name, subjects, evidence, seen, batch, views, say)
        pooled.append(features)
    for subject, one in zip(subjects, evidence, strict=True):
        one.appearance = measure_appearance(subject.image)
        one.outside = outside(one.appearance, ranges)
        one.unlike = is_unlike(one.appearance, ranges, min(one.batchnorm_alone.values(), default=None))
    distributions = known_looks() if seen is None else distributions_of(list(seen))
    standings = {}
    if not own.signal and own.frames is None:
        standings = stand_all(looks_of([subject.image for subject in subjects]), distributions)
    if pooled and len(subjects) > 1:
        _measure_likeness(subjects, evidence, pooled[0], panel[0], photographs, own)
    controls = _measure_own(subjects, evidence, own, photographs, say)
    evidence += [Evidence(entry, dead=True) for entry in contents.dead]
    verdicts = [verdicts_of(one) for one in evidence]
    counts = Counter(verdict.counted for said in verdicts for verdict in said)
    told = {
        "featvis": __version__,
        "model": own.name,
        "weights": manifest.get("weights"),
        "judges": judged,
        "set": {name: one.to_json() for name, one in standings.items()},
        "photographs": {
            "folder": None if photographs is None else photographs.folder.resolve().name,
            "images": None if photographs is None else len(photographs.names),
            "ranges": {name: list(pair) for name, pair in ranges.items()},
        },
        "controls": controls,
        "verdicts": dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        "missing": len(contents.missing),
        "pictures": [
            {**one.to_json(), "verdicts": [verdict.text for verdict in said]}
            for one, said in zip(evidence, verdicts, strict=True)
        ],
    }
    evaluation = Evaluation(rounded(told), place)
    if write:
        write_verdicts(place, evaluation)
    return evaluation


def _ask(
    judge: ModelHandle,
    name: str,
    subjects: Sequence[Subject],
    evidence: Sequence[Evidence],
    photographs: Tensor | None,
    batch: int,
    views: int | None,
    say: Callable[[str], None],
) -> tuple[Told, dict[str, Tensor]]:
    """Let a judge look at every picture; return its summary, and its features of each."""
    say(f"asking {name} of {count_of(len(subjects), 'picture')}")
    images = [subject.image for subject in subjects]
    classes = [class_of(subject.label, judge) if subject.sign > 0 else None for subject in subjects]
    known = [place for place, number in enumerate(classes) if number is not None]
    labels = [number for number in classes if number is not None]
    logits, features = classes_and_pools(images, judge)
    looks = views_of(judge, views)
    if known and looks != PLAIN:
        said_of = logits_of([images[place] for place in known], judge, looks)
    else:
        said_of = logits[known]
    recognized = recognitions(said_of, labels) if known else []
    for place, recognition in zip(known, recognized, strict=True):
        said, band = classes_of(judge)[recognition.said], band_of_class(recognition.logit, judge.name)
        evidence[place].judgements[name] = Judgement(recognition, said, band)
    summary: Told = {
        "input_size": list(judge.input_size),
        "views": looks,
        "transfer": summarize(recognized),
        "photographs": _known_of(judge, looks),
    }
    if len(set(labels)) > 1:
        summary["permuted_labels"] = summarize(recognitions(said_of, permute_labels(labels)))
    statistics = naturalness(images, judge, batch)
    summary["naturalness"] = None
    if statistics is not None:
        beside = beside_norms(statistics, norms_of(judge, photographs, batch))
        summary["naturalness"] = {**statistics.to_json(), "photographs": beside}
        for one, alone in zip(evidence, statistics.alone, strict=True):
            one.batchnorm_alone[name] = alone
    return summary, features


def _known_of(judge: ModelHandle, views: int) -> Told | None:
    """Return how well a judge names photographs, where that is known: what pictures may reach."""
    known = known_judge(judge)
    if known is None or known.views != views:
        return None
    return {"top1": known.first, "probability": known.probability, "pictures": known.photographs}


def _measure_likeness(
    subjects: Sequence[Subject],
    evidence: Sequence[Evidence],
    pooled: dict[str, Tensor],
    judge: ModelHandle,
    photographs: PhotographSample | None,
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
        for target, unit_agreement in agreement(alike, targets).items():
            mine = [row for row, name in enumerate(targets) if name == target]
            scores = [float(subjects[plain[row]].entry.get("score") or 0) for row in mine]
            spread = diversity(alike[mine][:, mine], scores)
            for row in mine:
                evidence[plain[row]].agreement = unit_agreement
                evidence[plain[row]].diversity = spread
    if photographs is not None:
        measure_choice(groups_of(subjects), subjects, evidence, pooled, judge, own, photographs)


def _measure_own(
    subjects: Sequence[Subject],
    evidence: Sequence[Evidence],
    own: ModelHandle,
    photographs: PhotographSample | None,
    say: Callable[[str], None],
) -> Told:
    """Show pictures to their own network, as it is and with random weights; return the controls."""
    by_name = {subject.name: one for subject, one in zip(subjects, evidence, strict=True)}
    images = None if photographs is None else photographs.images
    untrained = is_untrained(own, list(images) if images is not None else ())
    controls: Told = {"untrained": untrained, "random_weights": []}
    groups = groups_of(subjects)
    examples = None
    if photographs is not None:
        say(f"searching the photographs of {photographs.folder}")
        examples = search_photographs(groups, own, photographs)
    for group in groups:
        pictures = count_of(len(group.members), "picture")
        say(f"{group.layer}: {pictures} in their own network, and with random weights")
        measured = measure_own(group, own, responses_of(group, own, images))
        controls["random_weights"].append(measure_random_weights(group, own, measured))
        if photographs is not None and examples is not None:
            compare_with_photographs(group, measured, examples)
            measure_paths(group, own, measured, photographs)
        for subject, response in zip(group.members, measured, strict=True):
            if subject.label and subject.sign > 0 and group.layer == own.output_layer:
                response.is_class = True
                response.band = band_of_class(response.score, own.name)
            by_name[subject.name].own = response
    for one in evidence:
        one.untrained = untrained
    return controls
