"""Each kind of network with each kind of checkpoint: it answers as the plain network that was saved."""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
import pytest
import torch
from torch import nn

import featvis as fv
from tests.networks import Small, seeded

TOLD = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (17, 24)}


class Lightning(nn.Module):
    """As a LightningModule is: the network beside what training needs."""

    def __init__(self, network):
        super().__init__()
        self.model = network
        self.loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(5))
        self.metric = nn.BatchNorm1d(5)

    def forward(self, images):
        return self.model(images)


class Wrapped(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.model = network

    def forward(self, images):
        return self.model(images)


NETWORKS = {
    "plain": lambda network: network,
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "Lightning": Lightning,
    "half": lambda network: network.half(),
    "self.model": Wrapped,
}
FORMS = {
    "bare": lambda tensors, prefix: tensors,
    "nested": lambda tensors, prefix: {"epoch": 7, "state_dict": tensors, "best_acc1": torch.tensor(71.2)},
    "EMA beside": lambda tensors, prefix: {
        "model": tensors,
        "model_ema": {n: v + 1 if v.is_floating_point() else v for n, v in tensors.items()},
    },
    "prefixed": lambda tensors, prefix: {f"backbone.{name}": value for name, value in tensors.items()},
    "foreign": lambda tensors, prefix: {
        "model": tensors,
        "optimizer": {
            "state": {0: {"exp_avg": torch.ones(6, 3, 3, 3)}},
            "param_groups": [{"lr": np.float64(0.1)}],
        },
        "args": argparse.Namespace(out=pathlib.PurePosixPath("runs/1"), classes=np.arange(5)),
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("saved", NETWORKS)
@pytest.mark.parametrize("given", NETWORKS)
def test_what_was_saved_by_one_loads_into_the_other(given, saved, form, tmp_path):
    trained = NETWORKS[saved](seeded(Small, seed=99))
    torch.save(FORMS[form](trained.state_dict(), saved), tmp_path / "w.pth")
    module = NETWORKS[given](seeded(Small))
    model = fv.load_model(module, weights=tmp_path / "w.pth", **TOLD)
    plain = seeded(Small, seed=99).eval()
    if "half" in (given, saved):
        plain = plain.half()
    if given != "half":
        plain = plain.float()
    images = torch.rand((2, 3, 17, 24), generator=torch.Generator().manual_seed(0))
    shown = ((images - 0.5) / 0.5).to(model.dtype)
    layer = next(name for name in model.at((17, 24)).layers if name.rpartition(".")[2] == "fc")
    with model.tap([layer], size=(17, 24)) as activations, torch.no_grad():
        found = activations(images)[layer]
        wanted = plain(shown)
    torch.testing.assert_close(
        found.float(), wanted.float(), rtol=1e-4, atol=2e-2 if given == "half" else 1e-5
    )
    assert not any("without weights: model" in note for note in model.notes)
