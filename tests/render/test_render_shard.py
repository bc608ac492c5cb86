"""A shard by the real Blender: the same bytes as the same objects in folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from render_scenes import Rendered

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.jobs.shard import ShardJob
from aligncvc.config.objects import ObjectSet
from aligncvc.objects.listing import ObjectRow, write_list
from aligncvc.render.gather import gather_shards
from aligncvc.render.shard import make_shard
from aligncvc.scene.archives import SHARDS, read_object
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import load_views

pytestmark = pytest.mark.blender


def test_a_shard_holds_what_the_stage_writes(rendered: Rendered, tmp_path: Path) -> None:
    names, meshes = ("spheres", "box", "absent"), rendered.manifest.parent
    facts = ("CC0-1.0", "A. Maker", "train")
    write_list(tmp_path / "list.tsv", [ObjectRow(n, n, f"{n}.glb", n, "", *facts) for n in names])
    objects = ObjectSet(source="folder", path=str(meshes), list=str(tmp_path / "list.tsv"))
    job = ShardJob(set="test", objects=ObjectsJob(set="test", objects=objects), render=rendered.job, size=3)
    out = tmp_path / "renders"
    rows = make_shard(job, 0, out / SHARDS / "00000", cache=tmp_path / "cache", workers=1)
    assert [row.status for row in rows] == ["ok", "ok", "failed"] and "is missing" in rows[2].reason
    for row in rows[:2]:
        folder = rendered.out / row.id
        files = read_object(out / SHARDS / "00000", row)
        assert files == {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "status.json"}
    gather_shards(job, out)
    item = RenderSet(out / "manifest.tsv").load("box")
    assert torch.equal(item.views.rgba, load_views(rendered.out / "box").rgba)
