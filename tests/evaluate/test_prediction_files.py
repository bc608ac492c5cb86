"""Which file of a prediction is what: every usual name is read, and nothing is passed over without a word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from aligncvc.errors import UserError
from aligncvc.evaluate.poses import CONVENTIONS, read_cameras
from aligncvc.evaluate.prediction_files import cameras_file, find_files, holds_prediction
from aligncvc.evaluate.predictions import load_prediction, read_facts
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import Views, composite, load_png


def put(folder: Path, *names: str) -> Path:
    """Empty files: only names are looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize(
    "pattern", ["{:d}.png", "{:03d}.png", "{:03d}.jpg", "view_{:03d}.png", "{:02d}.PNG", "rgb-{:d}.webp"]
)
def test_images_by_their_numbers(tmp_path: Path, pattern: str) -> None:
    wanted = [pattern.format(i) for i in range(12)]
    put(tmp_path, *wanted, "cameras.json", "._000.png", ".DS_Store")
    found = find_files(tmp_path)
    assert names(found.images) == wanted
    lossy = pattern.endswith(("jpg", "webp"))
    assert [note for note in found.notes if "lossy" not in note] == [] and len(found.notes) == lossy


def test_the_plain_series_comes_first_and_the_rest_is_named(tmp_path: Path) -> None:
    put(tmp_path, "000.png", "001.png", "normal_000.png", "normal_001.png", "input.png", "cameras.json")
    found = find_files(tmp_path)
    assert names(found.images) == ["000.png", "001.png"]
    assert found.notes == [f"{tmp_path}: input.png, normal_000.png, normal_001.png not read"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["000.png", "000.jpg"], r"several series of images \(000.jpg and 000.png, ...\); leave one"),
        (["rgb_0.png", "depth_0.png"], "several series of images"),
        (["0.png", "000.png"], "two images of number 0, one of them"),
        (["0.png", "1.png", "3.png"], "lacks 2.png; number the images from 0"),
        (["view_001.png", "view_002.png"], "lacks view_000.png"),
        (["front.png", "back.png"], "holds back.png, front.png, and no numbered images; name them 000.png"),
        (["chair.glb"], "holds chair.glb, and no model of a name that is read; call it mesh.glb"),
        (["point_cloud.ply", "000.png"], "holds point_cloud.ply, and no model"),
        (["mesh.fbx"], "holds mesh.fbx, and no model"),
    ],
)
def test_what_cannot_be_told_is_an_error(tmp_path: Path, files: list[str], words: str) -> None:
    put(tmp_path, *files, "cameras.json")
    with pytest.raises(UserError, match=words):
        find_files(tmp_path)


@pytest.mark.parametrize("name", ["model.glb", "mesh.gltf", "Model.OBJ", "mesh.ply", "model.ply"])
def test_models_by_their_names(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, "result.usdz", "._mesh.glb")
    found = find_files(tmp_path)
    assert names(found.models) == [name]
    assert found.notes == [f"{tmp_path}: result.usdz not read"]


def test_textures_and_previews_of_a_model_are_no_views(tmp_path: Path) -> None:
    put(tmp_path, "mesh.obj", "material_0.png", "preview_0.png", "material.mtl")
    (tmp_path / "material.mtl").write_text("newmtl a\nmap_Kd material_0.png\n")
    found = find_files(tmp_path)
    assert found.images == [] and found.notes == [f"{tmp_path}: preview_0.png not read"]


