"""``featvis weights``: what a linear or first-layer unit looks for, read off its weights."""

from __future__ import annotations

from pathlib import Path

from featvis.cli.checks import check_at_least
from featvis.cli.network import Network
from featvis.cli.options import AsJson, OutFile, Units
from featvis.cli.output import print_json
from featvis.errors import OutputError, RecipeError

WEIGHTS = Path("weights.png")
"""Where they go if nobody says where; those of other layers and units then lie beside each other."""


def weights(
    layer: str,
    units: Units = "all",
    scale: float | None = None,
    columns: int | None = None,
    out: OutFile = WEIGHTS,
    as_json: AsJson = False,
    *,
    network: Network,
) -> int:
    """Show a layer's weights on pixels. Signed, as images, all units on one scale.

    Example: featvis weights conv_stem

    Args:
        layer: A first convolution, or a linear layer on pixels.
        --scale: The weight that is at the end of the scale. [the layer's largest]
        --columns: How many columns the grid of images has.
    """
    from featvis.spec.target import expand, parse_request

    request = parse_request(f"{layer}:{units}", [layer])
    network.check([f"{layer}:{units}"])
    if scale is not None and not scale > 0:
        raise RecipeError(f"--scale is above 0, got {scale}")
    check_at_least(1, columns=columns)
    if out.is_dir():
        raise OutputError(f"{out} is a folder; --out is the image")
    from featvis.results.image_file import check_image_name, encode_image

    check_image_name(out)

    from featvis.attribution.kernels import weights_image
    from featvis.files import write_anew, write_apart
    from featvis.results.store import safe_name

    handle = network.load()
    info = handle.layer(request.layer)
    chosen = [target.unit for target in expand(request, info.units, info.labels)]
    image = weights_image(handle, request.layer, chosen, scale=scale, columns=columns)
    content = encode_image(image, out)
    path = write_anew(out, content) if out != WEIGHTS else write_apart({out: content}, safe_name(layer))[0]
    if as_json:
        print_json({"layer": request.layer, "units": chosen, "file": str(path)})
    else:
        print(path)
    return 0
