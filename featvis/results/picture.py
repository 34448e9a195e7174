"""Picture: one finished result, saved as a PNG that carries its entry and its recipe."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from featvis.errors import CanvasError, OutputError
from featvis.files import write_whole
from featvis.models.image_file import read_image
from featvis.models.photograph import Photograph, is_picture, read_photograph
from featvis.notebook import blank, display, figure, image_tag, is_notebook
from featvis.read import check_depth, open_image, parse_json, reason_of
from featvis.results.fields import FIELDS, is_count, is_table, is_text
from featvis.results.image_file import check_image_name, encode_image
from featvis.results.mirror import takes_addresses
from featvis.results.sounds import make_wav
from featvis.results.views import has_own_view, make_frames, make_view
from featvis.spec.recipe import recipe_id
from featvis.spec.same import SameByValue

# A folder of pictures is read without torch; only what gives or takes tensors needs it.
if TYPE_CHECKING:
    from torch import Tensor

CHUNK = "featvis"  # The name of the PNG's text chunk
TEXT = 4 << 20
"""The most characters of it: a set of 10,000 targets, whose names each picture tells, or a mask's weights."""
_HEADER = 33
"""Bytes of a PNG's signature and of its first chunk, which says its size."""
_LINE = 360
"""Pixels that the lines under a single picture have, however small it is."""


