"""From a photograph to the models' input, and the sentences for pictures that cannot be handled."""

from __future__ import annotations

import shutil
import struct
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny_world import PAIR, tiny_plan, tiny_settings
from torch import Tensor

from aligncvc.config.jobs.sample import PhotoJob
from aligncvc.config.plan import PHOTO_METHOD, Plan
from aligncvc.config.root import Config
from aligncvc.errors import UserError
from aligncvc.loop.unroll import Sampled
from aligncvc.meshes import load_mesh, mesh_from_gaussians
from aligncvc.sample import photo
from aligncvc.sample.doubts import doubts
from aligncvc.sample.photo import (
    OBJECT_FILL,
    check_object,
    prepare,
    read_photo,
    recentre,
    sample_photo,
)
from aligncvc.sample.photo_model import PhotoModel
from aligncvc.sample.sets import sample_one
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians, is_viewer_ply, load_ply
from aligncvc.scene.rigs import half_width
from aligncvc.viewer.page import ViewSettings
from aligncvc.viewer.ply import for_viewers


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
    image = prepare(png, 64).image
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
    prepared = prepare(tmp_path / "photo.jpg", 64).image
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


@pytest.fixture(scope="module")
def job() -> PhotoJob:
    """Two steps of the pretrained tiny pair, four frames of a turn."""
    data = tiny_settings()
    data |= {"paper": {"turntable_views": 4}, "sample": {"methods": {"aware_2": {"steps": 2}}}}
    return tiny_plan(data).photo(PAIR, "aware_2")


def test_photo_to_model_turntable_and_input(job: PhotoJob, png: Path, tmp_path: Path) -> None:
    written = sample_photo(job, png, tmp_path / "out/model.ply")
    assert [p.name for p in written[:3]] == ["model.ply", "model_turntable.webp", "model_input.png"]
    assert all(p.exists() for p in written)
    assert len(load_ply(written[0])) > 0
    with Image.open(written[1]) as animation:
        assert animation.n_frames == 4 and animation.size == (256, 256)
    again = sample_photo(job, png, tmp_path / "again/model.ply")
    assert written[0].read_bytes() == again[0].read_bytes()
    assert written[1].read_bytes() == again[1].read_bytes()
    other = sample_photo(job, png, tmp_path / "other/model.ply", seed=1)
    assert written[0].read_bytes() != other[0].read_bytes()


