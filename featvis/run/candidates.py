"""The best of several candidates: the one whose picture, as it is saved, scores highest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from featvis.errors import Interrupted
from featvis.models.handle import ModelHandle
from featvis.plan.wanted import Wanted
from featvis.results.picture import Picture
from featvis.run.executors.register import DEFAULT, AnyExecutor, choose_executor
from featvis.run.job import Watch

Failed = Callable[[Wanted, str], None]


def compute(
    wanted: Sequence[Wanted],
    model: ModelHandle,
    weights: str,
    *,
    executor: AnyExecutor = DEFAULT,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    failed: Failed | None = None,
    crew: Callable[[int], None] | None = None,
) -> Generator[Picture, None, None]:
    """Let an executor compute pictures, and yield the best of each one's candidates.

    Arguments and errors as for :class:`featvis.run.executors.register.Executor`, and ``executor`` which.
    """
    chosen = choose_executor(executor)
    run: Callable[..., Iterator[Picture]] = chosen.find()
    options = dict(chosen.options) | ({"crew": crew} if "crew" in chosen.entry.options else {})
    pictures = run(wanted, model, weights, watch=watch, say=say, failed=report_once(failed), **options)
    yield from keep_best(pictures)


def keep_best(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Yield the best of each picture's candidates, once all are there; other pictures pass through.

    A picture one of whose candidates could not be computed is left out.

    Raises:
        Interrupted: at Ctrl-C, with the best of the candidates so far for each picture that lacks some.
    """
    waiting: dict[tuple[str, int], list[Picture]] = {}
    try:
        for picture in pictures:
            if picture.chosen is None:
                yield picture
                continue
            group = waiting.setdefault((picture.target, picture.seed), [])
            group.append(picture)
            if len(group) == picture.recipe["best_of"]:
                yield best(waiting.pop((picture.target, picture.seed)))
    except Interrupted as stop:
        plain = [picture for picture in stop.pictures if picture.chosen is None]
        for picture in stop.pictures:
            if picture.chosen is not None:
                waiting.setdefault((picture.target, picture.seed), []).append(picture)
        unfinished = [replace(best(group), status="stopped") for group in waiting.values()]
        raise Interrupted([*plain, *unfinished]) from None


def best(candidates: Sequence[Picture]) -> Picture:
    """Return the candidate with the highest score, of those that are pictures, with the scores of all.

    With a recipe's ``band`` it is the one nearest to the band. The scores stand in the order of the
    candidates' seeds; of equal ones the first is taken.
    """
    ordered = sorted(candidates, key=lambda picture: picture.chosen or 0)
    alive = [picture for picture in ordered if picture.is_one] or ordered
    winner = max(alive, key=_worth)
    status = "stopped" if any(picture.status == "stopped" for picture in ordered) else winner.status
    return replace(
        winner,
        status=status,
        candidates=[picture.score for picture in ordered],
        evaluations=sum(picture.evaluations for picture in ordered),
        seconds=sum(picture.seconds for picture in ordered),
    )


def _worth(candidate: Picture) -> float:
    band = candidate.recipe.get("band")
    if band is None:
        return candidate.score
    low, high = map(float, band) if isinstance(band, list) else (float(band), float(band))
    return min(candidate.score, low) - max(candidate.score - high, 0.0)


def report_once(failed: Failed | None) -> Failed | None:
    """Report a picture's failure once, however many of its candidates fail."""
    if failed is None:
        return None
    reported: set[tuple[str, int]] = set()

    def report(wanted: Wanted, reason: str) -> None:
        if (wanted.name, wanted.seed) not in reported:
            reported.add((wanted.name, wanted.seed))
            failed(wanted, reason)

    return report
