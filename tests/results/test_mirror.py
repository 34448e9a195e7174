"""A folder here that is kept like one elsewhere: brought, sent, and gone on with after anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featvis.errors import OutputError
from featvis.files import write_whole
from featvis.results import mirror
from featvis.results.elsewhere import Elsewhere
from featvis.results.mirror import CACHE, Mirror, address_of, is_there, mirrored, takes_addresses, told_of


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The folder elsewhere, on this disk, and this machine's own folder for what it brings."""
    monkeypatch.setenv(CACHE, str(tmp_path / "first"))
    monkeypatch.setattr(mirror, "TICK", 0.02)
    monkeypatch.setattr(mirror, "AGAIN", (0.02,))
    return tmp_path / "there"


@pytest.fixture
def use_another(tmp_path, monkeypatch):
    return lambda: monkeypatch.setenv(CACHE, str(tmp_path / "second"))


def address(there):
    return f"file://{there}"


def files(folder):
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_what_is_written_is_there_and_brought_to_another_machine(there, use_another):
    with mirrored(address(there), writes=True) as here:
        for name in ("conv/0001.png", "index.html", "manifest.json"):
            write_whole(here / name, name.encode())
        (here / "grid.png").write_bytes(b"by something else than write_whole")
        (here / ".hidden.png").write_bytes(b"")
        (here / "strange.bin").write_bytes(b"")
    assert sorted(files(there)) == ["conv/0001.png", "grid.png", "index.html", "manifest.json"]
    use_another()
    with mirrored(address(there), writes=False) as other:
        assert other != here
        assert files(other) == files(there)


def test_files_are_sent_while_the_command_goes_on(there):
    with mirrored(address(there), writes=True) as here:
        write_whole(here / "0001.png", b"picture")
        for _ in range(500):
            if (there / "0001.png").exists():
                break
            mirror.time.sleep(0.01)
        assert (there / "0001.png").read_bytes() == b"picture"


def test_pages_come_after_pictures_and_the_manifest_last(there, monkeypatch):
    order, put = [], Elsewhere.put

    def noted(self, name, content):
        order.append(name)
        return put(self, name, content)

    monkeypatch.setattr(mirror, "TICK", 60.0)
    monkeypatch.setattr(Elsewhere, "put", noted)
    with mirrored(address(there), writes=True) as here:
        for name in ("manifest.json", "index.html", "0001.png", "site/pages.json", "0002.png"):
            write_whole(here / name, b"")
    assert sorted(order[:2]) == ["0001.png", "0002.png"]
    assert order[2:] == ["index.html", "site/pages.json", "manifest.json"]


def test_only_what_is_another_is_brought(there, monkeypatch):
    there.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (there / name).write_bytes(name.encode())
    with mirrored(address(there), writes=False) as here:
        assert len(files(here)) == 3
    (there / "a.png").write_bytes(b"another, and longer")
    (there / "b.png").unlink()
    (here / "c.png").unlink()
    brought, read = [], Elsewhere.read
    monkeypatch.setattr(Elsewhere, "read", lambda self, name: brought.append(name) or read(self, name))
    with mirrored(address(there), writes=False) as here:
        assert files(here) == files(there)
    assert sorted(brought) == ["a.png", "c.png"]


def test_what_a_command_removes_is_removed_there_but_not_where_it_fails(there):
    with mirrored(address(there), writes=True) as here:
        for name in ("a.png", "b.png"):
            write_whole(here / name, b"")

    def fail():
        with mirrored(address(there), writes=True) as here:
            (here / "a.png").unlink()
            write_whole(here / "c.png", b"")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sorted(files(there)) == ["a.png", "b.png", "c.png"]
    with mirrored(address(there), writes=True) as here:
        assert sorted(files(here)) == ["a.png", "b.png", "c.png"]
        (here / "a.png").unlink()
    assert sorted(files(there)) == ["b.png", "c.png"]


def write_folder(here):
    for name in ("conv/0001.png", "conv/0002.png", "conv/0001.html"):
        write_whole(here / name, b"")
    write_whole(here / "manifest.json", b'{"pictures": [{"file": "conv/0001.png"}]}')


def test_what_somebody_takes_out_of_the_cache_stays_there(there):
    """Meanwhile: of files that are gone here a manifest tells which are wanted."""
    with mirrored(address(there), writes=True) as here:
        write_folder(here)
    before = files(there)
    with mirrored(address(there), writes=True) as here:
        for name in ("conv/0001.png", "conv/0001.html"):
            (here / name).unlink()
    assert sorted(before.keys() - files(there).keys()) == ["conv/0001.html"], "a page is made anew"
    with mirrored(address(there), writes=True) as here:
        assert (here / "conv/0001.png").exists(), "it is brought again"
        for path in here.rglob("*.*"):
            path.unlink()
    assert files(there).keys() == before.keys() - {"conv/0001.html"}


