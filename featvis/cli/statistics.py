"""``featvis statistics``: what photographs make of a network's layers, for a penalty to hold pictures to."""

from __future__ import annotations

from pathlib import Path

from featvis.cli.checks import canvas_of
from featvis.cli.network import Network
from featvis.cli.options import AsJson, OutFile, SizeOfNetwork
from featvis.cli.output import is_quiet, note, print_json
from featvis.errors import OutputError


def statistics(
    photos: Path,
    size: SizeOfNetwork = None,
    as_json: AsJson = False,
    *,
    out: OutFile,
    network: Network,
) -> int:
    """Measure a network's channels over photographs. For networks without BatchNorm: recipes' penalty
    batchnorm takes the file as its statistics.

    Example: featvis statistics photos/ --model torchvision:vgg16 --out vgg16.safetensors

    Example: featvis render "classifier:263" --model torchvision:vgg16 --recipe portraits --set
    penalties.batchnorm.statistics=vgg16.safetensors

    Args:
        photos: A folder of photographs; a few hundred of many things will do.
    """
    canvas = canvas_of(size)
    if not photos.is_dir():
        raise OutputError(f"no folder of photographs {str(photos)!r}")
    if out.is_dir():
        raise OutputError(f"{out} is a folder; --out is the file of statistics")
    from featvis.photographs.activations import activation_statistics

    found = activation_statistics(
        network.load(), photos, out=out, size=canvas, say=None if is_quiet() else note
    )
    if as_json:
        names = ("model", "kind", "photographs", "skipped", "channels")
        told = {name: getattr(found, name) for name in names}
        print_json({**told, "layers": list(found.layers), "size": list(found.size), "file": str(out)})
        return 0
    print(found.summary())
    if found.skipped:
        note(f"{found.skipped} of the folder's files are no photographs")
    print(out)
    return 0
