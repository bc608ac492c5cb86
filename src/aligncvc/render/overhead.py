"""What BlenderProc costs on top of Blender: the same scene and settings through both interfaces.

`measure()` starts two processes by turns: the stage's own scene (BlenderProc) and the same calls made to
bpy directly. Both render RGBA, depth and normals of one object at the ring's cameras and read them back.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aligncvc.render import blender_scene
from aligncvc.render.bproc_adapter import run_child
from aligncvc.render.workers import kept_in


def plain_scene(job: dict[str, Any]) -> None:
    """The job's first object with bpy alone; writes the same progress events as `blender_scene.run`."""
    began = time.perf_counter()
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles, render = scene.cycles, scene.render
    cycles.device, cycles.samples, cycles.seed = "CPU", job["samples"], job["objects"][0]["seed"]
    cycles.use_adaptive_sampling = cycles.use_denoising = cycles.use_animated_seed = False
    cycles.use_light_tree = cycles.caustics_reflective = cycles.caustics_refractive = False
    for name in ("diffuse_bounces", "glossy_bounces", "transmission_bounces", "max_bounces",
                 "transparent_max_bounces", "volume_bounces"):  # fmt: skip
        setattr(cycles, name, blender_scene.BOUNCES[name])
    cycles.debug_use_spatial_splits = render.use_persistent_data = True
    render.threads_mode, render.threads = "FIXED", job["threads"]
    render.film_transparent, render.dither_intensity = True, 0
    render.resolution_x, render.resolution_y = job["width"], job["height"]
    scene.view_settings.view_transform = "Standard"
    _light(bpy, scene)
    scene.camera = _camera(bpy, scene, job)
    _passes(bpy, scene, Path(job["temporary"]))
    _tell(job, "ready", seconds=time.perf_counter() - began)
    _tell(job, "start", index=0)
    began = time.perf_counter()
    bpy.ops.import_scene.gltf(filepath=job["objects"][0]["path"])
    _normalise(bpy, scene)
    bpy.ops.render.render(animation=True, write_still=True)
    _read_back(Path(job["temporary"]), len(job["c2w"]))
    _tell(job, "done", index=0, seconds=time.perf_counter() - began)


def _light(bpy: Any, scene: Any) -> None:
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    background = scene.world.node_tree.nodes["Background"].inputs
    background["Color"].default_value = (*blender_scene.WORLD_COLOUR, 1)
    background["Strength"].default_value = blender_scene.WORLD_STRENGTH
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = blender_scene.SUN_ENERGY, math.radians(blender_scene.SUN_ANGLE_DEG)
    holder = bpy.data.objects.new("sun", sun)
    holder.rotation_euler = [math.radians(a) for a in blender_scene.SUN_EULER_DEG]
    scene.collection.objects.link(holder)


def _camera(bpy: Any, scene: Any, job: dict[str, Any]) -> Any:
    from mathutils import Matrix

    camera = bpy.data.cameras.new("Camera")
    camera.lens = job["focal_px"] * camera.sensor_width / job["width"]
    camera.clip_start, camera.clip_end = job["near"], job["far"]
    holder = bpy.data.objects.new("Camera", camera)
    scene.collection.objects.link(holder)
    for frame, pose in enumerate(np.asarray(job["c2w"]) @ blender_scene.OPENCV_TO_BLENDER):
        holder.matrix_world = Matrix(pose.tolist())
        holder.keyframe_insert("location", frame=frame)
        holder.keyframe_insert("rotation_euler", frame=frame)
    scene.frame_start, scene.frame_end = 0, len(job["c2w"]) - 1
    return holder


def _passes(bpy: Any, scene: Any, folder: Path) -> None:
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_normal = True
    scene.use_nodes = True
    tree = scene.node_tree
    source = next(n for n in tree.nodes if n.type == "R_LAYERS")
    for name in ("Depth", "Normal"):
        writer = tree.nodes.new("CompositorNodeOutputFile")
        writer.base_path, writer.file_slots[0].path = str(folder), f"{name.lower()}_"
        writer.format.file_format, writer.format.color_depth = "OPEN_EXR", "32"
        output = source.outputs[name]
        if name == "Depth":  # three equal channels: OpenCV cannot read Blender's single-channel EXR
            grey = tree.nodes.new("CompositorNodeCombineColor")
            grey.mode = "HSV"
            tree.links.new(output, grey.inputs[2])
            output = grey.outputs["Image"]
        tree.links.new(output, writer.inputs[0])
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = str(folder / "rgb_")


