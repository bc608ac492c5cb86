"""What BlenderProc costs on top of Blender: the render stage's own scene, and the same calls to Blender."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aligncvc.bench.measure import Row, row
from aligncvc.bench.synthetic import cameras_at
from aligncvc.files import PROJECT_ROOT
from aligncvc.render.workers import kept_in
from aligncvc.scene.cameras import ring_azimuths_deg

MODULES = {"blenderproc": "aligncvc.render.blender_scene", "blender": "aligncvc.bench.plain_scene"}


def bench_blender() -> list[Row]:
    """BlenderProc beside plain Blender: seconds a view, and what a process takes beside its views."""
    found = measure(min((PROJECT_ROOT / "assets/objects").glob("*.glb")))
    return [
        row("blenderproc_per_view", found["blenderproc_view"], "s/view", found["blender_view"]),
        row("blenderproc_start", found["blenderproc_start"], "s", found["blender_start"]),
    ]


def measure(
    glb: Path, *, repeats: int = 3, samples: int = 32, size_px: int = 64, views: int = 16
) -> dict[str, float]:
    """Median seconds of processes with one thread that take turns: {blenderproc,blender}_{start,view}.

    start: of the process's start and end, imports and scene set-up; view: the rest over the views.
    """
    cameras = cameras_at(ring_azimuths_deg(views), size_px)
    job = {
        "c2w": cameras.c2w.double().tolist(), "width": size_px, "height": size_px, "near": cameras.near,
        "focal_px": cameras.focal_px, "far": cameras.far, "threads": 1, "samples": samples,
        "denoise": False, "normalisation": "unit-sphere", "light": "studio",
        "objects": [{"index": 0, "path": str(Path(glb).resolve()), "seed": 0, "look": None}],
    }  # fmt: skip
    rounds = [{name: _once(module, job) for name, module in MODULES.items()} for _ in range(repeats)]
    return {
        f"{name}_{part}": statistics.median(found[name][part] for found in rounds)
        for name in MODULES
        for part in ("start", "view")
    }


def _once(module: str, job: dict[str, Any]) -> dict[str, float]:
    """Run one process on the job."""
    with tempfile.TemporaryDirectory(prefix="aligncvc-overhead-") as name:
        temporary, progress = Path(name, "tmp"), Path(name, "progress")
        temporary.mkdir()
        places = {"output": name, "progress": str(progress), "temporary": str(temporary)}
        Path(name, "job.json").write_text(json.dumps(job | places | {"parent_pid": os.getpid()}))
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", module, str(Path(name, "job.json"))], capture_output=True, text=True,
            check=False,
            env={**os.environ, **kept_in(temporary), "PYTHONPATH": str(PROJECT_ROOT / "src")},
        )  # fmt: skip
        seconds = time.perf_counter() - began
        lines = progress.read_text().splitlines() if progress.exists() else []
        events = {e["event"]: e for e in map(json.loads, lines)}
        if "done" not in events:
            raise RuntimeError(f"{module} did not finish: {done.stdout[-500:]} {done.stderr[-500:]}")
        drawing = events["done"]["seconds"]
        return {"start": seconds - drawing, "view": drawing / len(job["c2w"])}
