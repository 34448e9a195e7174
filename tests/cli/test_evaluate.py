"""featvis evaluate on the command line: what it prints, what it writes, and what it refuses at once."""

import json

import pytest
from safetensors.torch import save_file

import featvis as fv
from featvis.cli import main
from featvis.galleries.request import find_request
from featvis.models.sources.embedded import Embedded
from featvis.trust.panel import panel_of
from tests.trust.planted import FAST, colors
from tests.trust.quizzes import write_photos
from tests.without_torch import answers

NETWORK = """
from tests.networks import Small, seeded
from tests.trust.planted import COLORS, Eye, colors

TOLD = {"mean": (0,) * 3, "std": (1,) * 3, "input_size": (12, 16), "labels": tuple(COLORS)}

def climbed():
    return colors().module, TOLD

def asked():
    return Eye(), TOLD

def norms():
    return seeded(Small), {**TOLD, "labels": ()}

def knows_none():
    return Eye(), {**TOLD, "labels": ()}
"""


@pytest.fixture
def networks(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORK)
    return f"file:{tmp_path / 'networks.py'}"


@pytest.fixture
def folder(tmp_path, networks):
    fv.render(fv.load_model(f"{networks}:climbed"), "0:all", out=tmp_path / "out", **FAST)
    return tmp_path / "out"


def test_it_prints_a_summary_and_the_verdicts_and_writes_them(folder, networks, capsys):
    judges = ["--judge", f"{networks}:asked", "--judge", f"{networks}:knows_none"]
    assert main(["evaluate", str(folder), "--model", f"{networks}:climbed", *judges]) == 0
    told = capsys.readouterr()
    assert f"{networks}:asked: 4 classes, first 100.0% (51.0% to 100.0%)" in told.out
    assert "asked for other pictures' classes: first 0.0%" in told.out
    assert f"{networks}:knows_none names no class that these are pictures of" in told.out
    assert "the set of 4 pictures beside photographs:" in told.out
    assert "  saturation      mean 0." in told.out
    assert "standard deviations above noise" in told.out
    assert "4 pictures: recognized by 1 of 1 judge" in told.out
    assert told.err.count("running the code of") == 3
    written = json.loads((folder / "evaluation.json").read_text())
    assert sum(one["verdicts"] != [] for one in written["pictures"]) == 4


def test_json_is_all_that_stdout_has_and_batch_is_what_stands_together(folder, networks, capsys):
    arguments = ["--judge", f"{networks}:norms", "--batch", "3", "--json", "--model", f"{networks}:climbed"]
    assert main(["evaluate", str(folder), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["judges"]) == [f"{networks}:norms"]
    assert told["judges"][f"{networks}:norms"]["naturalness"]["batch"] == 3
    assert told == json.loads((folder / "evaluation.json").read_text())


def test_judges_are_by_default_the_embedded_ones_but_for_the_network_itself(monkeypatch):
    monkeypatch.setattr("featvis.trust.panel.load_model", lambda name: name)
    own = colors()
    own.name = "efficientnet_lite1"
    installed = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    monkeypatch.setattr(Embedded, "has_weights", lambda self, name: name in installed)
    assert panel_of(None, own) == ["efficientnet_lite0", "efficientnet_lite2"]
    installed.append("squeezenet1_1")
    assert panel_of(None, own)[-1] == "squeezenet1_1", "of another family"
    installed[:] = ["efficientnet_lite2"]
    assert panel_of(None, own) == ["efficientnet_lite2"]


def test_mistakes_are_one_line_and_load_no_torch(tmp_path):
    mistakes = {
        ("--batch", "0"): "--batch is at least 1",
        ("--judge", "no such thing"): "is no network's name",
        ("--examples", "/nowhere/at/all"): "no folder of photographs",
        (): "no folder",
    }
    typed = [["evaluate", str(tmp_path if more else tmp_path / "nowhere"), *more] for more in mistakes]
    for answer, words in zip(answers(typed), mistakes.values(), strict=True):
        assert "torch" not in answer.heavy, words
        assert answer.code == 2, words
        assert words in answer.err
        assert len(answer.err.strip().splitlines()) == 1


def test_an_empty_folder_code_and_another_network_are_told(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", str(tmp_path / "empty")]) == 2
    assert "holds no pictures" in capsys.readouterr().err
    write_photos(tmp_path / "plain", 2)
    assert main(["evaluate", str(tmp_path / "plain")]) == 2
    assert f"featvis compare {tmp_path / 'plain'} OTHER" in capsys.readouterr().err
    assert main(["evaluate", str(folder)]) == 2
    assert "to have that loaded" in capsys.readouterr().err
    assert main(["evaluate", str(folder), "--model", "efficientnet_lite0"]) == 2
    assert "give the network (--model)" in capsys.readouterr().err
    assert not (folder / "evaluation.json").exists()


def test_a_gallerys_network_has_its_configs_weights_and_preprocessing(tmp_path, monkeypatch, capsys):
    """As its build loaded it: nothing is asked again that its config says; unless that has changed since."""
    monkeypatch.chdir(tmp_path)
    other = fv.load_model("timm:test_resnet", weights="none", input_size=48)
    save_file({name: row.contiguous() for name, row in other.module.state_dict().items()}, "w.safetensors")
    config = tmp_path / "configs" / "some.toml"
    config.parent.mkdir()
    config.write_text(
        'model = "timm:test_resnet"\nweights = "../w.safetensors"\ninput_size = 48\nmean = [0.4, 0.5, 0.6]\n'
        'recipe = { size = 48, steps = 2, lanes = 1 }\n[[sections]]\ntargets = ["layer1:0:2"]\n'
    )
    assert main(["gallery", "build", "configs/some.toml", "--out", "there"]) == 0
    assert main(["evaluate", "there", "--judge", "efficientnet_lite0"]) == 0
    assert "its score is not the one it claims" not in capsys.readouterr().out
    found = fv.evaluate("there", judges=[])
    assert [abs(one["score"] - one["claimed"]) < 1e-3 for one in found["pictures"]] == [True, True]
    there = tmp_path / "there"
    manifest = json.loads((there / "manifest.json").read_text())
    damaged = {"gallery": {"command": manifest["gallery"]["command"] + " 'damaged"}}
    assert find_request(there, manifest) is not None
    assert find_request(there, damaged) is None
    config.write_text(config.read_text().replace("0.4", "0.45"))
    assert find_request(there, manifest) is None
