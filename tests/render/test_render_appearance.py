"""Other looks: drawn from a seed, rendered under their own ids, the original untouched."""

from __future__ import annotations

import numpy as np
import pytest
from render_scenes import Rendered, files_of

from aligncvc.errors import UserError
from aligncvc.render import appearance
from aligncvc.render.jobs import job_hash, read_objects, with_variants
from aligncvc.render.run import render_set
from aligncvc.scene.views import load_views, split_variant, variant_id, view_facts


def test_ids_of_looks_round_trip() -> None:
    for name in ("chair", "chair-2", "chair.old", "chair.v0"):
        assert split_variant(variant_id(name, 0)) == (name, 0)
        assert split_variant(variant_id(name, 12)) == (name, 12)


def test_a_look_depends_on_its_seed_alone_and_stays_in_bounds() -> None:
    looks = [appearance.draw(seed) for seed in range(50)]
    assert looks == [appearance.draw(seed) for seed in range(50)]
    stretch = np.log([look.stretch for look in looks])
    assert np.abs(stretch).max() <= appearance.MAX_LOG_STRETCH < 2 * np.abs(stretch).max()
    headings = np.array([look.heading_deg for look in looks])
    assert headings.min() < 60 and headings.max() > 300
    colours = np.array([appearance.colour(np.random.default_rng(seed)) for seed in range(200)])
    assert colours.min() >= 0 and colours.max() <= 1
    assert (colours.max(1) > 3 * colours.min(1)).mean() > 0.5  # saturated


def test_looks_are_listed_after_all_originals(rendered: Rendered) -> None:
    sources = read_objects(rendered.manifest)
    every = with_variants(sources, 3)
    assert [s.id for s in every[:2]] == ["spheres", "box"]
    assert [s.id for s in every[2:]] == ["spheres.v1", "box.v1", "spheres.v2", "box.v2"]
    assert with_variants(sources, 1) == sources
    hashes = [job_hash(rendered.job, s) for s in every]
    assert len(set(hashes)) == 6
    with pytest.raises(UserError, match="rename"):
        with_variants(every[2:3], 2)


@pytest.mark.blender
def test_another_look_changes_colours_and_size_and_leaves_the_original(rendered: Rendered, tmp_path) -> None:
    job = rendered.job.model_copy(update={"looks": 2})
    statuses = render_set(job, rendered.manifest, tmp_path / "out", workers=1)
    assert [s.status for s in statuses] == ["ok"] * 4, statuses
    for name in ("spheres", "box"):
        assert files_of(tmp_path / "out" / name) == files_of(rendered.out / name)
    facts = view_facts(tmp_path / "out" / "box.v1")
    assert (facts["object"], facts["variant"]) == ("box", 1)
    normalisation = facts["normalisation"]
    assert normalisation["stretch"] != [1, 1, 1] and normalisation["heading_deg"] != 0
    # the corners of the stretched box lie on the unit sphere: its half diagonal times the scale is 1
    half = np.array([1.0, 0.7, 0.3]) / 2 * np.array(normalisation["stretch"])
    assert normalisation["scale"] * np.linalg.norm(half) == pytest.approx(1, rel=1e-5)
    before, after = (load_views(folder / "box").rgba for folder in (rendered.out, tmp_path / "out"))
    coloured = load_views(tmp_path / "out" / "box.v1")

    def mean_colour(rgba):
        return (rgba[:, :3] * rgba[:, 3:]).sum((0, 2, 3)) / rgba[:, 3:].sum()

    assert float((mean_colour(before) - mean_colour(after)).abs().max()) == 0
    assert float((mean_colour(before) - mean_colour(coloured.rgba)).abs().max()) > 0.05
    again = render_set(job, rendered.manifest, tmp_path / "again", workers=1)
    assert [s.job_hash for s in again] == [s.job_hash for s in statuses]
    assert files_of(tmp_path / "again" / "box.v1") == files_of(tmp_path / "out" / "box.v1")
