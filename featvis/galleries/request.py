"""What a build is asked to do, checked before torch is imported."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featvis.errors import ModelError, OutputError, RecipeError, UserError, WeightsError
from featvis.galleries.config import Gallery, beside, find_config, is_copy, load_gallery
from featvis.models.sources.register import split_weights
from featvis.read import TOML_BYTES, read_file
from featvis.results.mirror import told_of


@dataclass(frozen=True)
class BuildRequest:
    """A gallery's config and where everything lies that it names."""

    gallery: Gallery
    config: Path
    named: str  # The config as it was asked for: its path, or one of our names
    text: bytes  # The config's file as it was read
    folder: Path
    source: str  # The network, as ``load_model`` takes it
    weights: str | None
    photographs: Path | None
    count: int  # Photographs for each unit
    options: tuple[str, ...] = ()  # What was given instead of the config's, as it is typed
    asked_weights: str | None = None  # The weights that were given instead of the config's
    asked_examples: str | None = None  # The same of the folder of photographs

    @property
    def command(self) -> str:
        """The command that builds this folder."""
        typed = ["featvis", "gallery", "build", self.named, "--out", told_of(self.folder)]
        return shlex.join([*typed, *self.options])


def make_request(
    config: str | Path,
    out: str | Path | None = None,
    *,
    weights: str | None = None,
    examples: str | Path | None = None,
    limit: int | None = None,
) -> BuildRequest:
    """Read a config and check that what it names is there; what else is given stands instead of its own.

    A config is a file, or one of our names. The folder is by default ``gallery/<name of the config>``.
    UserError for what needs no network to see.
    """
    path = find_config(config)
    gallery = load_gallery(path)
    folder = Path(out) if out is not None else Path("gallery") / path.stem
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder")
    if limit is not None and limit < 1:
        problem = f"limit is at least 1, got {limit}"
        raise RecipeError(problem, typed=f"--{problem}; --dry-run renders nothing")
    source = gallery.model
    if source.startswith("file:"):
        file, colon, function = source.removeprefix("file:").rpartition(":")
        placed = beside(path, file)
        if colon and not placed.is_file():
            raise ModelError(f"{path}: model: no file {str(placed)!r}")
        source = f"file:{placed}:{function}"
    asked = weights, None if examples is None else str(examples)
    options = dict(zip(("--weights", "--examples"), asked, strict=True))
    if weights is None and gallery.weights is not None:
        weights = gallery.weights if gallery.weights == "none" else str(beside(path, gallery.weights))
    if weights not in (None, "none") and not split_weights(str(weights))[0].is_file():
        problem = f"no weights file {str(weights)!r}; give another by"
        raise WeightsError(f"{problem} weights=…", typed=f"{problem} --weights")
    settings = gallery.examples
    photographs = Path(examples) if examples is not None else None
    if photographs is None and settings is not None and settings.folder is not None:
        photographs = beside(path, settings.folder)
    if photographs is not None and not photographs.is_dir():
        problem = f"no folder of photographs {str(photographs)!r}; give another by"
        raise OutputError(f"{problem} examples=…", typed=f"{problem} --examples")
    count = settings.count if settings is not None else 9
    typed = tuple(text for option, value in options.items() if value for text in (option, value))
    text = read_file(path, TOML_BYTES, "config")
    name = str(config) if path != Path(config) else path.as_posix()
    return BuildRequest(gallery, path, name, text, folder, source, weights, photographs, count, typed, *asked)


def find_request(folder: Path, manifest: dict[str, Any]) -> BuildRequest | None:
    """Return what a folder was built from, as its manifest tells, where that still lies there unchanged."""
    gallery = manifest.get("gallery")
    try:
        words = shlex.split(str(gallery.get("command"))) if isinstance(gallery, dict) else []
        if words[:3] != ["featvis", "gallery", "build"] or not is_copy(folder, Path(words[3])):
            return None
        options = dict(zip(words[4::2], words[5::2], strict=False))
        return make_request(words[3], folder, weights=options.get("--weights"))
    except (UserError, ValueError, IndexError):
        return None
