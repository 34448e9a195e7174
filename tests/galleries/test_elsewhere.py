"""Galleries at an address: the bytes of a folder here, and the same commands look after them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile

import fsspec
import pytest

import featvis as fv
from featvis.cli import main
from featvis.results.mirror import CACHE
from tests.galleries.planted import section, write_config
from tests.galleries.test_config import REPOSITORY


def contents(listing):
    """What a folder holds by name; of its manifest what does not depend on the clock and the command."""
    plain = {}
    for name, content in listing.items():
        if name == "manifest.json":
            told = json.loads(content)
            told["gallery"].pop("command")
            told.pop("created")
            content = (
                told,
                [{k: v for k, v in entry.items() if k != "seconds"} for entry in told.pop("pictures")],
            )
        elif name.endswith((".html", ".js")):
            content = None  # they tell the command and the day
        plain[name] = content
    return plain


def here(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def there(files, root):
    return {name.removeprefix(f"{root}/"): files.cat_file(name) for name in files.find(root)}


def test_a_gallery_at_an_address_is_that_of_a_folder(tmp_path, monkeypatch, capsys, ascents):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    config = write_config(tmp_path, section(["conv1:6:8"]))
    assert main(["gallery", "build", str(config), "--out", str(tmp_path / "local")]) == 0
    address, files = f"memory://{tmp_path.name}/planted", fsspec.filesystem("memory")
    capsys.readouterr()
    count = len(ascents)
    assert main(["gallery", "build", str(config), "--out", address]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1:] == [f"{address}/conv1/grid.png", f"{address}/index.html"]
    assert str(tmp_path / "cache") not in said.out + said.err
    root = f"/{tmp_path.name}/planted"
    assert contents(there(files, root)) == contents(here(tmp_path / "local"))
    told = json.loads(files.cat_file(f"{root}/manifest.json"))
    assert told["gallery"]["command"].endswith(f"--out {address}")

    # Another machine: nothing is rendered again, and a status brings no picture.
    assert len(ascents) == 2 * count
    monkeypatch.setenv(CACHE, str(tmp_path / "another"))
    assert main(["gallery", "status", address]) == 0
    assert capsys.readouterr().out == f"{address}: 2 done, 0 missing, 0 dead, 0 failed, 0 stale\n"
    assert not list((tmp_path / "another").rglob("*.png"))
    result = fv.build_gallery(config, out=address)
    assert (result.rendered, result.existing, len(ascents)) == (0, 2, 2 * count)

    # The commands that look after it.
    files.rm_file(f"{root}/index.html")
    assert main(["gallery", "pages", address]) == 0
    assert files.exists(f"{root}/index.html")
    assert main(["gallery", "merge", address]) == 0
    assert main(["gallery", "export", address, "--zip", str(tmp_path / "g.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "g.zip") as packed:
        assert packed.read("planted/conv1/0006.png") == files.cat_file(f"{root}/conv1/0006.png")
    assert main(["gallery", "export", str(tmp_path / "local"), "--out", f"{address}-site"]) == 0
    assert f"{root}-site/.nojekyll" in files.find(f"{root}-site")
    assert fv.load_picture(f"{address}/conv1/0006.png").target == "conv1:6"
    capsys.readouterr()
    network = ["-m", f"file:{tmp_path}/net.py:make", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
    assert main(["reproduce", f"{address}/conv1/0006.png", *network]) in (0, 1)
    assert capsys.readouterr().out.startswith(f"{address}/conv1/0006.png: reproduced, ")

    assert main(["gallery", "build", str(config), "--out", address, "--shard", "1/2"]) == 2
    assert f"{address} takes one writer at a time" in capsys.readouterr().err
    assert main(["gallery", "status", f"{address}-none"]) == 2
    assert capsys.readouterr().err == f"featvis: {address}-none is no folder\n"
    assert not [name for name in files.find(f"/{tmp_path.name}") if "lock" in name]


def test_a_render_at_an_address(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    write_config(tmp_path, section(["conv1:6"]))
    model = fv.load_model(f"file:{tmp_path}/net.py:make", mean=(0.5,) * 3, std=(0.5,) * 3)
    address, files = f"memory://{tmp_path.name}/rendered", fsspec.filesystem("memory")
    (picture,) = fv.render(model, "conv1:6", size=16, steps=2, out=address)
    assert files.cat_file(f"/{tmp_path.name}/rendered/conv1/0006.png") == picture.png()
    monkeypatch.setenv("FEATVIS_OUT", "s3://bucket/all")
    assert main(["render", "conv1:6", "-m", "none"]) == 2
    assert "FEATVIS_OUT is a folder on this machine; give s3://bucket/all by --out" in capsys.readouterr().err


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """A server that speaks S3, in a process of its own, and a bucket."""
    pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto")
    code = (
        "from moto.server import ThreadedMotoServer; import sys; "
        "server = ThreadedMotoServer('127.0.0.1', 0); server.start(); "
        "print(server.get_host_and_port()[1], flush=True); sys.stdin.read()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines = iter(server.stdout.readline, "")
    port = next(int(line) for line in lines if line.strip().isdecimal())
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
    urllib.request.urlopen(request).close()
    yield
    server.communicate("")


SLOWLY = """
import sys, time
from featvis.cli import main
from featvis.galleries.folder import GalleryFolder

add = GalleryFolder.add
GalleryFolder.add = lambda self, picture: (time.sleep(0.4), add(self, picture))[1]
sys.exit(main(sys.argv[1:]))
"""
"""A command that takes a while for each picture, so that it is killed in the middle on any machine."""


def started(config, out, cache):
    return subprocess.Popen(
        [sys.executable, "-c", SLOWLY, "gallery", "build", str(config), "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", CACHE: str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def sent(cache):
    """How many pictures a build has sent, as its own list says."""
    logs = cache.glob("elsewhere/*/known.jsonl")
    return sum("/0" in line and ".png" in line for log in logs for line in log.read_text().splitlines())


@pytest.mark.slow
def test_a_build_to_s3_that_is_killed_is_gone_on_with_by_another_machine(tmp_path, s3, monkeypatch, capsys):
    s3fs = pytest.importorskip("s3fs")
    config = write_config(tmp_path, section(["conv1:6:14"]))
    address, root = "s3://bucket/galleries/g", "bucket/galleries/g"
    build = started(config, address, tmp_path / "first")
    until = time.monotonic() + 100
    while build.poll() is None and time.monotonic() < until and sent(tmp_path / "first") < 2:
        time.sleep(0.01)
    build.kill()
    assert build.wait() == -signal.SIGKILL

    files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    first = {name: files.info(name)["ETag"] for name in files.glob(f"{root}/conv1/0*.png")}
    assert 2 <= len(first) < 8, "killed in the middle"
    assert files.exists(f"{root}/.featvis-lock"), "held by who was killed"
    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    assert main(["gallery", "build", str(config), "--out", address]) == 0
    assert f"; {len(first)} were there already" in capsys.readouterr().out
    assert main(["gallery", "build", str(config), "--out", str(tmp_path / "local")]) == 0
    assert contents(there(files, root)) == contents(here(tmp_path / "local")), "no lock either"
    assert {name: files.info(name)["ETag"] for name in first} == first, "a finished file is left alone"
