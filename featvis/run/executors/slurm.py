"""A Slurm cluster: a gallery's pictures in an array of jobs, each a share of what the folder lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from featvis.errors import RecipeError
from featvis.run.executors.register import executor

if TYPE_CHECKING:
    from featvis.models.handle import ModelHandle
    from featvis.plan.wanted import Wanted
    from featvis.results.picture import Picture
    from featvis.run.job import Watch


@executor("slurm", about="galleries only: an array of jobs on a Slurm cluster", galleries=True)
def slurm(
    wanted: Sequence[Wanted],
    model: ModelHandle,
    weights: str,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    failed: Callable[[Wanted, str], None] | None = None,
    workers: int | None = None,
    cluster: str = "slurm",
    detach: bool = False,
    every: float = 10.0,
) -> Iterator[Picture]:
    """Refuse: jobs on other machines need a config and a folder, which :func:`featvis.build_gallery` has.

    Its options are read by :mod:`featvis.galleries.arrays`; those that are none of them are ``sbatch``'s.
    """
    raise RecipeError("executor 'slurm' renders whole galleries, no single pictures")
