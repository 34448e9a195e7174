"""The explorer over its socket: who is let in, what is drawn, and that changes of mind leave one job."""

from __future__ import annotations

import io
import json
import os
import shlex
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

import featvis as fv
from featvis.cli.fields import choose_recipe
from featvis.serve.asked import Asked, with_tone
from featvis.serve.board import write_command
from featvis.serve.explorer import Explorer
from tests.networks import Small, handle, seeded
from tests.serve.serving import served, until


@pytest.fixture(scope="module")
def model():
    return handle(seeded(Small), size=(16, 16), labels=("ant", "bee", "cat", "dog", "elk"))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve") / "gallery"
    (folder / "norm").mkdir(parents=True)
    (folder / "index.html").write_text("<p>mine")
    (folder / "norm/0001.png").write_bytes(png())
    (folder / "secret.pth").write_text("weights")
    (folder.parent / "outside.png").write_bytes(png())
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    return folder


@pytest.fixture(scope="module")
def ask(model, gallery):
    with served(Explorer(model.copy(), gallery=gallery)) as (asking, _):
        yield asking


def png(height=16, width=16):
    content = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(levels).save(content, "PNG")
    return content.getvalue()


def wanted(target="norm:3", **more):
    return {"network": "Small", "target": target, "recipe": "fast", "size": 16, "steps": 3, **more}


def test_it_listens_on_this_machine_only_and_the_address_has_a_token(model):
    with served(Explorer(model.copy())) as (asking, address):
        start, token = address.split("?token=")
        assert start == f"http://127.0.0.1:{asking.port}/"
        assert len(token) >= 32
        assert token == asking.token


def test_the_address_gives_a_cookie_that_no_script_reads(ask):
    answer, _ = ask("GET", f"/?token={ask.token}", headers={})
    assert (answer.status, answer.headers["location"]) == (303, "/"), "the token leaves the address"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    name = cookie.split(";")[0]
    answer, content = ask("GET", "/", headers={"Cookie": name})
    assert answer.status == 200
    assert b"<h1>" in content
    assert ask("GET", "/api/board", headers={"Cookie": name})[0].status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert ask.token.encode() not in content


REFUSED = {
    "no token": {},
    "wrong token": {"X-Featvis-Token": "x" * 32},
    "a cookie that is wrong": {"Cookie": "featvis-PORT=x"},
    "another's cookie": {"Cookie": "featvis-1=TOKEN"},
    "another origin": {"X-Featvis-Token": "TOKEN", "Origin": "http://evil.example"},
    "an origin on another port": {"X-Featvis-Token": "TOKEN", "Origin": "http://127.0.0.1:1"},
    "no origin of its own": {"X-Featvis-Token": "TOKEN", "Origin": "null"},
    "another site": {"X-Featvis-Token": "TOKEN", "Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", REFUSED)
def test_who_is_not_of_this_page_is_refused(ask, kind, method):
    told = {
        name: value.replace("PORT", str(ask.port)).replace("TOKEN", ask.token)
        for name, value in REFUSED[kind].items()
    }
    for path in ("/", "/api/board", "/api/pictures", "/assets/explorer.js", "/gallery/index.html"):
        answer, content = ask(method, path, b"{}" if method == "POST" else None, told)
        assert answer.status == 403, path
        assert len(content.decode().splitlines()) == 1
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "evil.example:PORT", "127.0.0.1.evil:PORT"])
def test_another_host_is_refused(ask, host):
    answer, content = ask("GET", "/api/board", host=host.replace("PORT", str(ask.port)))
    assert (answer.status, b"host" in content) == (403, True)
    assert ask("GET", "/api/board", host=f"localhost:{ask.port}")[0].status == 200


def test_a_cookie_alone_changes_nothing(ask):
    """A form of another page sends cookies, too, where a browser does not keep them back."""
    cookie = {"Cookie": f"featvis-{ask.port}={ask.token}"}
    assert ask("DELETE", "/api/board/x", headers=cookie)[0].status == 403
    own = {**cookie, "Origin": f"http://127.0.0.1:{ask.port}"}
    assert ask("DELETE", "/api/board/x", headers=own)[0].status == 200