def test_a_rig_of_its_own_frames_the_photograph(
    job: PhotoJob, png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []

    def spy(pair: object, method: object, image: Tensor, cameras: Cameras, *rest: object) -> object:
        dark = 1 - image.amin(0)
        seen.append((float(dark.sum()), cameras.fov_y_deg))
        return sample_one(pair, method, image, cameras, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(photo, "sample_one", spy)
    pair = job.sample.pair
    rig = pair.rig.model_copy(update={"distance": 4.7, "fov_y_deg": 33.8})
    sample = job.sample.model_copy(update={"pair": pair.model_copy(update={"rig": rig})})
    for name, of in (("own", job), ("framed", job.model_copy(update={"sample": sample}))):
        sample_photo(of, png, tmp_path / f"{name}.ply")
    (area, fov), (smaller, wider) = seen
    half = half_width(4.7, 33.8)
    assert fov == job.fov_y_deg and half_width(job.distance, wider) == pytest.approx(half)
    ratio = half / half_width(job.distance, fov)
    assert smaller == pytest.approx(area / ratio**2, rel=0.03)


def test_the_ply_is_for_viewers_unless_raw(job: PhotoJob, png: Path, tmp_path: Path) -> None:
    ready = sample_photo(job, png, tmp_path / "ready.ply")[0]
    raw = sample_photo(job, png, tmp_path / "raw.ply", raw=True)[0]
    assert is_viewer_ply(ready) and not is_viewer_ply(raw)
    wanted, found = for_viewers(load_ply(raw), 32, ViewSettings.of(job)), load_ply(ready)
    assert float((load_ply(raw).means - found.means).abs().max()) > 0.1
    for field in fields(wanted):
        torch.testing.assert_close(
            getattr(found, field.name), getattr(wanted, field.name), atol=1e-4, rtol=1e-4
        )


def test_output_must_be_a_ply(job: PhotoJob, png: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in .ply"):
        sample_photo(job, png, tmp_path / "model.obj")


def test_method_pair_and_steps_are_named_or_refused() -> None:
    plan = Plan(Config())
    job = plan.photo("wonder3d+lgm", PHOTO_METHOD, 3)
    assert (job.sample.run, job.sample.steps, job.sample.timesteps) == ("aligned", 3, [999, 666, 333])
    for pair, method, key in (("a+b", "aligncvc_4", "pairs"), ("wonder3d+lgm", "best", "sample.methods")):
        with pytest.raises(UserError, match=rf"{key} does not define"):
            plan.photo(pair, method)


def test_missing_weights_of_the_methods_run_are_an_error(job: PhotoJob, png: Path, tmp_path: Path) -> None:
    """Never another pair in silence."""
    method = job.sample.model_copy(update={"run": "both"})
    trained = job.model_copy(update={"sample": method})
    with pytest.raises(UserError, match=r"none has no student.safetensors; .*python -m aligncvc.align"):
        sample_photo(trained, png, tmp_path / "model.ply", aligned=tmp_path / "none")


def test_steps_decide_the_result(job: PhotoJob, png: Path, tmp_path: Path) -> None:
    shorter = job.sample.model_copy(update={"steps": 1, "timesteps": [999]})
    jobs = (job, job.model_copy(update={"sample": shorter}))
    one, two = (sample_photo(j, png, tmp_path / f"{i}/model.ply")[0] for i, j in enumerate(jobs))
    assert one.read_bytes() != two.read_bytes()


def test_the_name_of_a_photograph_does_not_change_the_model(job: PhotoJob, png: Path, tmp_path: Path) -> None:
    shutil.copy(png, tmp_path / "renamed.png")
    models = [sample_photo(job, photo, tmp_path / f"{photo.stem}.ply", raw=True)[0]
              for photo in (png, tmp_path / "renamed.png")]  # fmt: skip
    assert models[0].read_bytes() == models[1].read_bytes()


def packed_tiff(values: np.ndarray) -> bytes:
    """A TIFF of 12-bit greys, two in three bytes, as microscopes and raw converters write them."""
    first, second = values.ravel()[::2], values.ravel()[1::2]
    body = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    height, width = values.shape
    # ImageWidth, ImageLength, BitsPerSample, Compression, Photometric, StripOffsets, Samples, Rows, Bytes
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(body)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


@pytest.mark.parametrize("bits", [8, 12, 16, 32])
def test_deep_greys_are_scaled_and_not_clipped(tmp_path: Path, bits: int) -> None:
    level = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    path = tmp_path / "grey.tiff"
    if bits == 32:
        Image.fromarray(level.astype(np.float32)).save(path)
    elif bits == 12:
        path.write_bytes(packed_tiff(np.round(level * 4095).astype(int)))
    else:
        kind = np.uint8 if bits == 8 else np.uint16
        Image.fromarray(np.round(level * (2**bits - 1)).astype(kind)).save(path)
    read = read_photo(path)
    assert read.shape == (3, 64, 64)
    assert np.abs(read[0].numpy() - level).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.float32(200), "from 200 to 200, not from 0 to 1"),
        (np.int32(40000), "from 40000 to 40000, not from 0 to 4.29497e"),  # 16 bits in 32
    ],
)
def test_a_deep_picture_of_unknown_range_is_refused(tmp_path: Path, value: np.generic, words: str) -> None:
    Image.fromarray(np.full((64, 64), value)).save(tmp_path / "x.tiff")
    with pytest.raises(UserError, match=words):
        read_photo(tmp_path / "x.tiff")


