"""Pictures by Lucent (torch-lucent 0.1.8), one at a time, as it renders them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from featvis.models.handle import ModelHandle
from tests.peers.clock import SKIPPED, Clock
from tests.peers.kornia_names import give_old_names
from tests.peers.normalized import Normalized

CANVAS = 128
STEPS = 512


def render(
    model: ModelHandle,
    layer: str,
    unit: int,
    *,
    steps: Sequence[int] = (STEPS,),
    canvas: int = CANVAS,
    seen: int | None = None,
    seed: int = 0,
    clock: Clock | None = None,
) -> list[NDArray[np.uint8]]:
    """Render one unit and return the picture ``(H, W, C)`` after each number of ``steps``.

    Args:
        model: the network; left as Lucent leaves it, but for its hooks and weight gradients.
        layer: a layer's dotted name.
        unit: its channel.
        steps: as Lucent's ``thresholds``.
        canvas: the image's side.
        seen: what the network is shown; None for Lucent's own: 224 for a smaller canvas.
        seed: of numpy's and torch's global generators, which Lucent draws from.
        clock: stamped once in each step.
    """
    give_old_names()
    from lucent.optvis import objectives, param, transform
    from lucent.optvis import render as lucent

    # Versions are compared as text there, so that kornia 0.10 would count as older than 0.4.
    transform.KORNIA_VERSION = max(transform.KORNIA_VERSION, "0.4.0")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    objective = objectives.as_objective(f"network_{layer.replace('.', '_')}:{unit}")

    def timed(read):
        if clock is not None:
            clock.stamp()
        return objective(read)

    network = Normalized(model).eval()
    with warnings.catch_warnings():
        # Lucent warns when it has swallowed an error of the network.
        warnings.filterwarnings("error", "Some layers could not be computed")
        found = lucent.render_vis(
            network,
            timed,
            lambda: param.image(canvas),
            thresholds=tuple(steps),
            preprocess=False,  # Normalized does it, with the network's own numbers
            fixed_image_size=seen,
            progress=False,
            show_image=False,
        )
    return [np.rint(image[0] * 255).astype(np.uint8) for image in found]


def tidy(model: ModelHandle) -> tuple[int, int]:
    """Take away what Lucent left in the network.

    Returns:
        How many forward hooks, and how many parameters with a gradient.
    """
    hooks = sum(len(module._forward_hooks) for module in model.module.modules())
    gradients = sum(parameter.grad is not None for parameter in model.module.parameters())
    for module in model.module.modules():
        module._forward_hooks.clear()
    model.module.zero_grad(set_to_none=True)
    return hooks, gradients


def time_steps(
    model: ModelHandle, layer: str, unit: int, *, counted: int, canvas: int = CANVAS, seen: int | None = None
) -> list[float]:
    """Return the seconds of each of ``counted`` steps of one picture."""
    clock = Clock(model.device)
    render(model, layer, unit, steps=(counted + SKIPPED,), canvas=canvas, seen=seen, clock=clock)
    tidy(model)
    return clock.steps()


def observe(model: ModelHandle, layer: str) -> dict[str, object]:
    """Say what two steps of Lucent do with the network beside what was asked for."""
    shapes: list[tuple[int, ...]] = []
    called: list[str] = []
    watched = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: called.append(name))
        for name, module in model.module.named_modules()
    ]
    watched.append(
        model.module.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    )
    try:
        render(model, layer, 0, steps=(2,))
    finally:
        for hook in watched:
            hook.remove()
    hooks, gradients = tidy(model)
    order = list(dict.fromkeys(called))
    inside = [place for place, name in enumerate(order) if name == layer or name.startswith(f"{layer}.")]
    return {
        "network sees": shapes[0],
        "forward hooks left": hooks,
        "weights with a gradient": gradients,
        "modules run after the layer": len(order) - 1 - max(inside),
        "modules run": len(order),
    }
