"""What the networks see of a render manifest, and what it says about bad ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_world import write_renders

from aligncvc.errors import UserError
from aligncvc.scene.cameras import spherical_deg
from aligncvc.scene.renderset import RenderSet


def test_only_good_objects_and_a_rig_relative_to_its_input_view(renders: Path) -> None:
    renderset = RenderSet(renders, 32)
    assert renderset.ids == ["a", "b", "c"]
    item = renderset.load("a")
    for start in (0, 3):
        images, cameras = item.rig_from(start)
        azimuth, elevation, _ = spherical_deg(cameras)
        torch.testing.assert_close(
            (azimuth + 1) % 360 - 1, torch.tensor([0.0, 90, 180, 270]), atol=1e-3, rtol=0
        )
        torch.testing.assert_close(elevation, torch.full((4,), 10.0), atol=1e-3, rtol=0)
        assert torch.equal(images[0], item.views[[start]].on_white()[0])
        assert torch.equal(images[1], item.views[[(start + 2) % 8]].on_white()[0])


def test_key_follows_the_renders(renders: Path, tmp_path: Path) -> None:
    copy = tmp_path / "manifest.tsv"
    copy.write_text(renders.read_text().replace("\t0.1\t", "\t0.9\t"))
    assert RenderSet(copy).key == RenderSet(renders).key  # timings are no content
    copy.write_text(renders.read_text().replace("a32", "a33"))
    assert RenderSet(copy).key != RenderSet(renders).key


@pytest.mark.parametrize("text", ["", "id\tname\nx\ty\n", "id\tstatus\nx\tfailed\n"])
def test_unusable_manifests(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)):
        RenderSet(path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No such file.*write renders with"):
        RenderSet(tmp_path / "no.tsv")


def test_another_size_a_missing_view_and_a_bad_rig(renders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"32x32 renders but render.size_px is 64"):
        RenderSet(renders, 64).load("a")
    shutil.copytree(renders.parent, tmp_path / "copy")
    (tmp_path / "copy/a/003.png").unlink()
    with pytest.raises(UserError, match=r"lacks 003.png"):
        RenderSet(tmp_path / "copy/manifest.tsv").load("a")
    cameras = tmp_path / "copy/b/cameras.json"
    data = json.loads(cameras.read_text())
    cameras.write_text(json.dumps(data | {"rigs": {"rig": [0, 99]}}))
    with pytest.raises(UserError, match="rig views"):
        RenderSet(tmp_path / "copy/manifest.tsv").load("b")
    cameras.write_text(json.dumps({k: v for k, v in data.items() if k != "rigs"}))
    with pytest.raises(UserError, match="names no rig"):
        RenderSet(tmp_path / "copy/manifest.tsv").load("b")


def test_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aligncvc.scene.renderset.CACHED_OBJECTS", 2)
    renderset = RenderSet(write_renders(tmp_path))
    for name in "abcab":
        renderset.load(name)
    assert renderset.at.cache_info().currsize == 2
    one = RenderSet(renderset.manifest, kept=1)
    assert [one.load(name).id for name in "abca"] == list("abca")
    assert one.at.cache_info().currsize == 1