def test_a_gallery_is_handed_out_and_nothing_beside_it(ask):
    assert ask("GET", "/gallery/index.html")[1] == b"<p>mine"
    assert ask("GET", "/gallery/norm/0001.png")[1] == png()
    places = ["secret.pth", "link.png", "../outside.png", "%2e%2e/outside.png", "norm/../../outside.png"]
    places += [
        "..%2foutside.png",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "norm%00.png",
        "norm",
        "a" * 5000 + ".png",
    ]
    for place in places:
        answer, content = ask("GET", f"/gallery/{place}")
        assert (answer.status, content) == (404, b"no such file\n"), place
    assert ask("GET", "/assets/../site.py")[0].status == 404
    assert ask("GET", "/assets/atlas.css")[0].status == 404


def test_layers_units_and_classes_are_told(ask, model):
    told = ask.json("GET", "/api/layers")
    assert [layer["name"] for layer in told] == [layer.name for layer in model.layers]
    by_name = {layer["name"]: layer for layer in told}
    assert (by_name["norm"]["units"], by_name["norm"]["map"], by_name["norm"]["labels"]) == (8, True, [])
    assert by_name["fc"]["labels"] == ["ant", "bee", "cat", "dog", "elk"]
    assert "unknown network" in ask.json("GET", "/api/layers?network=file:evil.py:f", status=400)["error"]


@pytest.mark.parametrize("target", ["norm:3", "fc:dog", "conv2:1@2,3"])
def test_a_picture_grows_and_is_the_one_that_render_makes(ask, model, target):
    events = ask.events(wanted(target))
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "place"
    assert kinds[-1] == "done"
    steps = [data for kind, data in events if kind == "step"]
    assert steps[0]["step"] == 1
    assert steps[0]["image"].startswith("data:image/")
    done = events[-1][1]
    (own,) = fv.render(model, target, recipe="fast", size=16, steps=3, progress=False)
    answer, content = ask("GET", f"/api/pictures/{done['id']}.png")
    assert answer.headers["content-type"] == "image/png"
    got = Image.open(io.BytesIO(content))
    assert np.array_equal(np.asarray(got), np.asarray(own.pil))
    assert json.loads(got.text["featvis"])["key"] == own.key
    assert done["score"] == own.score
    assert done["target"] == own.target
    assert done["command"] == f"featvis render {target} --recipe fast --size 16 --steps 3 --model Small"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"target": "norm:0:4"}, "one unit at a time"),
        ({"target": "norm:99"}, "99"),
        ({"target": "nrom:1"}, "norm"),
    ],
)
def test_what_the_network_has_not_is_said(ask, more, says):
    kind, data = ask.events(wanted(**more))[-1]
    assert kind == "failed"
    assert says in data["error"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"target": "norm@/etc/passwd.safetensors:0"}, "directions in files"),
        ({"target": "norm@secret.pth:0:2"}, ""),
        ({"recipe": "/etc/passwd"}, "unknown recipe"),
        ({"recipe": "dream"}, "unknown recipe"),
        ({"size": 4096}, "from 8 to 512"),
        ({"size": True}, "whole number"),
        ({"steps": 10**9}, "from 1 to 2048"),
        ({"steps": "3"}, "whole number"),
        ({"seed": -1}, "seed"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"contrast": 0.0}, "contrast is a number from 0.01 to 1, got 0.0"),
        ({"colorfulness": "0.2"}, "colorfulness is a number"),
        ({"penalties": []}, "unknown field"),
        ({"out": "/tmp/x"}, "unknown field"),
        ({"network": 3}, "text"),
        ({"target": "n" * 400}, "300 characters"),
    ],
)
def test_what_may_not_be_asked_is_refused_before_it_is_a_job(ask, more, says):
    assert says in ask.json("POST", "/api/pictures", wanted(**more), status=400)["error"]