def test_a_kill_loses_nothing(there):
    """What was not sent is sent by the next command; where nothing is known, what is there is right."""
    killed = Mirror(address(there), writes=True)
    killed.open()
    write_whole(killed.folder / "a.png", b"sent")
    killed._send(killed._changed())
    (killed.folder / "b.png").write_bytes(b"not sent")
    (killed.folder / "a.png").write_bytes(b"made anew, not sent")
    log = killed._own / "known.jsonl"
    log.write_text(log.read_text() + '{"name": "torn')
    mirror._open.remove(killed)
    killed._ended.set()
    killed._thread.join()
    killed._let_go()
    with mirrored(address(there), writes=True):
        pass
    assert files(there) == {"a.png": b"made anew, not sent", "b.png": b"not sent"}
    log.unlink()
    (killed.folder / "a.png").write_bytes(b"of nobody knows when")
    with mirrored(address(there), writes=True) as here:
        assert files(here) == {"a.png": b"made anew, not sent", "b.png": b"not sent"}
    assert files(there) == files(here)


def test_what_cannot_be_sent_is_an_error_of_the_next_writing_and_sent_by_the_next_command(there, monkeypatch):
    put = Elsewhere.put

    def fail(self, name, content):
        if name == "0002.png":
            raise OutputError(f"cannot write {self.told}/{name}: the network is gone")
        return put(self, name, content)

    monkeypatch.setattr(Elsewhere, "put", fail)
    written = []

    def write():
        with mirrored(address(there), writes=True) as here:
            for count in range(1, 500):
                written.append(here / f"{count:04}.png")
                write_whole(written[-1], b"picture")
                mirror.time.sleep(0.01)

    with pytest.raises(OutputError, match=r"^cannot write file://.*/0002.png: the network is gone$"):
        write()
    assert len(written) < 499, "the command is ended soon"
    assert "0002.png" not in files(there)
    monkeypatch.setattr(Elsewhere, "put", put)
    with mirrored(address(there), writes=True) as here:
        pass
    assert files(there) == files(here)
    assert len(files(here)) == len(written)


def test_what_fails_once_is_sent_again(there, monkeypatch):
    put, tries = Elsewhere.put, []

    def fail_once(self, name, content):
        tries.append(name)
        if tries == ["a.png"]:
            raise OutputError("the network is gone")
        return put(self, name, content)

    monkeypatch.setattr(Elsewhere, "put", fail_once)
    with mirrored(address(there), writes=True) as here:
        write_whole(here / "a.png", b"a")
    assert (tries, files(there)) == (["a.png", "a.png"], {"a.png": b"a"})


def test_an_error_at_the_end_is_told(there, monkeypatch):
    monkeypatch.setattr(mirror, "TICK", 60.0)

    def fail(self, name, content):
        raise OutputError("cannot write it")

    monkeypatch.setattr(Elsewhere, "put", fail)
    with (
        pytest.raises(OutputError, match="cannot write it"),
        mirrored(address(there), writes=True) as here,
    ):
        write_whole(here / "a.png", b"")
    assert files(there) == {}, "it is not held any more, either"


def test_one_writes_while_others_look(there, use_another):
    with mirrored(address(there), writes=True) as here:
        write_whole(here / "a.png", b"a")
        with pytest.raises(OutputError, match="another command on this machine is writing to file://"):
            mirrored(address(there), writes=True).__enter__()
        with mirrored(address(there), writes=False) as seen:
            assert (seen / "a.png").read_bytes() == b"a", "as its writer has it"
        use_another()
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing to file://"):
            mirrored(address(there), writes=True).__enter__()
    with mirrored(address(there), writes=True) as here:
        assert sorted(files(here)) == ["a.png"]


def test_who_only_reads_writes_nothing(there):
    with (
        pytest.raises(OutputError, match="is only read by this command"),
        mirrored(address(there), writes=False) as here,
    ):
        write_whole(here / "a.png", b"")
    assert not there.exists()


def test_a_part_is_enough_and_the_rest_is_known_to_be_there(there):
    there.joinpath("conv").mkdir(parents=True)
    for name in ("manifest.json", "conv/0001.png"):
        (there / name).write_bytes(b"{}")
    with mirrored(address(there), writes=False, only=("manifest.json",)) as here:
        assert list(files(here)) == ["manifest.json"]
        assert is_there(here / "conv/0001.png")
        assert not is_there(here / "conv/0002.png")
        assert (address_of(here), told_of(here)) == (address(there),) * 2
    assert address_of(here) is None
    (there / "manifest.json").unlink()
    with mirrored(address(there), writes=False, only=("manifest.json",)) as here:
        assert list(files(here)) == ["conv/0001.png"], "of which a manifest can be made"


def test_a_function_gets_a_path_here_and_its_errors_name_the_address(there):
    @takes_addresses("out", writes=True)
    def write(name, out=None):
        write_whole(Path(out) / name, b"content")
        if name == "bad.png":
            raise OutputError(f"no good in {out}")
        return out

    assert write("a.png", str(there.parent / "local")) == str(there.parent / "local")
    write("a.png", out=address(there))
    with pytest.raises(OutputError, match=f"^no good in {address(there)}$"):
        write("bad.png", address(there))
    assert sorted(files(there)) == ["a.png", "bad.png"]
    with pytest.raises(OutputError, match="s3:// was made a Path, which drops a slash; give it as text"):
        write("a.png", Path("s3://bucket/path"))


def test_a_file_alone_is_brought(there):
    there.mkdir()
    for name in ("a.png", "b.png"):
        (there / name).write_bytes(name.encode())
    with mirrored(f"{address(there)}/a.png", writes=False) as here:
        assert here.read_bytes() == b"a.png"
        assert list(files(here.parent)) == ["a.png"]
