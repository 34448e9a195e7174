"""reproduce: a picture again, from what its file carries and from what it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from featvis.engine.lanes import Step
from featvis.errors import ModelError, OutputError, UserError
from featvis.models.borrow.loan import with_gradients
from featvis.models.handle import ModelHandle
from featvis.models.load import load_model
from featvis.models.photograph import Photograph
from featvis.models.sources.register import check_read_name
from featvis.objectives.base import Objective
from featvis.objectives.unit import of_target
from featvis.plan.make import digest, network_for, read_start
from featvis.plan.sets import restore_set, wanted_of
from featvis.plan.wanted import make_jobs
from featvis.results.mirror import takes_addresses
from featvis.results.picture import Picture, load_picture
from featvis.run.candidates import compute
from featvis.run.described import VECTORS, lay_out, needs_files, restore
from featvis.run.progress import report_for
from featvis.spec.bounds import cost_of, read_recipe
from featvis.spec.target import Target, parse_request, read_among, read_set


@takes_addresses("path", writes=False)
@with_gradients
def reproduce(
    path: str | Path,
    model: ModelHandle | str | None = None,
    *,
    objective: Objective | None = None,
    start: Photograph | None = None,
    made_of: Sequence[str | Path] = (),
    progress: bool | None = None,
    unbounded: bool = False,
    say: Callable[[str], None] | None = None,
) -> Picture:
    """Render a picture again from what its PNG carries: on the same machine, the same bytes.

    Args:
        path: a PNG that featvis wrote.
        model: the network; by default the one that the file names.
        objective: for a picture of a custom objective, the objective.
        start: for a picture that started from an image, that image: a file, a PIL image, or a tensor or array
            ``(C, H, W)`` in [0, 1].
        made_of: files that the picture was made of: the photograph that it shows or started from, for a style
            also the other one, for a direction its ``.safetensors``; in any order.
        progress: show how far it is; by default where somebody looks on: on a terminal, in a notebook.
        unbounded: whether its recipe may cost more, or name a file elsewhere, than is taken from a picture
            that somebody else may have made.
        say: is told what its recipe will cost, before it is paid.

    Returns:
        The picture, with the ``key`` that its file carries.

    Raises:
        OutputError: the file carries no recipe.
        ModelError: the network's weights are not the ones it was made with, or the file names a network
            (``file:``, ``hf:``) that is loaded only where its user says so by ``model``.
        RecipeError: the recipe is none of ours, or asks for too much (see ``unbounded``).
        UserError: the objective, the start image or another file is needed, or is another one, or one of
            several candidates was stopped.

    >>> import featvis as fv, tempfile, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(module, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> (picture,) = fv.render(model, "0:1", size=16, steps=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = fv.reproduce(picture.save(f"{folder}/unit.png"), model)
    >>> again.png() == picture.png()
    True
    """
    old = load_picture(path)
    recipe = read_recipe(old.recipe, Path(path), unbounded=unbounded)
    mates, name = read_set(old.target)
    among = read_among(old.target)
    if old.attempt >= recipe.attempts or (mates and mates[1] * max(1, len(among)) != recipe.lanes):
        raise OutputError(f"{path}: what it tells of its recipe is damaged (attempts or lanes)")
    handle = load_model(check_read_name(old.model, Path(path)) if model is None else model)
    weights = handle.fingerprint()
    if weights != old.weights:
        raise ModelError(
            f"{path} was made with {old.model!r}, weights {old.weights[:12]}…; these are {weights[:12]}…"
        )
    network = network_for(handle, recipe)
    files = [Path(file) for file in made_of]
    photographs = lay_out(handle, files, old.size)
    if objective is None and old.unit is None:
        objective = restore(name, photographs, [file for file in files if file.suffix in VECTORS])
    if old.unit is not None:
        position = parse_request("x:" + old.target.rpartition(":")[2]).position
        bound = of_target(Target(old.layer, old.unit, position)).bind(network)
        bound = -bound if old.variant == "negative" else bound
    elif objective is None:
        raise _unknown(Path(path), name, files)
    else:
        bound = objective.bind(network)
        if bound.describe() != name:
            raise UserError(f"{path} is a picture of {name}, not of {bound.describe()}")
    beginning = None if start is None else read_start(handle, start, recipe.size)
    if recipe.start is not None and beginning is None:
        beginning = next((one for one in photographs if recipe.start == digest(one)), None)
        if beginning is None:
            problem = f"{path} started from " + ("another image" if files else f"an image ({recipe.start})")
            typed = f"{problem}; give that with --start FILE"
            raise UserError(f"{problem}; give that image: start=, or its file in made_of=[…]", typed=typed)
    if beginning is not None and recipe.start != digest(beginning):
        raise UserError(f"{path} did not start from this image")
    wanted = replace(
        restore_set(wanted_of(bound, old.target, recipe, old.seed, beginning, mates), among, network),
        attempt=old.attempt,
        layer=old.layer,
        unit=old.unit,
        label=old.label,
        variant=old.variant,
    )
    taken = old.taken if old.status == "stopped" else None
    if taken is not None and old.candidates:
        raise UserError(f"{path} was stopped while its candidates were made; render it again")

    if say is not None:
        say(f"{path} asks for {cost_of(recipe)}")
    with report_for(progress) or nullcontext() as report:
        if report is not None:
            report.begin(1, 0, sum(job.recipe.steps for job in make_jobs([wanted])))

        def watch(step: Step) -> bool:
            if report is not None:
                report.step(step)
            return step.number + 1 == taken

        picture = next(compute([wanted], handle, weights, executor="local", watch=watch))
        if report is not None:
            report.picture(picture)
    picture.asked_key = old.asked_key
    return picture


def _unknown(path: Path, described: str, files: Sequence[Path]) -> UserError:
    """Say what is missing to reproduce a picture whose objective is not known from its description alone."""
    what = f"{path} is a picture of {described}"
    if not needs_files(described):
        typed = f"{what}, an objective of Python: fv.reproduce(…, objective=…) reproduces it"
        return UserError(f"{what}; give that objective to reproduce it", typed=typed)
    given = ", ".join(map(str, files))
    problem = (
        f"{what}, which was not made of {given}" if files else f"{what}, which was made of a file or a tensor"
    )
    file = "the photograph (or the directions)"
    return UserError(
        f"{problem}: give made_of=[…], the file of {file}; of a tensor objective=…, the objective itself",
        typed=f"{problem}: give {file} with --start FILE, all of them if several; "
        "of a tensor: fv.reproduce(…, objective=…)",
    )
