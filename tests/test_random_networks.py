"""Any small network is rendered with a risen score and comes back unchanged, or is refused in one line."""

from __future__ import annotations

import contextlib
import json
import signal

import pytest
import torch

import featvis as fv
from featvis.cli import main
from tests import random_networks
from tests.part import part_of
from tests.test_borrowed import hooks_of

SECONDS = 120


def pytest_generate_tests(metafunc):
    if metafunc.function is test_many_random_networks:
        metafunc.parametrize("number", part_of(range(10, 300), 6, metafunc.config))


@pytest.fixture
def in_time():
    def stop(*_):
        raise TimeoutError(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def is_scale_free(network):
    """Whether a norm of the picture's own statistics makes the network indifferent to contrast."""
    own = torch.nn.InstanceNorm2d | torch.nn.LayerNorm | torch.nn.GroupNorm
    still = torch.nn.BatchNorm2d
    return any(
        isinstance(one, own) or (isinstance(one, still) and one.running_var is None)
        for one in network.modules()
    )


def what_it_is(network):
    return {
        "training": [one.training for one in network.modules()],
        "forward": [one.__dict__.get("forward") for one in network.modules()],
        "learns": [one.requires_grad for one in network.parameters()],
        "layout": [one.stride() for one in network.parameters()],
        "values": [value.tolist() for name, value in network.state_dict().items() if not value.isnan().any()],
        "hooks": hooks_of(network),
    }


def check(number, folder, capsys):
    """Render by the default command; return what became of each layer."""
    network = random_networks.build(number)
    channels = (0.5,) * network.channels
    model = fv.load_model(network, mean=channels, std=channels, input_size=network.size)
    wanted = ["body.0", "head"]
    with contextlib.suppress(fv.UserError):
        wanted = [next(layer.name for layer in model.layers if layer.is_clear), model.output_layer]
    file = folder / "net.py"
    file.write_text(random_networks.FILE.format(number=number))
    told = []
    for layer in dict.fromkeys(wanted):
        out = folder / layer
        capsys.readouterr()
        random_networks.LAST = None
        target = ["render", f"{layer}:1", "--model", f"file:{file}:make", "--lanes", "1", "--threads", "1"]
        code = main([*target, "--steps", "64", "--out", str(out)])
        caught = capsys.readouterr()
        if random_networks.LAST is not None:
            assert what_it_is(random_networks.LAST) == what_it_is(random_networks.build(number))
        if code == 2:
            (line,) = [one for one in caught.err.splitlines() if one.startswith("featvis: ")]
            assert not out.exists()
            told.append(line)
            continue
        assert code == 0, caught.err
        (entry,) = json.loads((out / "manifest.json").read_text())["pictures"]
        rose = entry["status"] == "dead" or entry["score"] > entry["start_score"]
        assert ("no higher than at the start" in caught.out) != rose
        if not rose:
            # Near grey, what is normed by its own statistics changes at every turn, and an untrained network
            # knows no picture that it likes; the mean of a map that is normed over its positions is constant.
            assert is_scale_free(network), (number, layer, entry["start_score"], entry["score"])
        told.append(entry["status"] if rose else "fell")
    return told


def fine(number):
    """Whether the network runs by itself on several images, as all that is not meant to be wrong does."""
    network = random_networks.build(number)
    try:
        with torch.no_grad():
            network(torch.zeros(2, network.channels, *network.size))
    except Exception:
        return False
    return network.wrong == "no"


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("number", range(10))
def test_a_random_network(number, tmp_path, capsys):
    check(number, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("in_time")
def test_many_random_networks(number, tmp_path, capsys):
    told = check(number, tmp_path, capsys)
    if fine(number):
        assert {"ok", "dead", "fell"} & set(told), told
    torch.set_grad_enabled(True)
