"""``featvis serve``: the explorer, in a browser on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from featvis.cli import options
from featvis.cli.network import Network
from featvis.cli.options import AsJson
from featvis.cli.output import note, print_json
from featvis.errors import ModelError, OutputError, RecipeError
from featvis.models.sources.register import check_read_name

_TOLD = (
    "weights",
    "_mean",
    "_std",
    "unit_axis",
    "_canvas",
    "channel_order",
    "range",
    "sample_rate",
    "frames",
    "labels",
)
_NAMES = {"_mean": "mean", "_std": "std", "_canvas": "input_size"}


@dataclass
class Explored(Network):
    """What is explored: a network, or a gallery's folder and its network."""

    model: options.ModelArgument = "efficientnet_lite0"

    def __post_init__(self) -> None:
        self.folder: Path | None = None
        self.of_gallery: str | None = None
        if self.model is not None and Path(self.model).is_dir():
            folder = Path(self.model)
            manifest = self.show(folder)
            # Somebody else may have made the folder: what it names is not to run code.
            self.model = check_read_name(str(manifest.get("model")), folder, f"{{name}} --gallery {folder}")
        super().__post_init__()

    def show(self, folder: Path) -> dict[str, Any]:
        """Have a gallery's folder shown beside the network; return its manifest."""
        from featvis.results.manifest import read_manifest

        manifest = read_manifest(folder)
        if manifest is None:
            raise OutputError(f"{folder} holds no pictures that featvis made; it is no gallery")
        self.folder, self.of_gallery = folder, str(manifest.get("weights"))
        return manifest


def serve(
    gallery: Path | None = None,
    photos: Path | None = None,
    port: int = 0,
    show: bool = False,
    as_json: AsJson = False,
    *,
    network: Explored,
) -> int:
    """Explore a network, or a gallery's folder, in the browser. Serves 127.0.0.1 until Ctrl-C.

    Example: featvis serve efficientnet_lite0

    Args:
        --gallery FOLDER: A gallery that is shown beside a network of another name than it tells. [none]
        --photos FOLDER: Photographs; each unit shows what it responds to most in them. [none]
        --port: The port of 127.0.0.1; 0 takes any that is free.
        --show: Open the address in the browser, too.
    """
    if not 0 <= port <= 65535:
        raise RecipeError(f"--port is a number from 0 to 65535, got {port}")
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise ModelError(f"the explorer needs {' and '.join(missing)}: pip install 'featvis[serve]'")
    if photos is not None and not photos.is_dir():
        raise OutputError(f"no folder of photographs {str(photos)!r}")
    if gallery is not None:
        network.show(gallery)
    handle = network.load()
    if photos is not None and (handle.channels not in (1, 3) or handle.signal):
        raise ModelError(
            f"--photos is for networks of photographs; {handle.name} takes {handle.channels} channels"
        )
    if network.of_gallery is not None and network.of_gallery != handle.fingerprint():
        note(f"the pictures in {network.folder} are of other weights than those that are loaded now")
    import webbrowser

    from featvis.serve.explorer import Explorer
    from featvis.serve.patches import Folder
    from featvis.serve.server import serve as run

    told = {
        _NAMES.get(name, name): value
        for name in _TOLD
        if (value := getattr(network, name)) is not None and value != ""
    }
    told = {name: str(value) if isinstance(value, Path) else value for name, value in told.items()}

    def say(address: str) -> None:
        if as_json:
            print_json({"address": address, "model": handle.name})
        else:
            print(address, flush=True)
            note("open it in a browser on this machine; Ctrl-C ends")
        if show:
            webbrowser.open(address)

    folder = None if photos is None else Folder(photos)
    run(Explorer(handle, gallery=network.folder, told=told, folder=folder), port, say)
    note("ended")
    return 0