@dataclass(repr=False, eq=False)
class Picture(SameByValue):
    """One finished picture: its 8-bit values, what it is a picture of, and how it was made.

    Notebooks show it; ``plt.imshow(picture)`` and ``np.asarray(picture)`` take it as an image. Two are equal
    (``==``, ``in``, in a set) that have the same levels and were made alike: all that their PNGs tell.

    >>> import featvis as fv, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> (picture,) = fv.render(model, "0:1", size=(16, 20), steps=1, transforms=[], lanes=1)
    >>> picture.target, picture.unit, picture.status, picture.image.shape
    ('0:1', 1, 'ok', torch.Size([3, 16, 20]))
    >>> import numpy as np
    >>> np.asarray(picture).shape, picture.to_pil().size
    ((16, 20, 3), (20, 16))
    """

    _known_by: ClassVar[tuple[str, ...]] = ("target", "variant", "key", "seed")

    levels: NDArray[np.uint8]
    """``(C, H, W)``, the values that are saved and were scored."""
    target: str
    seed: int
    score: float
    """The target's score on the saved picture, without transforms or penalties."""
    start_score: float
    """The same for the picture that the run began with."""
    recipe: dict[str, Any]
    """The recipe as it was used, with lanes and threads settled."""
    key: str
    status: str = "ok"
    """``ok``; ``dead``: no start gave the unit any gradient, so this is no picture of it; ``failed``: a score
    on the way or at the end is not finite, so this is none either; ``stopped``: ended from outside after
    :attr:`taken` steps."""
    layer: str = ""
    unit: int | None = None
    label: str = ""
    variant: str = "picture"
    """``picture``, ``negative`` (of the objective times -1), or of a set: ``diverse``, ``aligned`` or
    ``pooled``."""
    seconds: float = field(default=0.0, compare=False)
    attempt: int = 0
    model: str = ""
    weights: str = ""
    asked_key: str | None = None
    """The key of the recipe as it was asked for, where memory forced fewer lanes."""
    verdicts: list[str] = field(default_factory=list)
    taken: int | None = None
    """How many steps it took, if it stopped before the recipe's last."""
    trace: list[float] = field(default_factory=list)
    """Up to 64 scores over the run, of what the network was shown: with transforms and penalties."""
    candidates: list[float] = field(default_factory=list)
    """With the recipe's ``best_of``, every candidate's score on its saved picture."""
    chosen: int | None = None
    """The seed of the best of them."""
    evaluations: int = 0
    """Forward and backward passes that it took, its rivals' among ``best_of`` included."""
    snapshots: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)
    """Levels after so many steps, if they were asked for; no part of the PNG."""
    encoded: tuple[NDArray[np.uint8], bytes] | None = field(default=None, repr=False, compare=False)
    """Levels and the PNG of them without text; see :meth:`encode`."""
    transparency: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """How opaque each pixel is, ``(H, W)``: how much the score depended on it over the run; if asked for."""

    def __post_init__(self) -> None:
        if not self.evaluations:
            steps = self.taken or self.recipe.get("steps") or 0
            self.evaluations = int(steps) * int(self.recipe.get("copies", 1))

    replayed: int | None = field(default=None, compare=False)
    """How many of its steps a GPU replayed; None where nothing is, as on a CPU. Not in the PNG."""
    function: str = field(default="", compare=False)
    """What tells the user's functions that it was made by from others of their names. Not in the PNG."""
    alpha: bool = False
    """Whether the last channel is alpha; the picture was scored over mid-grey."""
    preprocessing: tuple[tuple[float, ...], tuple[float, ...]] | None = field(default=None, compare=False)
    """Mean and std of the network it was rendered for; not in the PNG, so None for one that was read."""
    sample_rate: float | None = field(default=None, compare=False)
    """Samples a second, of a signal that can be heard; not in the PNG."""
    frames: int | None = None
    """Of a video or volume, how many frames there are; the channels are those of all, frame after frame."""

    @property
    def is_one(self) -> bool:
        """Whether it shows anything: it is neither dead nor failed."""
        return self.status not in ("dead", "failed")

    @property
    def has_fallen(self) -> bool:
        """Whether it scores no higher than the image that it began from."""
        return self.is_one and self.score <= self.start_score

    @property
    def reason(self) -> str:
        """Why it failed; empty if it did not."""
        if self.status != "failed":
            return ""
        named = {"score": self.score, "start score": self.start_score}
        named |= {
            f"score at {place + 1} of {len(self.trace)}": value for place, value in enumerate(self.trace)
        }
        name, value = next(
            ((name, value) for name, value in named.items() if not math.isfinite(value)), ("score", math.nan)
        )
        return f"its {name} is {value}"

    @property
    def image(self) -> Tensor:
        """The saved picture as a float tensor ``(C, H, W)``: 8-bit levels over 255."""
        import torch

        return torch.from_numpy(self.levels).float() / 255

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.levels.shape[1]), int(self.levels.shape[2])

    @property
    def values(self) -> NDArray[np.float32]:
        """The saved picture as the network takes it, ``(C, H, W)``: (image - mean) / std.

        Of a video ``(C, frames, H, W)``.
        Without :attr:`preprocessing`, of a picture that was read from its file, the image in [0, 1].
        """
        image: NDArray[np.float32] = (self.levels / 255).astype(np.float32)
        if self.alpha:  # as it was scored, over mid-grey
            image = (image[:-1] * image[-1:] + 0.5 * (1 - image[-1:])).astype(np.float32)
        if self.preprocessing is not None:
            mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in self.preprocessing)
            image = ((image - mean) / std).astype(np.float32)
        if self.frames is None:
            return image
        return np.ascontiguousarray(image.reshape(self.frames, -1, *image.shape[1:]).swapaxes(0, 1))

    @property
    def has_own_view(self) -> bool:
        """Whether it is shown otherwise than saved: not 1, 3 or 3 + alpha channels, one row, a video."""
        return has_own_view(self.levels[:-1] if self.alpha else self.levels, self.frames)

    @property
    def view(self) -> Image.Image:
        """A PIL image to look at, for any number of channels; see :func:`featvis.results.views.make_view`."""
        color = self.levels[:-1] if self.alpha else self.levels
        return make_view(color, self.frames) if self.has_own_view else self.pil

    @property
    def film(self) -> list[Image.Image]:
        """The frames of a video or volume, to look at; OutputError for any other picture."""
        if self.frames is None:
            raise OutputError(f"{self.target}: a picture of one frame")
        return make_frames(self.levels[:-1] if self.alpha else self.levels, self.frames)

    @property
    def wav(self) -> bytes:
        """A signal as a 16-bit WAV file; OutputError if it is none, or its sample rate is not known.

        See :func:`featvis.results.sounds.make_wav`.
        """
        if self.sample_rate is None or self.preprocessing is None or self.levels.shape[1] != 1:
            told = "load_model(…, sample_rate=16000)"
            raise OutputError(f"{self.target}: no sound; of a network of signals, {told} makes it one")
        return make_wav(self.levels[:, 0], self.sample_rate, *self.preprocessing)

    @property
    def pil(self) -> Image.Image:
        """The picture as it is saved: gray, RGB, either with alpha, or the channels one below the other."""
        if self.levels.shape[0] == 3 or (self.alpha and self.levels.shape[0] in (2, 4)):
            return Image.fromarray(np.ascontiguousarray(self.levels.transpose(1, 2, 0)))
        return Image.fromarray(np.ascontiguousarray(self.levels.reshape(-1, self.levels.shape[2])))

    @property
    def cut_out(self) -> Image.Image:
        """The picture, as opaque as :attr:`transparency` says (RGBA or LA); OutputError if it cannot be."""
        if self.transparency is None or self.levels.shape[0] not in (1, 3):
            raise OutputError(f"{self.target}: no transparency; it is kept with fv.render(transparency=True)")
        image = self.pil
        image.putalpha(Image.fromarray(self.transparency))
        return image

    def entry(self, file: str | None = None) -> dict[str, Any]:
        """Return what the manifest says of this picture."""
        names = ("target", "layer", "unit", "label", "variant", "seed", "key", "score", "start_score")
        entry = {
            "file": file,
            **{name: getattr(self, name) for name in names},
            "recipe": recipe_id(self.recipe),
            "steps": self.taken or self.recipe.get("steps"),
            "seconds": round(self.seconds, 3),
            **{name: getattr(self, name) for name in ("status", "verdicts", "trace", "attempt")},
        }
        if self.status == "failed":  # JSON has no numbers that are not finite
            entry |= {
                name: entry[name] if math.isfinite(entry[name]) else None for name in ("score", "start_score")
            }
            entry |= {"trace": [value for value in self.trace if math.isfinite(value)], "reason": self.reason}
        if self.function:
            entry["function"] = self.function
        if self.asked_key is not None:
            entry["asked_key"] = self.asked_key
        if self.candidates:
            known = [value if math.isfinite(value) else None for value in self.candidates]
            entry |= {"candidates": known, "chosen": self.chosen}
        if self.evaluations != entry["steps"]:
            entry["evaluations"] = self.evaluations
        return entry

    def png(self) -> bytes:
        """Return the PNG file's bytes: the same recipe gives the same bytes."""
        # The seconds it took differ from run to run, so only the manifest tells them.
        # A digest of a function differs between versions of Python.
        left_out = ("file", "seconds", "function")
        entry = {key: value for key, value in self.entry().items() if key not in left_out}
        content = {**entry, "channels": int(self.levels.shape[0]), "recipe": self.recipe}
        content |= {"model": self.model, "weights": self.weights, **({"alpha": True} if self.alpha else {})}
        content |= {"frames": self.frames} if self.frames is not None else {}
        return _with_text(self._packed(), json.dumps(content, sort_keys=True))

    def encode(self) -> None:
        """Compress the levels now, which takes the most time of :meth:`png`: where there is more of it."""
        self.encoded = self.levels, self._packed()

    def _packed(self) -> bytes:
        """Return the PNG without its text."""
        if self.encoded is not None and self.encoded[0] is self.levels:
            return self.encoded[1]
        buffer = io.BytesIO()
        self.pil.save(buffer, "PNG", compress_level=6)
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the picture in the format of its name, whole or not at all.

        A PNG (also without a suffix) carries the recipe; ``.jpg``, ``.webp``, ``.tif`` and ``.bmp`` do not.

        Raises:
            OutputError: the place cannot be written, or the name is of another format.
        """
        kind, _ = check_image_name(path)
        return write_whole(Path(path), self.png() if kind == "PNG" else encode_image(self.pil, path))

    def to_pil(self) -> Image.Image:
        """Return the picture as a PIL image to look at: its :attr:`view`."""
        return self.view

    def show(self) -> None:
        """Show the picture: in the cell of a notebook, else in the machine's viewer of images."""
        display(self) if is_notebook() else self.view.show()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return what one looks at, ``(H, W, 3)``, with alpha ``(H, W, 4)``, 8-bit levels.

        Grey is there three times, so that matplotlib shows it as it is; :attr:`levels` and :attr:`image`
        have the network's own channels.
        """
        shown = self.view
        pixels = np.asarray(shown.convert("RGBA" if "A" in shown.mode else "RGB"))
        return np.array(pixels, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"Picture({self.target!r}, {', '.join(self._facts())})"

    def _facts(self) -> list[str]:
        """What a line says of it beside its name."""
        made = f"score {self.score:.4g}" if self.is_one else self.reason or "dead: no gradient reaches it"
        told = [made, f"{self.size[0]}x{self.size[1]}", f"{self.taken or self.recipe.get('steps')} steps"]
        told += [f"seed {self.seed}"] if self.seed else []
        told += [self.variant] if self.variant != "picture" else []
        return [*told, self.status] if self.status == "stopped" else told

    def as_html(self, side: int | None = None, *, brief: bool = False) -> str:
        """Return the picture with what there is to say of it, for a page or a notebook.

        Args:
            side: of which its longer side is at most.
            brief: leave out how it was made, as on a sheet of many.
        """
        label = self.label.partition(",")[0]
        name = f"{self.target} {label}" if label and label not in self.target else self.target
        facts = self._facts()
        lines = [name, *(facts[:1] + facts[3:] if brief else [", ".join(facts)])]
        lines += [", ".join(self.verdicts)] + ([] if brief else [self.model])
        if not self.is_one:
            width, height = (min(one, side or one) for one in (self.size[1], self.size[0]))
            return figure(blank(self.status, width, height), lines, max(width, 64))
        shown = self.view
        width = round(shown.width * min(1.0, (side or shown.width) / max(shown.size)))
        return figure(image_tag(shown, name, side), lines, width if brief else max(width, _LINE))

    def _repr_html_(self) -> str:
        return self.as_html()

    def _repr_png_(self) -> bytes:
        if not self.has_own_view:
            return self.png()
        shown = io.BytesIO()
        self.view.save(shown, "PNG")
        return shown.getvalue()


def _with_text(png: bytes, text: str) -> bytes:
    """Return a PNG with the text in a chunk behind its header, where Pillow writes it."""
    info = PngImagePlugin.PngInfo()
    info.add_text(CHUNK, text)
    written = io.BytesIO()
    for kind, data, *_ in info.chunks:
        PngImagePlugin.putchunk(written, kind, data)
    return png[:_HEADER] + written.getvalue() + png[_HEADER:]


@takes_addresses("path", writes=False)
def load_picture(path: str | Path) -> Picture:
    """Read a picture back from the PNG that featvis wrote, with its recipe.

    Args:
        path: the PNG; snapshots, transparency, seconds and preprocessing are not in it.

    Raises:
        OutputError: not there, damaged, or not made by featvis.

    >>> import featvis as fv, tempfile, torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    >>> model = fv.load_model(network, mean=(0.5,) * 3, std=(0.5,) * 3, input_size=16)
    >>> (picture,) = fv.render(model, "0:1", size=16, steps=1, transforms=[], lanes=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = fv.load_picture(picture.save(f"{folder}/unit.png"))
    >>> again.key == picture.key, bool((again.levels == picture.levels).all())
    (True, True)
    """
    path = Path(path)
    with open_image(path, ("PNG",)) as opened:
        opened.load()
        text = opened.info.get(CHUNK)
        array = np.asarray(opened)
    if text is None:
        raise OutputError(f"{path} carries no recipe: it was not made by featvis, or its text was stripped")
    try:
        content = read_content(text)
        channels = int(content.pop("channels"))
        levels = array.transpose(2, 0, 1) if array.ndim == 3 else array.reshape(channels, -1, array.shape[1])
        if len(levels) != channels:
            raise ValueError(f"{channels} channels, the image has {len(levels)}")
        known = {name: content[name] for name in content if name in _READ and name != "steps"}
        if content.get("steps") is not None and content["steps"] != content["recipe"].get("steps"):
            known["taken"] = content["steps"]
        frames = known.get("frames")
        if frames is not None and (not frames or (channels - bool(known.get("alpha"))) % frames):
            raise ValueError(f"{channels} channels are not those of {frames!r} frames")
        picture = Picture(levels=np.array(levels, dtype=np.uint8), **known)
        if not all(map(math.isfinite, (picture.score, picture.start_score, *picture.trace))):
            picture.status = "failed"  # earlier versions called it ok
        return picture
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise OutputError(
            f"{path}: what it tells of its recipe is damaged ({type(error).__name__}: {reason_of(error)})"
        ) from None


_READ: dict[str, Callable[[Any], bool]] = {
    **FIELDS,
    **dict.fromkeys(("model", "weights"), is_text),
    "recipe": is_table,
    "alpha": lambda value: isinstance(value, bool),
    "frames": lambda value: value is None or is_count(value),
}
"""What of a PNG's text becomes a picture's, and what each must be."""


def read_content(text: Any) -> dict[str, Any]:
    """Return what a PNG's text says; ValueError where any of it is not what we write."""
    if not isinstance(text, str) or len(text) > TEXT:
        raise ValueError("it is longer than any that featvis writes")
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("it is no table")
    check_depth(content)
    for name, is_right in _READ.items():
        if name in content and not is_right(content[name]):
            raise ValueError(f"{name} is {repr(content[name])[:80]}")
    # What could not be scored has no number.
    for name in ("score", "start_score"):
        content[name] = math.nan if content.get(name, 0) is None else content[name]
    if "candidates" in content:
        content["candidates"] = [math.nan if one is None else one for one in content["candidates"]]
    return content


def load_image(
    path: Photograph, channels: int, size: int | tuple[int, int] | None = None, *, most: int | None = None
) -> Tensor:
    """Read an image in any form as ``(C, H, W)`` in [0, 1], to start from.

    A file or PIL image is read upright, transparency on white, of an animation the first frame (a warning
    says so); levels of 16 or 32 bits and floating-point ones are brought to 8 bits.

    Args:
        path: the file; or a PIL image, or a tensor or array ``(C, H, W)`` in [0, 1] or of 8-bit levels.
        channels: 1 or 3; of a tensor or array those that it has.
        size: (height, width) to resize to, or a side, bicubic and antialiased; None for the image's own.
        most: pixels that a file's own size may have, twice as long as a square of them at most; None for any.

    Raises:
        CanvasError: a tensor or array of other channels or beyond [0, 1], or a size below 1.
        OutputError: no readable image, one that is too large, or a number of channels that image files do
            not have.

    >>> import featvis as fv, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (24, 16), "red").save(f"{folder}/red.png")
    ...     fv.load_image(f"{folder}/red.png", channels=3)[:, 0, 0].tolist()
    [1.0, 0.0, 0.0]
    """
    canvas = None if size is None else _canvas(size)
    if not is_picture(path):
        from featvis.objectives.reference import fitted

        image = read_photograph(path, channels, what="an image")
        return image if canvas is None else fitted(image[None], canvas)[0]
    if channels not in (1, 3):
        raise OutputError(f"an image file has 1 or 3 channels, the network takes {channels}")
    shown = read_image(path, channels, most=None if size is not None else most)
    return read_photograph(shown, channels, size=canvas)


def _canvas(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(sides) != 2 or not all(
        isinstance(side, int | np.integer) and side is not True and side > 0 for side in sides
    ):
        raise CanvasError(f"size is a side or (height, width), whole numbers from 1 up, got {size!r}")
    return int(sides[0]), int(sides[1])


def to_levels(images: Tensor) -> NDArray[np.uint8]:
    """Round images in [0, 1] to 8-bit levels: no stretch, no clip beyond the range they have.

    >>> import torch
    >>> to_levels(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    import torch

    # 127.5 rounds half to even, to 128.
    levels: NDArray[np.uint8] = (images.detach() * 255).round().to(torch.uint8).cpu().numpy()
    return levels
