"""Statistics of a folder against formulas written out, and what image spaces make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import featvis as fv
from featvis.images.statistics import root_of
from featvis.spec import register
from tests.networks import small

SIZE = (17, 24)
COLOURS = np.array([[1.0, 0.2, 0.1], [0.7, -0.4, 0.2], [0.9, 0.3, -0.6]])
"""Of the planted sources; not orthogonal, not ours."""


def planted(seed, size=SIZE):
    """Independent smooth sources of unlike variance, mixed by COLOURS, around a mean of its own."""
    chance = np.random.default_rng(seed)
    sources = chance.standard_normal((3, *size))
    for _ in range(2):
        sources = (sources + np.roll(sources, 1, 1) + np.roll(sources, 1, 2)) / 3
    image = np.einsum("ij,jhw->ihw", COLOURS, sources) * 0.15 + chance.uniform(0.4, 0.6, (3, 1, 1))
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "photos"
    for number in range(6):
        there = place / ["cats", "dogs"][number % 2]
        there.mkdir(parents=True, exist_ok=True)
        Image.fromarray(planted(number).transpose(1, 2, 0)).save(there / f"{number}.png")
    (place / "notes.txt").write_text("none")
    return place


def slow_covariance(images):
    """Entry by entry, pixel by pixel."""
    channels = len(images[0])
    total = np.zeros((channels, channels))
    for image in images:
        for one in range(channels):
            for other in range(channels):
                products = [
                    (a - image[one].mean()) * (b - image[other].mean())
                    for a, b in zip(image[one].flat, image[other].flat, strict=True)
                ]
                total[one, other] += np.mean(products)
    return total / len(images)


def slow_magnitudes(images, root):
    """By the definition of the discrete Fourier transform: two products with matrices of waves."""
    height, width = images[0].shape[1:]
    rows = np.exp(-2j * np.pi * np.outer(np.arange(height), np.arange(height)) / height)
    columns = np.exp(-2j * np.pi * np.outer(np.arange(width), np.arange(width // 2 + 1)) / width)
    total = 0
    for image in images:
        raw = np.linalg.solve(root, image.reshape(len(image), -1)).reshape(image.shape)
        total = total + np.abs(rows @ raw @ columns) / np.sqrt(height * width)
    return total / len(images)


def test_they_are_the_written_out_formulas(folder):
    images = [planted(number) / 255 for number in range(6)]
    found = fv.image_statistics(folder, size=SIZE)
    covariance = slow_covariance(images)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
    np.testing.assert_allclose(found.mean, np.mean(images, (0, 2, 3)), rtol=1e-9)
    assert (found.images, found.skipped, found.channels, found.size) == (6, 1, 3, SIZE)
    root = found.color_matrix
    ratio = (root @ root.T) / covariance
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert np.linalg.norm(root, axis=0).max() == pytest.approx(1)
    np.testing.assert_allclose(found.magnitudes, slow_magnitudes(images, root), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_arrays_of_any_number_of_channels(channels, tmp_path):
    chance = np.random.default_rng(0)
    spread = 0.1 * np.arange(1, channels + 1)[:, None, None] / channels
    images = [0.5 + chance.uniform(-1, 1, (channels, *SIZE)) * spread for _ in range(5)]
    for number, image in enumerate(images):
        np.save(tmp_path / f"{number}.npy", image)
    np.save(tmp_path / "other.npy", np.zeros((channels + 1, *SIZE)))
    np.save(tmp_path / "beyond.npy", np.full((channels, *SIZE), 1.5))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "whole.npy", (images[0] * 255).round().astype(np.uint8))
    found = fv.image_statistics(tmp_path, size=SIZE, channels=channels)
    images.append((images[0] * 255).round() / 255)
    np.testing.assert_allclose(found.covariance, slow_covariance(images), atol=1e-8)
    assert (found.images, found.skipped) == (6, 3)
    decorrelated = np.einsum("ij,njhw->nihw", np.linalg.inv(found.color_matrix), np.array(images))
    decorrelated -= decorrelated.mean((2, 3), keepdims=True)
    inside = np.einsum("nihw,njhw->ij", decorrelated, decorrelated)
    np.testing.assert_allclose(inside / inside[0, 0], np.eye(channels), atol=1e-6)


def test_images_in_memory_are_measured_as_the_same_in_files(tmp_path):
    images = [
        torch.rand((3, 20 + number, 30), generator=torch.Generator().manual_seed(number))
        for number in range(3)
    ]
    (tmp_path / "files").mkdir()
    for number, image in enumerate(images):
        np.save(tmp_path / "files" / f"{number}.npy", image.numpy())
    there = fv.image_statistics(tmp_path / "files", size=SIZE)
    here = fv.image_statistics([images[0], images[1].numpy(), images[2]], size=SIZE, out=tmp_path / "kept")
    for name in ("covariance", "mean", "magnitudes"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
    assert (here.images, here.skipped) == (3, 0)
    before = (tmp_path / "kept").stat().st_mtime_ns
    fv.image_statistics(images, size=SIZE, out=tmp_path / "kept")
    assert (tmp_path / "kept").stat().st_mtime_ns == before
    assert fv.image_statistics(images[:2], size=SIZE, out=tmp_path / "kept").images == 2


@pytest.mark.parametrize("mixed", [False, True], ids=["independent", "mixed"])
def test_t10_white_noise_has_a_flat_spectrum_and_independent_channels_a_diagonal(mixed, tmp_path):
    chance = np.random.default_rng(1)
    size, strengths = (12, 16), np.array([0.1, 0.05, 0.02])
    mix = COLOURS * 0.05 if mixed else np.diag(strengths)
    for number in range(100):
        noise = np.einsum("ij,jhw->ihw", mix, chance.standard_normal((3, *size)))
        np.save(tmp_path / f"{number}.npy", (0.5 + noise).clip(0, 1))
    found = fv.image_statistics(tmp_path, size=size)
    np.testing.assert_allclose(found.covariance, mix @ mix.T, atol=0.03 * (mix @ mix.T).max())
    if not mixed:
        expected = np.diag(strengths / strengths.max())  # normalized: the largest column has length 1
        np.testing.assert_allclose(found.color_matrix, expected, atol=0.02)
    # In the decorrelated channels, the space that phases take it to: flat, and alike for all of them.
    power = found.magnitudes.reshape(3, -1)[:, 1:]
    np.testing.assert_allclose(power.mean(1) / power.mean(), 1, atol=0.03)
    low, high = found.magnitudes[:, :3, 1:3].mean(), found.magnitudes[:, 5:8, 5:].mean()
    assert low / high == pytest.approx(1, abs=0.06)


def test_a_root_takes_unlike_variances_and_channels_that_do_not_vary():
    # Where channels were shuffled into pixels, 25:1:1 came out as three alike.
    root = root_of(np.diag([25.0, 1, 1]))
    np.testing.assert_allclose(root @ root.T, np.diag([1, 0.04, 0.04]), atol=1e-9)
    assert np.isfinite(root_of(np.zeros((3, 3)))).all()
    published = np.array([[0.26, 0.09, 0.02], [0.27, 0, -0.05], [0.27, -0.09, 0.03]])
    lucid = published / np.linalg.norm(published, axis=0).max()
    found = root_of(published @ published.T)
    np.testing.assert_allclose(np.abs(found), np.abs(lucid), atol=0.02)


def test_photographs_of_other_shapes_are_cut_and_resized(tmp_path):
    for number, size in enumerate([(40, 24), (17, 60), (90, 90)]):
        Image.fromarray(planted(number, size).transpose(1, 2, 0)).save(tmp_path / f"{number}.png")
    found = fv.image_statistics(tmp_path, size=SIZE)
    images = []
    for number, (height, width) in enumerate([(40, 24), (17, 60), (90, 90)]):
        photo = Image.fromarray(planted(number, (height, width)).transpose(1, 2, 0))
        scale = max(17 / height, 24 / width)
        tall, wide = 17 / scale, 24 / scale
        left, top = (width - wide) / 2, (height - tall) / 2
        cut = photo.resize((24, 17), Image.Resampling.BICUBIC, box=(left, top, left + wide, top + tall))
        images.append(np.asarray(cut).transpose(2, 0, 1) / 255)
    np.testing.assert_allclose(found.covariance, slow_covariance(images), rtol=1e-9)
    assert found.magnitudes.shape == (3, 17, 13)


def test_one_call_is_cached_until_the_folder_changes(folder, tmp_path, monkeypatch):
    out = tmp_path / "mine.safetensors"
    heard = []
    first = fv.image_statistics(folder, size=SIZE, out=out, say=heard.append)
    assert heard
    assert heard[-1] == "6 images, 1 files skipped"
    content = out.read_bytes()
    assert len(content) < 3 * 17 * 13 * 4 + 1000, "small"
    with monkeypatch.context() as patch:
        patch.setattr("featvis.photographs.statistics._measure", None)  # a second pass would call it
        again = fv.image_statistics(folder, size=SIZE, out=out)
    np.testing.assert_array_equal(again.covariance, first.covariance)
    np.testing.assert_allclose(again.magnitudes, first.magnitudes, rtol=1e-6)
    assert fv.load_statistics(out).size == SIZE
    assert fv.image_statistics(folder, size=(8, 9), out=out).size == (8, 9), "another size is measured anew"
    fv.image_statistics(folder, size=SIZE, out=out)
    assert out.read_bytes() == content, "the same photographs, the same bytes"
    (folder / "cats" / "0.png").unlink()
    assert fv.image_statistics(folder, size=SIZE, out=out).images == 5


def test_mistakes_are_told(folder, tmp_path):
    (tmp_path / "text").write_text("precious")
    (tmp_path / "bare").mkdir()
    for given, says in [
        ({"folder": tmp_path / "none"}, "does not exist"),
        ({"folder": tmp_path / "bare"}, "no image of 3 channels"),
        ({"folder": folder, "channels": 5}, "no image of 5 channels"),
        ({"folder": folder, "size": 0}, "at least 1"),
        ({"folder": []}, "the list of images holds no image of 3 channels"),
        ({"folder": [torch.rand(4, 5)]}, r"an image is \(3, H, W\), got shape \(4, 5\)"),
        ({"folder": [torch.full((3, 4, 5), 255.0)]}, r"values lie in \[0, 1\]"),
        ({"folder": ["a.png"]}, "no image 'a.png'"),
        ({"folder": folder, "out": folder / "a.safetensors"}, "outside"),
        ({"folder": folder, "out": tmp_path / "text"}, "not written over"),
    ]:
        with pytest.raises(fv.UserError, match=says) as caught:
            fv.image_statistics(**given)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "text").read_text() == "precious"


@pytest.fixture
def measured(folder, tmp_path):
    path = tmp_path / "mine.safetensors"
    fv.image_statistics(folder, size=SIZE, out=path)
    return path


@pytest.mark.parametrize("name", ["fourier", "pixel"])
def test_an_image_spaces_colours_are_the_folders(name, measured):
    matrix = torch.tensor(fv.load_statistics(measured).color_matrix).float()
    spec = {"name": name, "statistics": str(measured)}
    space = register.make("images", fv.Recipe(space=spec).space, size=SIZE)
    plain = register.make("images", {"name": name, "decorrelate": False}, size=SIZE)
    drawn = {key: value[None] * 30 for key, value in space.draw(torch.Generator().manual_seed(0)).items()}
    mixed = torch.einsum("ij,bjhw->bihw", matrix, torch.logit(plain.decode(drawn)))
    torch.testing.assert_close(torch.logit(space.decode(drawn)), mixed, atol=1e-4, rtol=1e-4)
    image = torch.rand((3, *SIZE), generator=torch.Generator().manual_seed(1))
    back = space.decode({key: value[None] for key, value in space.fit(image).items()})[0]
    assert float((back - image).abs().max()) < 0.5 / 255


def test_phases_take_the_folders_magnitudes(measured):
    found = fv.load_statistics(measured)
    space = register.make("images", fv.Recipe(space={"name": "phase", "statistics": str(measured)}).space)
    space = space.resized(SIZE)
    drawn = {"phases": space.draw(torch.Generator().manual_seed(0))["phases"][None]}
    raw = torch.logit(space.decode(drawn)[0].double())
    raw = torch.linalg.solve(torch.tensor(found.color_matrix), raw.flatten(1)).view_as(raw)
    seen = torch.fft.rfft2(raw, norm="ortho").abs().numpy()
    alone = np.zeros((17, 13), dtype=bool)
    alone[0, [0, 12]] = True
    expected = np.where(alone, 0, found.magnitudes)
    twice = np.full(13, 2.0)
    twice[[0, 12]] = 1
    expected = expected * np.sqrt(3 * 17 * 24 / (expected**2 * twice).sum())
    np.testing.assert_allclose(seen, expected, atol=1e-4 * expected.max(), rtol=1e-4)
    assert float(raw.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_what_the_file_holds_is_part_of_the_key_and_where_it_lies_is_not(measured, tmp_path, folder):
    def key(recipe):
        return recipe.key("a:1", 0, "w")

    spec = {"name": "pixel", "statistics": str(measured)}
    recipe = fv.Recipe(space=spec)
    assert fv.Recipe(**recipe.to_json()) == recipe
    assert key(recipe) != key(fv.Recipe(space="pixel"))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(measured.read_bytes())
    assert key(fv.Recipe(space={**spec, "statistics": str(moved)})) == key(recipe)
    (folder / "cats" / "0.png").unlink()
    fv.image_statistics(folder, size=SIZE, out=measured)
    assert key(fv.Recipe(space=spec)) != key(recipe)
    with pytest.raises(fv.RecipeError, match="other statistics than those the recipe was made with"):
        fv.Recipe(**recipe.to_json())
    assert "statistics" not in fv.Recipe(space="pixel").space, "recipes without them keep their keys"


def test_a_render_with_them_and_again_from_its_picture(measured, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(f"size = [17, 24]\nsteps = 3\n[space]\nname = 'phase'\nstatistics = '{measured.name}'\n")
    (picture,) = fv.render(small(), "norm:1", recipe=str(file), lanes=1, out=tmp_path / "out")
    saved = next((tmp_path / "out").rglob("0001.png"))
    with pytest.raises(fv.RecipeError, match=r"asks for .*mine\.safetensors.*outside.*unbounded=True allows"):
        fv.reproduce(saved, small())
    again = fv.reproduce(saved, small(), unbounded=True)
    assert (again.levels == picture.levels).all()
    measured.unlink()
    with pytest.raises(fv.UserError, match=r"mine\.safetensors.*cannot be read"):
        fv.reproduce(saved, small(), unbounded=True)


def test_a_picture_finds_them_in_its_own_folder(measured, tmp_path):
    (tmp_path / "out").mkdir()
    inside = measured.rename(tmp_path / "out" / measured.name)
    space = {"name": "phase", "statistics": str(inside)}
    options = {"size": (17, 24), "steps": 3, "lanes": 1, "out": tmp_path / "out"}
    (picture,) = fv.render(small(), "norm:1", space=space, **options)
    again = fv.reproduce(tmp_path / "out" / "norm" / "0001.png", small())
    assert again.png() == picture.png()
    # A link does not bring what lies elsewhere inside.
    inside.rename(tmp_path / "elsewhere")
    inside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(fv.RecipeError, match="outside"):
        fv.reproduce(tmp_path / "out" / "norm" / "0001.png", small())


def test_wrong_statistics_are_refused_before_any_compute(measured, tmp_path):
    (tmp_path / "text").write_text("none")
    pixel = {"name": "pixel", "statistics": str(measured)}
    for space, channels, says in [
        ({**pixel, "statistics": str(tmp_path / "text")}, 3, "no image statistics"),
        ({**pixel, "statistics": str(tmp_path / "gone")}, 3, "cannot be read"),
        ({**pixel, "decorrelate": False}, 3, "decorrelate off"),
        (pixel, 4, "3 channels, these images have 4"),
        ({**pixel, "name": "phase"}, 3, "measured at 17x24"),
    ]:
        with pytest.raises(fv.UserError, match=says) as caught:
            fv.render(small(channels), "norm:1", size=(20, 24), space=space, steps=1)
        assert "\n" not in str(caught.value)


def test_a_gallerys_config_finds_them_beside_itself(measured):
    from featvis.galleries.config import load_gallery

    config = measured.parent / "gallery.toml"
    space = f"{{name = 'pixel', statistics = '{measured.name}'}}"
    sections = f"[[sections]]\ntargets = ['blocks.3:0']\n[sections.recipe]\nspace = {space}\n"
    config.write_text(f"[recipe]\nspace = {space}\n{sections}")
    gallery = load_gallery(config)
    base, changes = gallery.recipe_of(gallery.sections[0])
    assert base is None
    expected = fv.Recipe(space={"name": "pixel", "statistics": str(measured)})
    assert fv.Recipe(space=changes["space"]) == expected
    measured.unlink()
    with pytest.raises(fv.UserError, match="cannot be read"):
        load_gallery(config)


def test_the_command_line_takes_a_recipe_that_names_them(measured, tmp_path, capsys):
    from featvis.cli import main

    file = tmp_path / "mine.toml"
    file.write_text(f"size = [17, 24]\nsteps = 1\n[space]\nname = 'pixel'\nstatistics = '{measured.name}'\n")
    measured.write_bytes(b"broken")
    assert main(["render", "blocks.0:0", "--recipe", str(file), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "holds no image statistics" in told.replace("\n", " ")
