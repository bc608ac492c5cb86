"""From a photograph to the models' input, and the sentences for pictures that cannot be handled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from aligncvc.config import Config
from aligncvc.errors import UserError
from aligncvc.gaussians import load_ply
from aligncvc.sample import single
from aligncvc.sample.photo import OBJECT_FILL, check_object, prepare, read_photo, recentre
from aligncvc.sample.single import chosen_method, sample_photo


def disc(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """A red disc on transparency whose hidden colour is green (bleeding would show)."""
    image = Image.new("RGBA", (width, height), (0, 255, 0, 0))
    ImageDraw.Draw(image).ellipse(box, fill=(200, 30, 30, 255))
    return image


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "disc.png"
    disc(300, 200, (20, 110, 99, 189)).save(path)
    return path


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_object_is_centred_and_fills_the_frame_without_bleeding(png: Path) -> None:
    rgba = recentre(read_photo(png), 64)
    top, bottom, left, right = box_of(rgba[3] > 0.5)
    assert abs(top + bottom - 63) <= 2 and abs(left + right - 63) <= 2
    assert abs((bottom - top + 1) / 64 - OBJECT_FILL) < 0.05
    edge = rgba[:3, rgba[3] > 0.05]
    assert float(edge[1].max()) < 0.2  # the green under the transparency did not leak in
    image = prepare(png, 64)
    assert image.shape == (3, 64, 64) and torch.equal(image[:, 0, 0], torch.ones(3))
    torch.testing.assert_close(image[:, 32, 32], torch.tensor([200, 30, 30]) / 255, atol=0.02, rtol=0)


def test_a_wide_object_keeps_its_proportions() -> None:
    rgba = torch.zeros(4, 100, 100)
    rgba[:, 45:55, 10:90] = 1
    top, bottom, left, right = box_of(recentre(rgba, 64)[3] > 0.5)
    assert abs((right - left + 1) / (bottom - top + 1) - 8) < 1.5


def test_background_of_an_ordinary_photograph_is_removed(tmp_path: Path) -> None:
    image = Image.new("RGB", (320, 240), (120, 160, 200))
    ImageDraw.Draw(image).ellipse((110, 60, 210, 180), fill=(180, 40, 30))
    image.save(tmp_path / "photo.jpg", quality=90)
    prepared = prepare(tmp_path / "photo.jpg", 64)
    assert float(prepared[:, :3, :3].min()) > 0.9  # the blue background is white now
    assert float(prepared[0, 32, 32]) > 0.5 > float(prepared[2, 32, 32])


def test_orientation_tag_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_photo(tmp_path / "turned.jpg").shape == (3, 80, 40)


def test_opaque_alpha_is_no_cut_out(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert len(read_photo(tmp_path / "opaque.png")) == 3


def write_bad(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.png"
    if kind == "text":
        path.write_text("not a picture")
    elif kind == "small":
        Image.new("RGB", (31, 100)).save(path)
    elif kind == "one-colour":
        Image.new("RGB", (64, 64), (9, 9, 9)).save(path)
    elif kind == "empty":
        Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(path)
    elif kind == "cut":
        disc(100, 100, (-40, -40, 90, 140)).save(path)
    elif kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("text", "is not a picture that can be read"),
        ("truncated", "is not a picture that can be read"),
        ("missing", "there is no picture at"),
        ("small", "has 31x100 pixels"),
        ("one-colour", "one single colour"),
        ("empty", "no object stands out"),
        ("cut", "is cut off"),
    ],
)
def test_pictures_that_cannot_be_handled(tmp_path: Path, kind: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        prepare(write_bad(tmp_path, kind), 64)
    assert "\n" not in str(caught.value)


def test_an_object_that_touches_one_edge_a_little_is_fine() -> None:
    rgba = torch.zeros(4, 100, 100)
    rgba[:, 60:, 30:70] = 1
    check_object(rgba, "x")


def test_photo_to_model_turntable_and_input(config: Config, png: Path, tmp_path: Path) -> None:
    written = sample_photo(config, png, tmp_path / "out/model.ply", method="aware_2")
    assert [p.name for p in written[:3]] == ["model.ply", "model_turntable.webp", "model_input.png"]
    assert all(p.exists() for p in written)
    assert len(load_ply(written[0])) > 0
    with Image.open(written[1]) as animation:
        assert animation.n_frames == config.paper.turntable_views and animation.size == (256, 256)
    again = sample_photo(config, png, tmp_path / "again/model.ply", method="aware_2")
    assert written[0].read_bytes() == again[0].read_bytes()
    assert written[1].read_bytes() == again[1].read_bytes()


def no_work(*_: object, **__: object) -> None:
    raise AssertionError("the networks were loaded")


@pytest.mark.parametrize(
    "name", ["chair.ply", "chair.glb", "chair_input.png", "chair_turntable.webp", "chair.html"]
)
def test_files_of_another_origin_stop_a_photograph_before_work(
    config: Config, png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(single, "load_pair", no_work)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"the user's own")
    with pytest.raises(UserError, match=rf"{name} was not written by this program.* --force"):
        sample_photo(config, png, tmp_path / "out/chair.ply", method="aware_2")
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_bytes() == b"the user's own"


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("force", [False, True])
def test_the_photograph_itself_is_never_replaced(
    config: Config, png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str | None, force: bool
) -> None:
    """`sample chair_input.png --out chair.ply`, also where the side product is another name of the photo."""
    monkeypatch.setattr(single, "load_pair", no_work)
    photo = side = tmp_path / "chair_input.png"
    png.rename(photo)
    if link is not None:
        photo = photo.rename(tmp_path / "photo.png")
        getattr(side, link)(photo)
    before = photo.read_bytes()
    with pytest.raises(
        UserError, match=r"chair_input.png would be written over the input .*; give another --out"
    ):
        sample_photo(config, photo, tmp_path / "chair.ply", method="aware_2", force=force)
    assert photo.read_bytes() == side.read_bytes() == before


def test_own_results_are_replaced_and_changed_ones_only_by_force(
    config: Config, png: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out/model.ply"
    first = [path.read_bytes() for path in sample_photo(config, png, out, method="aware_2")]
    written = sample_photo(config, png, out, method="aware_2")
    assert [path.read_bytes() for path in written] == first
    out.with_suffix(".glb").write_bytes(b"worked on by hand")
    with pytest.raises(UserError, match=r"model.glb was not written by this program, or was changed since"):
        sample_photo(config, png, out, method="aware_2")
    assert out.with_suffix(".glb").read_bytes() == b"worked on by hand"
    sample_photo(config, png, out, method="aware_2", force=True)
    assert [path.read_bytes() for path in written] == first


def test_output_must_be_a_ply(config: Config, png: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in .ply"):
        sample_photo(config, png, tmp_path / "model.obj")


def test_method_says_run_and_steps(config: Config, png: Path, tmp_path: Path) -> None:
    assert chosen_method(config, None) == config.sample.methods["aligncvc_4"]
    assert chosen_method(config, "aware_2").run is None
    with pytest.raises(UserError, match=r"does not define 'best'; give --method, one of \['aligncvc_1'"):
        sample_photo(config, png, tmp_path / "model.ply", method="best")


def test_missing_weights_of_the_methods_run_are_an_error(config: Config, png: Path, tmp_path: Path) -> None:
    """Never another pair in silence."""
    runs = {name: run.model_copy(update={"weights": None}) for name, run in config.align.runs.items()}
    trained = config.model_copy(update={"align": config.align.model_copy(update={"runs": runs})})
    with pytest.raises(UserError, match=r"has no student.safetensors; run python -m aligncvc.align --run"):
        sample_photo(trained, png, tmp_path / "model.ply", align_dir=tmp_path / "none")


def test_steps_override_the_methods(config: Config, png: Path, tmp_path: Path) -> None:
    one, two = (
        sample_photo(config, png, tmp_path / f"{n}/model.ply", method="aware_2", steps=n)[0].read_bytes()
        for n in (1, 2)
    )
    assert one != two