@pytest.mark.parametrize(
    ("target", "recipe"), [("fc:dog", "portrait"), ("fc:dog", None), ("norm:3", "portrait")]
)
def test_limits_of_contrast_and_colour_are_knobs(ask, model, target, recipe, tmp_path, monkeypatch):
    """They change the picture, are told, and the command and the Python make that picture."""
    told = {"recipe": recipe, "steps": 3, "size": 16}
    plain = ask.events({"network": "Small", "target": target, **told})[-1][1]
    kind, done = ask.events({"network": "Small", "target": target, **told, "contrast": 0.02})[-1]
    assert kind == "done", done
    assert (done["asked"]["contrast"], done["asked"]["colorfulness"]) == (0.02, None)
    assert done["score"] != plain["score"]
    words = shlex.split(done["command"])
    setting = words[words.index("--set") + 1]
    chosen = choose_recipe(recipe, {"size": 16, "steps": 3}, [setting])
    (again,) = fv.render(model, target, recipe=chosen.base, progress=False, **chosen.plan_options())
    assert again.score == done["score"]
    ask.json("PUT", f"/api/board/{done['id']}")
    space, code = {}, ask("GET", "/api/board.py")[1].decode()
    ask.json("DELETE", f"/api/board/{done['id']}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fv, "load_model", lambda name: {"Small": model}[name])
    exec(compile(code, "board.py", "exec"), space)
    assert [picture.score for picture in space["pictures"]] == [done["score"]]


def test_a_limit_that_is_all_that_changes_is_a_short_command():
    tone = {"contrast": 0.1, "colorfulness": 0.05}
    penalties = with_tone(fv.Recipe.load("portrait").penalties, tone, "portrait")
    words = shlex.split(
        write_command(Asked("n", "fc:1", "portrait", changes={"penalties": penalties}, tone=tone), {})
    )
    settings = ["penalties.contrast.limit=0.1", "penalties.colorfulness.limit=0.05"]
    assert words[-4:] == ["--set", settings[0], "--set", settings[1]]
    assert list(choose_recipe("portrait", {}, settings).recipe.penalties) == penalties


def test_a_recipe_without_such_a_limit_is_said(ask):
    kind, data = ask.events(wanted(contrast=0.1))[-1]
    assert (kind, data["error"]) == (
        "failed",
        "fast has no limit of contrast; portrait and portraits have one",
    )
    told = {"network": "Small", "target": "norm:3", "colorfulness": 0.1, "steps": 1, "size": 16}
    assert "the recipe that the layer chooses has no limit" in ask.events(told)[-1][1]["error"]
    told |= {"target": "conv1:3", "recipe": "portrait"}
    assert "left out of portrait here: no BatchNorm" in ask.events(told)[-1][1]["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 60000, b"\xff", b"x" * 70000])
def test_what_is_no_request_is_refused(ask, body):
    assert ask.json("POST", "/api/pictures", body, status=400)["error"]


def test_twenty_changes_of_mind_leave_one_job(model):
    explorer = Explorer(model.copy())
    with served(explorer) as (asking, _):
        open_ones = []
        for number in range(20):
            body = wanted(f"norm:{number % 8}", steps=2048, slot="tab-1")
            open_ones.append(asking.open("POST", "/api/pictures", body))
            time.sleep(0.01)
        until(lambda: explorer.queue.count == 1)
        other = asking.open("POST", "/api/pictures", wanted(steps=2048, slot="tab-2"))
        until(lambda: explorer.queue.count == 2)
        told = [one.getresponse().read() for one in open_ones[:-1]]
        for one in open_ones[:-1]:
            one.close()
        assert all(b"event: cancelled" in one for one in told)
        assert explorer.queue.count == 2, "another tab's job is another matter"
        # The pages go: nothing is left to do.
        open_ones[-1].close()
        other.close()
        until(lambda: explorer.queue.count == 0)


def test_jobs_that_wait_know_their_place(model):
    explorer = Explorer(model.copy())
    with served(explorer) as (asking, _):
        first = asking.open("POST", "/api/pictures", wanted(steps=2048))
        until(lambda: explorer.queue.count == 1)
        told = []
        thread = threading.Thread(target=lambda: told.extend(asking.events(wanted())))
        thread.start()
        until(lambda: explorer.queue.count == 2)
        time.sleep(0.2)
        first.close()
        thread.join(30)
        assert [data["place"] for kind, data in told if kind == "place"] == [1, 0]
        assert told[-1][0] == "done"


def test_it_ends_while_a_picture_grows_and_gives_the_network_back(model):
    lent = model.copy()
    before = {name: value.requires_grad for name, value in lent.module.named_parameters()}
    explorer = Explorer(lent)
    began = time.monotonic()
    with served(explorer) as (asking, _):
        growing = asking.open("POST", "/api/pictures", wanted(steps=2048))
        until(lambda: explorer.queue.count == 1)
    assert time.monotonic() - began < 20
    assert b"cancelled" in growing.getresponse().read()
    growing.close()
    assert {name: value.requires_grad for name, value in lent.module.named_parameters()} == before
    assert not any(module._forward_hooks for module in lent.module.modules())
    assert not explorer.queue._thread.is_alive()


def test_a_photograph_is_read_and_its_places_name_units(ask, model):
    told = ask.json("POST", "/api/photographs", png(20, 24))
    assert told["image"].startswith("data:image/")
    found = ask.json("GET", f"/api/photographs/{told['id']}?layer=norm")
    assert len(found["places"]) == found["rows"] * found["columns"]
    assert all(len(place) == 8 for place in found["places"])
    above = [unit["above"] for unit in found["places"][0]]
    assert above == sorted(above, reverse=True)
    assert (told["height"], told["width"]) == (16, 19)
    assert "no map" in ask.json("GET", f"/api/photographs/{told['id']}?layer=fc", status=400)["error"]
    assert ask.json("GET", f"/api/photographs/{told['id']}?layer=nrom", status=400)["error"]
    assert "remembered" in ask.json("GET", "/api/photographs/x?layer=norm", status=400)["error"]


def large_png(height, width):
    """The head of an image of so many pixels; nobody should read on."""
    content = io.BytesIO()
    Image.new("1", (width, height)).save(content, "PNG", compress_level=9)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "image"), (b"GIF89a", "image"), (b"<svg/>", "image"), (b"\x89PNG\r\n\x1a\n" + b"x" * 99, "image")],
)
def test_what_is_no_photograph_is_refused_without_its_path(ask, content, says):
    told = ask.json("POST", "/api/photographs", content, status=400)["error"]
    assert says in told
    assert "/tmp" not in told


