"""``file:PATH.py:FUNCTION``: a network that a function of the user's returns. It runs that file's code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import nn

from featvis.errors import ModelError, unknown
from featvis.models.sources.base import Loaded, ModelSource
from featvis.models.sources.register import source


@source(
    "file",
    example="file:PATH.py:FUNCTION",
    about="a function of your own (runs that file)",
    random=False,
    typed=True,
)
class PythonFile(ModelSource):
    """A function of the user's that returns a network."""

    def load(self, name: str, pretrained: bool) -> Loaded:
        """Run the file and call its function, which returns a network, or a network and a dict.

        The dict may hold ``mean``, ``std``, ``input_size``, ``interpolation``, ``labels``, ``signal``
        (whether the network takes signals), their ``sample_rate`` and a video's ``frames``.
        """
        where, colon, function = name.rpartition(":")
        if not colon or not where or not function:
            raise ModelError(f"file:{name} lacks the function; write file:PATH.py:FUNCTION")
        path = Path(where)
        if not path.is_file():
            raise ModelError(f"no file {where!r} for the model file:{name}")
        spec = importlib.util.spec_from_file_location(f"featvis_user_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ModelError(f"{where} is no Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ModelError(f"{where} fails when it is run: {type(error).__name__}: {error}") from None
        make = getattr(module, function, None)
        if not callable(make):
            callables = [key for key, value in vars(module).items() if callable(value)]
            raise ModelError(unknown(f"function in {where}", function, callables))
        try:
            made = make()
        except Exception as error:
            raise ModelError(f"{function}() in {where} fails: {type(error).__name__}: {error}") from None
        network, told = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
        if not isinstance(network, nn.Module) or not isinstance(told, dict):
            raise ModelError(
                f"{function}() in {where} returned a {type(made).__name__}, not a torch.nn.Module"
            )
        allowed = ("mean", "std", "input_size", "interpolation", "labels", "signal", "sample_rate", "frames")
        for key in told:
            if key not in allowed:
                raise ModelError(unknown(f"key from {function}()", str(key), allowed))
        return Loaded(network, notes=(f"file: ran the code of {where}",), **told)
