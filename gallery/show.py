"""Turn rendered folders into the small sheets that gallery/ shows: WebP, a sheet for each layer.

    python gallery/show.py gallery/vgg16 gallery/portraits

For the guides, three units by each recipe, rendered first:

    featvis render blocks.1:3 blocks.3:2 classifier:volcano --recipe NAME --lanes 1 --out gallery/recipes/NAME
    python gallery/show.py --recipes gallery/recipes/*

Writes FOLDER/<layer>.webp, FOLDER/rows.webp with the first eight units of each, if there are several, and
gallery/depths.webp, the README's picture: the same rows with their names, and classes below them.
"""

import json
import re
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import featvis as fv

GALLERY = Path(__file__).parent
TILE = 144
DEPTHS = ["colours\nand edges", "fine\ntextures", "patterns", "patterns\nand parts", "parts\nof objects"]
"""What the five blocks of VGG16 look for, from the first to the last."""
CLASSES = {"goldfish": 1, "flamingo": 130, "king penguin": 145, "tiger": 292, "zebra": 340, "balloon": 417,
           "pirate ship": 724, "volcano": 980}  # fmt: skip
"""The classes below them and their units."""


def main(folders: list[str]) -> None:
    """Write the sheets of each folder, then the README's picture."""
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
    depths(GALLERY / "vgg16" / "rows.webp", GALLERY / "portraits" / "classifier.webp")


def depths(rows: Path, portraits: Path) -> None:
    """Five rows of VGG16's units and one of classes, each with its name, from the sheets of both."""
    across = (1, 130, 145, 263, 292, 340, 417, 437, 724, 949, 967, 980)  # the classes of `make gallery`, in order
    margin, gap, side = 150, 6, 160
    font, small = ImageFont.load_default(24), ImageFont.load_default(20)
    picture = Image.new("RGB", (margin + 8 * (TILE + gap), 6 * (TILE + gap) + 44), "white")
    draw = ImageDraw.Draw(picture)
    with Image.open(rows) as sheet, Image.open(portraits) as classes:
        for row, words in enumerate([*DEPTHS, "classes"]):
            upper = row * (TILE + gap) + (8 if row == 5 else 0)
            draw.multiline_text((4, upper + TILE // 2), words, fill="black", font=font, anchor="lm")
            for column, (label, unit) in enumerate(CLASSES.items()):
                left = margin + column * (TILE + gap)
                if row < 5:
                    corner = (gap + column * (side + gap), gap + row * (side + gap))
                    tile = sheet.crop((*corner, corner[0] + side, corner[1] + side))
                else:
                    place = across.index(unit)
                    corner = (gap + place % 4 * 230, gap + place // 4 * 270)
                    tile = classes.crop((*corner, corner[0] + 224, corner[1] + 224))
                    middle = (left + TILE // 2, upper + TILE + 14)
                    draw.text(middle, label, fill="black", font=small, anchor="mm")
                picture.paste(tile.resize((TILE, TILE), Image.Resampling.LANCZOS), (left, upper))
    picture.save(GALLERY / "depths.webp", quality=86, method=6)


def recipes(folders: list[str]) -> None:
    """Write gallery/guides/recipes.webp: a column for each recipe, a row for each unit."""
    units = ("blocks.1/0003.png", "blocks.3/0002.png", "classifier/0980.png")
    font = ImageFont.load_default(24)
    picture = Image.new("RGB", (len(folders) * (TILE + 6), 3 * (TILE + 6) + 40), "white")
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(folders):
        left = column * (TILE + 6)
        draw.text((left + TILE // 2, 20), Path(name).name, fill="black", font=font, anchor="mm")
        for row, unit in enumerate(units):
            with Image.open(Path(name) / unit) as tile:
                small = tile.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
            picture.paste(small, (left, 40 + row * (TILE + 6)))
    picture.save(GALLERY / "guides" / "recipes.webp", quality=86, method=6)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--recipes"]:
        recipes(sys.argv[2:])
    else:
        main(sys.argv[1:])
