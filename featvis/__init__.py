"""featvis: feature visualization and activation maximization.

>>> import featvis as fv
>>> fv.__version__
'0.1.0'

The public names stand in ``__init__.pyi``, for editors and type checkers. They are imported when they are
first used, so that ``import featvis`` costs nothing and touches no device.
"""

import logging

import lazy_loader

from featvis.version import __version__

logging.getLogger(__name__).addHandler(logging.NullHandler())
__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*sorted(_names), "__version__"]


def __dir__() -> list[str]:
    return list(__all__)
