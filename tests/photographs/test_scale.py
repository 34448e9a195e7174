"""Many photographs in bounded memory, and real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featvis as fv

LEAST = 24 * 2**20
"""What memory may grow by from 2,000 to 20,000 photographs: names, sizes, and what an allocator keeps."""

SEARCH = """
import json, resource, sys
from pathlib import Path
import torch
import featvis as fv

torch.set_num_threads(1)
module = torch.nn.Conv2d(3, 64, 4, stride=4)
with torch.no_grad():
    module.weight.copy_(torch.randn(module.weight.shape, generator=torch.Generator().manual_seed(1)) / 10)
    module.weight[0] = 1
    module.bias.zero_()
model = fv.load_model(torch.nn.Sequential(module), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
found = fv.find_examples(model, Path(sys.argv[1]), {"0": range(64)}, batch=64)
unit = found["units"]["0:0"]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"images": found["images"], "skipped": found["skipped"], "peak": peak, "unit": unit}))
"""


def tiny_photographs(folder, count):
    """Of sixty shapes, dark but for nine with a bright square; every thousandth file is broken."""
    folder.mkdir()
    chance = np.random.default_rng(4)
    bright = []
    for n in range(count):
        levels = chance.integers(0, 100, (16, 16 + n % 30, 3), dtype=np.uint8)
        if n % 2:
            levels = levels.transpose(1, 0, 2)
        path = folder / f"{n:05d}.png"
        if n % (count // 9) == 5:
            levels[4:8, 8:12] = 255
            bright.append((path.name, [1, 2]))
        Image.fromarray(np.ascontiguousarray(levels)).save(path, compress_level=1)
        if n % 1000 == 999:
            path.write_bytes(path.read_bytes()[:60])
    return bright


def search(folder):
    root = Path(fv.__file__).parent.parent
    told = subprocess.run(
        [sys.executable, "-c", SEARCH, str(folder)], cwd=root, capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout)


@pytest.mark.slow
def test_twenty_thousand_photographs_in_bounded_memory(tmp_path):
    peaks = {}
    for count in (2_000, 20_000):
        bright = tiny_photographs(tmp_path / str(count), count)
        found = search(tmp_path / str(count))
        peaks[count] = found["peak"]
        assert (found["images"], found["skipped"]) == (count - count // 1000, count // 1000)
        examples = found["unit"]["examples"]
        assert [(one["image"], one["position"]) for one in examples] == bright[:9]
        assert {one["value"] for one in examples} == {48.0}
        assert {tuple(one["box"]) for one in examples} == {(4, 8, 4, 4)}
        print(f"{count} photographs: {found['peak'] / 2**20:.0f} MiB")
    assert peaks[20_000] - peaks[2_000] < LEAST


@pytest.mark.slow
def test_a_real_network_and_real_photographs(tmp_path, lite0):
    photographs = Path(pytest.importorskip("skimage").__file__).parent / "data"
    labels = lite0.labels
    cats = [n for n, name in enumerate(labels) if name.startswith(("tabby", "tiger cat", "Egyptian cat"))]
    missile = [n for n, name in enumerate(labels) if name.startswith(("missile", "projectile"))]
    assert len(cats) == 3
    targets = {"blocks.0": [0, 1], "blocks.1": [1], "classifier": [*cats, *missile]}
    found = fv.find_examples(lite0, photographs, targets, out=tmp_path)
    assert found["images"] >= 20
    assert found["skipped"] > 0
    for unit in cats:
        told = found["units"][f"classifier:{unit}"]
        first, second = told["examples"][:2]
        assert first["image"] == "chelsea.png"
        assert first["value"] > second["value"] + 2
    for unit in missile:
        assert found["units"][f"classifier:{unit}"]["examples"][0]["image"] == "rocket.jpg"
    for unit in found["units"].values():
        for example in unit["examples"]:
            with Image.open(tmp_path / example["file"]) as crop:
                assert max(crop.size) <= 160
                if example["box"]:
                    height, width = example["box"][2:]
                    assert max(crop.size) == min(160, max(height, width))