def test_a_photograph_of_a_hundred_megapixels_is_refused_before_it_is_decoded(ask, monkeypatch):
    def load(*_):
        raise AssertionError("it was decoded")

    content = large_png(10_000, 10_000)
    assert len(content) < 1 << 20
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert "too many" in ask.json("POST", "/api/photographs", content, status=400)["error"]


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(ask):
    sent = {"X-Featvis-Token": ask.token, "Content-Length": str(1 << 40)}
    answer, content = ask("POST", "/api/photographs", b"", sent)
    assert answer.status == 400
    assert b"at most 20 MB" in content


def test_a_hostile_file_name_is_not_looked_at(ask, tmp_path):
    before = set(os.listdir("/tmp"))
    sent = {"X-Featvis-Token": ask.token, "Content-Disposition": 'attachment; filename="../../tmp/evil.png"'}
    answer, content = ask("POST", "/api/photographs?name=../../tmp/evil.png", png(), sent)
    assert answer.status == 200
    assert b"evil" not in content
    assert not [name for name in set(os.listdir("/tmp")) - before if "evil" in name]


def test_the_board_is_packed_as_a_gallery_and_written_as_python(ask, model, tmp_path, monkeypatch):
    done = [ask.events(wanted(target))[-1][1] for target in ("norm:5", "fc:bee")]
    for one in done:
        told = ask.json("PUT", f"/api/board/{one['id']}")
    assert [one["target"] for one in told] == ["norm:5", "fc:1"]
    assert "draw it again" in ask.json("PUT", "/api/board/nothing", status=400)["error"]
    answer, content = ask("GET", "/api/board.zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="featvis-board.zip"'
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert all(name.startswith("featvis-board/") and ".." not in name for name in names)
        assert {"featvis-board/index.html", "featvis-board/norm/0005.html"} <= set(names)
        manifest = json.loads(archive.read("featvis-board/manifest.json"))
        assert (
            archive.read("featvis-board/norm/0005.png") == ask("GET", f"/api/pictures/{done[0]['id']}.png")[1]
        )
    assert {one["target"] for one in manifest["pictures"]} == {"norm:5", "fc:1"}
    code = ask("GET", "/api/board.py")[1].decode()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fv, "load_model", lambda name: {"Small": model}[name])
    space = {}
    exec(compile(code, "board.py", "exec"), space)
    assert [picture.score for picture in space["pictures"]] == [one["score"] for one in done]
    assert (tmp_path / "board.png").is_file()
    for one in done:
        told = ask.json("DELETE", f"/api/board/{one['id']}")
    assert told == []
    assert "nothing is pinned" in ask.json("GET", "/api/board.zip", status=400)["error"]
