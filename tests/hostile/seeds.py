"""Real files of every kind that featvis reads, small ones, to be changed into hostile ones."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

RECIPE = """\
size = 24
steps = 2
lanes = 2
attempts = 1
threads = 1
learning_rate = 0.05
space = {name = "fourier", exponent = 1.3}
transforms = [{name = "warp", scale = [0.8, 1.1], degrees = 5.0}, {name = "noise", sd = 0.1}]
penalties = [{name = "l2", weight = 0.01}]
"""
GALLERY = """\
title = "A gallery"
text = "One paragraph."
seeds = 1
[recipe]
base = "recipe.toml"
steps = 2
[[sections]]
title = "First"
targets = ["blocks.0.0:0:2"]
[[sections]]
title = "Second"
targets = ["blocks.1.*:3"]
variants = ["picture", "negative"]
"""


def make_seeds(place: Path) -> Path:
    """Write ``recipe.toml, gallery.toml, out/ (pictures and manifest), built/ (a gallery with its pages),
    photos/, sae.safetensors, directions.safetensors, statistics.safetensors, weights.safetensors, net.pth,
    array.npy`` into a folder."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    import featvis as fv
    from featvis.attribution.components import Components
    from featvis.cli import main

    place.mkdir(parents=True)
    (place / "recipe.toml").write_text(RECIPE)
    (place / "gallery.toml").write_text(GALLERY)
    (place / "photos").mkdir()
    chance = np.random.default_rng(0)
    for name, size in (("a.jpg", (48, 40)), ("b.png", (40, 56)), ("c.webp", (32, 32)), ("d.tiff", (24, 40))):
        levels = chance.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(levels).save(place / "photos" / name)
    (place / "arrays").mkdir()
    np.save(place / "arrays" / "a.npy", chance.random((3, 24, 24), dtype=np.float32))
    np.save(place / "arrays" / "b.npy", chance.integers(0, 256, (3, 30, 24), dtype=np.uint8))
    torch.manual_seed(0)
    save_file({"decoder": torch.randn(4, 24)}, place / "sae.safetensors")
    Components("blocks.1", "pca", "efficientnet_lite0", torch.eye(24)[:3].clone(), (), 0.5).save(
        place / "directions.safetensors"
    )
    fv.image_statistics(place / "photos", out=place / "statistics.safetensors", size=24)
    model = fv.load_model("efficientnet_lite0")
    fv.activation_statistics(model, place / "photos", out=place / "activations.safetensors", size=32)
    tensors = {"conv_stem.weight": torch.randn(32, 3, 3, 3), "bn1.weight": torch.ones(32)}
    save_file(tensors, place / "weights.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3}, place / "net.pth")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        recipe = ["--recipe", str(place / "recipe.toml")]
        made = main(["render", "blocks.0.0:0,3", *recipe, "--out", str(place / "out")])
        built = main(["gallery", "build", str(place / "gallery.toml"), "--out", str(place / "built"),
                      "--examples", str(place / "photos")])  # fmt: skip
    assert (made, built) == (0, 0)
    return place
