"""One rendering that several tests look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from render_scenes import Rendered, box_glb, small_job, sphere_glb, write_manifest

from aligncvc.render.run import render_set

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "meshes"))  # GLBs that are made on the spot


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Spheres and a box, rendered once by one process."""
    folder = tmp_path_factory.mktemp("rendered")
    manifest = write_manifest(folder / "objects", {"spheres": sphere_glb(), "box": box_glb()})
    job = small_job(samples=16)
    statuses = render_set(job, manifest, folder / "out", workers=1)
    assert [s.status for s in statuses] == ["ok", "ok"], statuses
    return Rendered(job, manifest, folder / "out")