def _normalise(bpy: Any, scene: Any) -> None:
    meshes = [o for o in scene.objects if o.type == "MESH"]
    points = np.concatenate([[o.matrix_world @ v.co for v in o.data.vertices] for o in meshes])
    centre = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    root = bpy.data.objects.new("normalisation", None)
    scene.collection.objects.link(root)
    root.scale, root.location = (1 / radius,) * 3, -centre / radius
    for thing in scene.objects:
        if thing.parent is None and thing.type not in ("CAMERA", "LIGHT") and thing != root:
            thing.parent = root


def _read_back(folder: Path, views: int) -> None:
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
    import cv2

    for i in range(views):
        for name in (f"rgb_{i:04d}.png", f"depth_{i:04d}.exr", f"normal_{i:04d}.exr"):
            if cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) is None:
                raise RuntimeError(f"Blender did not write {name}")


def _tell(job: dict[str, Any], event: str, **facts: Any) -> None:
    with Path(job["progress"]).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"event": event, **facts}) + "\n")


def _once(module: str, job: dict[str, Any]) -> dict[str, float]:
    """Run one process on the job; seconds of process, start-up and object."""
    with tempfile.TemporaryDirectory(prefix="aligncvc-overhead-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        job = {**job, "output": name, "progress": str(folder / "progress"), "temporary": str(folder / "tmp"),
               "parent_pid": os.getpid()}  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        source = str(Path(__file__).resolve().parents[2])
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder / "job.json")], capture_output=True, text=True,
            env={**os.environ, **kept_in(folder / "tmp"), "PYTHONPATH": source},
        )  # fmt: skip
        seconds = time.perf_counter() - began
        lines = (folder / "progress").read_text().splitlines() if (folder / "progress").exists() else []
        events = {e["event"]: e for e in map(json.loads, lines)}
        if "done" not in events:
            raise RuntimeError(f"{module} did not finish: {done.stdout[-500:]} {done.stderr[-500:]}")
        return {"process": seconds, "start": seconds - events["done"]["seconds"],
                "object": events["done"]["seconds"]}  # fmt: skip


def measure(glb: Path, *, repeats: int = 3, samples: int = 32, size_px: int = 64, views: int = 16,
            threads: int = 1) -> dict[str, float]:  # fmt: skip
    """Medians over `repeats` alternating runs, in seconds; "ratio" is BlenderProc / Blender per view.

    glb: any object. Keys: blenderproc_start, blenderproc_view, blender_start, blender_view (start covers the
    process's start and end, imports and scene set-up; view the rest over the views), ratio, start_ratio.
    """
    from aligncvc.scene.cameras import orbit, ring_azimuths_deg

    cameras = orbit(ring_azimuths_deg(views), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    job = {
        "c2w": cameras.c2w.double().tolist(), "width": size_px, "height": size_px, "near": cameras.near,
        "focal_px": cameras.focal_px, "far": cameras.far, "threads": threads, "samples": samples,
        "denoise": False, "normalisation": "unit-sphere", "light": "studio", "depth": True, "normals": True,
        "objects": [{"index": 0, "path": str(Path(glb).resolve()), "seed": 0, "look": None}],
    }  # fmt: skip
    modules = {"blenderproc": "aligncvc.render.blender_scene", "blender": "aligncvc.render.overhead"}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in modules}
    for _ in range(repeats):
        for name, module in modules.items():
            runs[name].append(_once(module, job))
    found = {}
    for name, timings in runs.items():
        found[f"{name}_start"] = statistics.median(t["start"] for t in timings)
        found[f"{name}_view"] = statistics.median(t["object"] for t in timings) / views
    return {
        **found,
        "ratio": found["blenderproc_view"] / found["blender_view"],
        "start_ratio": found["blenderproc_start"] / found["blender_start"],
    }


def main() -> None:
    """Child process of `measure`: the plain scene."""
    run_child(plain_scene)


if __name__ == "__main__":
    main()
