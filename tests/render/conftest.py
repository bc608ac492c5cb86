"""One rendering that several tests look at."""

from __future__ import annotations

import pytest
from render_scenes import Rendered, box_glb, small_job, sphere_glb, write_manifest

from aligncvc.render.run import render_set


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Spheres and a box, rendered once by one process."""
    folder = tmp_path_factory.mktemp("rendered")
    manifest = write_manifest(folder / "objects", {"spheres": sphere_glb(), "box": box_glb()})
    job = small_job(samples=16)
    statuses = render_set(job, manifest, folder / "out", workers=1)
    assert [s.status for s in statuses] == ["ok", "ok"], statuses
    return Rendered(job, manifest, folder / "out")
