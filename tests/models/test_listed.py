"""Names that are read from a package's files are those that the package itself lists."""

import pytest
import timm
from torchvision import models

from featvis.models.sources.listed import list_names


@pytest.mark.parametrize(
    ("package", "names"), [("torchvision", models.list_models), ("timm", timm.list_models)]
)
def test_they_are_the_names_that_can_be_loaded(package, names):
    assert list_names(package) == sorted(names())


def test_a_package_that_is_not_there_has_none():
    assert list_names("no_such_package") == []
