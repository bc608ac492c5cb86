"""The render stage's scene once more with Blender's own interface, to show what BlenderProc adds (`blender`).

A child process, `python -m aligncvc.bench.plain_scene job.json`: it imports nothing that adds to its start.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from aligncvc.render import blender_scene
from aligncvc.render.bproc_adapter import run_child


def plain_scene(job: dict[str, Any]) -> None:
    """The job's first object with bpy alone; writes what it took, as `blender_scene.run` does."""
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
    began = time.perf_counter()
    bpy.ops.import_scene.gltf(filepath=job["objects"][0]["path"])
    _normalise(bpy, scene)
    bpy.ops.render.render(animation=True, write_still=True)
    _read_back(Path(job["temporary"]), len(job["c2w"]))
    done = {"event": "done", "index": 0, "seconds": time.perf_counter() - began}
    Path(job["progress"]).write_text(json.dumps(done) + "\n")


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


if __name__ == "__main__":
    run_child(plain_scene)
