"""Turn rendered folders into the small sheets that gallery/ shows: WebP, a sheet for each layer.

    python gallery/show.py gallery/vgg16 gallery/portraits

Writes FOLDER/<layer>.webp, and FOLDER/rows.webp with the first eight units of
each, if there are several.
"""

import json
import re
import sys
from pathlib import Path

import featvis as fv


def main(folders: list[str]) -> None:
    """Write the sheets of each folder."""
    for name in folders:
        folder = Path(name)
        entries = json.loads((folder / "manifest.json").read_text("utf-8"))["pictures"]
        layers: dict[str, list[fv.Picture]] = {}
        for entry in entries:
            if entry["file"] is not None:
                layers.setdefault(entry["layer"], []).append(fv.load_picture(folder / entry["file"]))
        order = sorted(layers, key=lambda layer: [int(n) for n in re.findall(r"\d+", layer)])
        for layer in order:
            sheet = fv.grid(layers[layer], columns=8 if len(layers[layer]) > 12 else 4)
            sheet.save(folder / f"{layer}.webp", quality=88, method=6)
        if len(order) > 1:
            rows = [picture for layer in order for picture in layers[layer][:8]]
            fv.grid(rows, columns=8, captions=False).save(folder / "rows.webp", quality=88, method=6)


if __name__ == "__main__":
    main(sys.argv[1:])