@pytest.mark.parametrize("kind", ["almost opaque", "rounded corners"])
def test_an_alpha_that_cuts_nothing_out_is_not_taken_at_its_word(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGBA", (100, 100), (200, 30, 30, 254))
    if kind == "rounded corners":
        for x, y in [(0, 0), (99, 0), (0, 99), (99, 99)]:
            image.putpixel((x, y), (0, 0, 0, 0))
    image.save(tmp_path / "x.png")
    assert read_photo(tmp_path / "x.png").shape[0] == 3


@pytest.mark.parametrize("alpha", [0, 120])
def test_a_picture_that_is_transparent_everywhere_is_said_so(tmp_path: Path, alpha: int) -> None:
    Image.new("RGBA", (100, 100), (200, 30, 30, alpha)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"no object stands out in .*x\.png, which is nearly transparent"):
        read_photo(tmp_path / "x.png")


def test_an_object_of_its_backgrounds_colour_is_noted() -> None:
    """White on white. Where the transparency was the user's, no outline was guessed."""
    rgba = torch.ones(4, 100, 100)
    rgba[3] = 0
    rgba[3, 20:80, 20:60] = rgba[3, 30:60, 60:80] = 1
    rgba[:3, 20:80, 20:80] = 250 / 255
    (said,) = doubts(rgba, cut_at_px=100)
    assert "nearly the colour of its background" in said and doubts(rgba) == []
    rgba[2, 20:80, 20:80] = 200 / 255
    assert doubts(rgba, cut_at_px=100) == []


def test_a_transparent_frame_is_noted() -> None:
    """As a screenshot's shadow leaves it: the photograph in it would be the object."""
    rgba = torch.ones(4, 100, 100)
    rgba[3] = 0
    rgba[3, 10:90, 10:90] = 1
    (said,) = doubts(rgba)
    assert "a full rectangle" in said and "save it without transparency" in said
    rgba[3, 10:40, 10:40] = 0
    assert doubts(rgba) == []


def test_several_things_are_noted(png: Path) -> None:
    two = torch.zeros(4, 64, 64)
    two[3, 10:30, 10:30] = two[3, 40:60, 40:60] = 1
    assert "several things" in doubts(two)[0]
    two[3, 40:60, 40:60] = 0
    two[3, 40:44, 40:44] = 1
    assert doubts(two) == []


def test_an_object_at_the_edge_is_noted_with_what_to_do() -> None:
    rgba = torch.zeros(4, 100, 100)
    rgba[3, 60:, 30:70] = 1
    rgba[3, 60:70, 30:40] = 0  # no full rectangle
    (sentence,) = doubts(rgba)
    assert "touches the picture's edge (10% of it)" in sentence and "room on all sides" in sentence
    rgba[3, 99] = 0
    assert doubts(rgba) == []


@pytest.mark.parametrize(
    ("side", "cut_at_px", "noted"), [(54, None, False), (53, None, True), (108, 320, False), (106, 320, True)]
)
def test_an_object_with_fewer_pixels_than_the_networks_see_is_noted(
    side: int, cut_at_px: int | None, noted: bool
) -> None:
    """A background is removed at 320 px, so of a picture of 640 half the pixels count."""
    rgba = torch.zeros(4, 640, 640)
    rgba[:, 200 : 200 + side, 300:310] = 1
    rgba[3, 200:206, 300:302] = 0  # no full rectangle
    said = doubts(rgba, needed_px=0.84 * 64, cut_at_px=cut_at_px)
    assert [f"{side / 640:.0%} of the picture" in sentence for sentence in said] == [True] * noted


def test_the_command_says_what_is_doubtful(
    job: PhotoJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disc(100, 100, (0, 30, 60, 90)).save(tmp_path / "edge.png")
    sample_photo(job, tmp_path / "edge.png", tmp_path / "model.ply")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {tmp_path / 'edge.png'}: the object touches the picture's edge")


def test_too_many_pixels_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=r"too many pixels.*2048"):
        read_photo(tmp_path / "x.png")


def test_the_mesh_of_a_photograph_has_a_tenth_of_the_surfaces_faces(job: PhotoJob, tmp_path: Path) -> None:
    direction = torch.nn.functional.normalize(
        torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
    )
    ball = Gaussians(
        direction * 0.5,
        torch.full((3000, 3), 0.02),
        torch.tensor([1.0, 0, 0, 0]).expand(3000, 4).contiguous(),
        torch.full((3000,), 0.95),
        direction * 0.4 + 0.5,
    )
    none = torch.zeros(1, 1, 3, 8, 8)
    made = PhotoModel(job, torch.zeros(3, 8, 8), Sampled(ball, none, none, [999]))
    whole = mesh_from_gaussians(ball, voxel=job.sample.voxel)
    assert whole is not None
    for written in (made.save(tmp_path / "saved.glb"), *made.write_surface(tmp_path / "beside.glb")):
        small = load_mesh(written)
        assert len(small.faces) <= len(whole.faces) / 10
        assert small.volume == pytest.approx(whole.volume, rel=0.03)