def test_cameras_once_for_all_objects(tmp_path: Path) -> None:
    put(tmp_path, "m/cup/000.png", "m/pot/seed1/000.png", "m/own/cameras.json", "cameras.json")
    assert cameras_file(tmp_path / "m/cup") is None, "beside the method is not the method's"
    put(tmp_path, "m/cameras.json")
    for folder in ("m/cup", "m/pot/seed1"):
        assert cameras_file(tmp_path / folder) == tmp_path / "m/cameras.json"
    assert cameras_file(tmp_path / "m/own") == tmp_path / "m/own/cameras.json"
    assert not holds_prediction(tmp_path / "m") and holds_prediction(tmp_path / "m/pot")


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    facts = {"convention": "lgm", "width": 8, "height": 8, "fov_y_deg": 40, "c2w": np.eye(4)[None].tolist()}
    (tmp_path / "cameras.json").write_text(json.dumps(facts), encoding="utf-8-sig")
    (tmp_path / "prediction.json").write_text('{"seconds": 2}', encoding="utf-16")
    assert read_cameras(tmp_path / "cameras.json").fov_y_deg == 40
    assert read_facts(tmp_path)[0] == {"seconds": 2.0}
    (tmp_path / "prediction.json").write_bytes('{"about": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match="it is not UTF-8; save it as UTF-8"):
        read_facts(tmp_path)


DATA = Path(__file__).parent / "data"
RIG = [0, 4, 8, 12]


@pytest.fixture(scope="module")
def bear() -> PosedObject:
    rgba = torch.stack(load_png(DATA / "teddy-bear.png").split(64, dim=2))
    cameras = orbit(ring_azimuths_deg(16), 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)
    return PosedObject("bear", Views(rgba, cameras), RIG)


def write_views(folder: Path, posed: PosedObject, background: float, noise: float = 0.0) -> None:
    """RGB, as JPEG or PNG would hold it, over a grey that may be uneven."""
    rng = np.random.default_rng(0)
    cameras = posed.views.cameras[posed.rig]
    for i, image in enumerate(composite(posed.views.rgba[posed.rig], background)):
        pixels = image.permute(1, 2, 0).numpy() + noise * rng.uniform(-1, 1, (64, 64, 3))
        Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8)).save(folder / f"{i}.png")
    facts = {"convention": CONVENTIONS[0], "c2w": cameras.c2w.tolist(), "fov_y_deg": 39.6}
    (folder / "cameras.json").write_text(json.dumps({**facts, "width": 64, "height": 64}))


@pytest.mark.parametrize("grey", [0, 128, 205, 240])
def test_a_grey_background_is_not_taken_for_white(bear: PosedObject, tmp_path: Path, grey: int) -> None:
    write_views(tmp_path, bear, grey / 255)
    with pytest.raises(UserError, match="must be white; views 0, 1, 2 and 3 are of another colour"):
        load_prediction(tmp_path, bear)


def test_white_is_what_it_was(bear: PosedObject, tmp_path: Path) -> None:
    write_views(tmp_path, bear, 1.0)
    made = load_prediction(tmp_path, bear)
    assert made.views is not None and made.notes == []
    assert float((made.views[0] - bear.views.on_white()[RIG]).abs().max()) < 1 / 255


def test_a_networks_off_white_is_its_result(bear: PosedObject, tmp_path: Path) -> None:
    write_views(tmp_path, bear, 0.95, noise=0.04)
    made = load_prediction(tmp_path, bear)
    assert made.views is not None and any("not quite white" in note for note in made.notes)
    write_views(tmp_path, bear, 0.85, noise=0.04)
    with pytest.raises(UserError, match="must be white"):
        load_prediction(tmp_path, bear)


def test_a_coloured_background_is_not_taken_for_white(bear: PosedObject, tmp_path: Path) -> None:
    """Most of its numbers are 255: each channel is looked at."""
    write_views(tmp_path, bear, 1.0)
    for i in range(4):
        pixels = np.asarray(Image.open(tmp_path / f"{i}.png")).copy()
        pixels[..., 2] = np.minimum(pixels[..., 2], 150)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="must be white"):
        load_prediction(tmp_path, bear)


def test_opaque_alpha_does_not_make_grey_white(bear: PosedObject, tmp_path: Path) -> None:
    write_views(tmp_path, bear, 205 / 255)
    for i in range(4):
        Image.open(tmp_path / f"{i}.png").convert("RGBA").save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="must be white"):
        load_prediction(tmp_path, bear)


@pytest.mark.parametrize("name", ["mesh.obj", "mesh.ply"])
def test_a_mesh_that_is_y_up(bear: PosedObject, tmp_path: Path, name: str) -> None:
    """A tower 1.2 high, a little to the front: it stands, and without the word it lies."""
    tower = trimesh.creation.box((0.2, 1.2, 0.4))
    tower.apply_translation((0, 0, 0.1))
    tower.export(tmp_path / name)
    made = load_prediction(tmp_path, bear, up="y")
    surface = made.model.mesh()  # type: ignore[union-attr]
    assert surface is not None
    assert np.allclose(surface.bounds, [[-0.1, -0.3, -0.6], [0.1, 0.1, 0.6]], atol=1e-6)
    lying = load_prediction(tmp_path, bear).model.mesh()  # type: ignore[union-attr]
    assert lying is not None and np.allclose(lying.extents, (0.2, 1.2, 0.4), atol=1e-6)
