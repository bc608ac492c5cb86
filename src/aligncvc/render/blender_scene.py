"""The scene: the only module that imports Blender. `python -m aligncvc.render.blender_scene JOB.json`.

One process renders every object of a job (`jobs.blender_job`), so that Blender's start-up is paid once; torch
is not loaded. Written are `<output>/<index>.npz` per object (rgba uint8 (V,H,W,4) straight alpha; depth
float32 (V,H,W), z along the camera axis, 0 without object; normals float32 (V,H,W,3) in the world, 0 without
object; scale, offset, stretch and heading_deg) and one JSON line per event in the progress file.
"""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from aligncvc.errors import reason_of
from aligncvc.render import appearance, bproc_adapter
from aligncvc.scene.gltf import Gltf
from aligncvc.scene.gltf_still import make_still

WORLD_COLOUR, WORLD_STRENGTH = (1.0, 1.0, 1.0), 0.45
UNIFORM_COLOUR = (0.5, 0.5, 0.5)  # SyncDreamer's blender_script.py: a grey world of strength 1 and no lamp
SUN_ENERGY = 1.6  # W/m^2; with the world a white surface facing the sun stays just below 1
SUN_ANGLE_DEG = 25.0  # a wide sun: soft shadows
SUN_EULER_DEG = (40.0, 0.0, -35.0)  # from the front, the left and above
BOUNCES = {
    "diffuse_bounces": 2,
    "glossy_bounces": 2,
    "transmission_bounces": 4,
    "volume_bounces": 0,
    "transparent_max_bounces": 16,
    "ao_bounces_render": 0,
    "max_bounces": 6,
}
NO_SURFACE = 1e9  # Blender's depth pass says 1e10 where there is nothing
OPENCV_TO_BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes: y up and looking along -z


class BadObjectError(Exception):
    """The object cannot be rendered; `stage` says where."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


class Scene:
    """Cameras, light and renderer set up once; objects come and go."""

    def __init__(self, job: dict[str, Any], bproc: Any) -> None:
        import bpy

        self.bpy, self.bproc, self.job = bpy, bproc, job
        self.c2w = np.asarray(job["c2w"], np.float64) @ OPENCV_TO_BLENDER
        self._set_renderer()
        self._set_light()
        self._set_cameras()
        bproc.renderer.enable_depth_output(activate_antialiasing=False)
        bproc.renderer.enable_normals_output()  # bakes the camera poses in: after the cameras
        for node in bpy.context.scene.node_tree.nodes:
            if node.type == "OUTPUT_FILE":
                node.format.color_depth = "32"  # BlenderProc leaves half floats

    def _set_renderer(self) -> None:
        renderer, scene, job = self.bproc.renderer, self.bpy.context.scene, self.job
        renderer.set_cpu_threads(job["threads"])
        renderer.set_max_amount_of_samples(job["samples"])
        renderer.set_noise_threshold(0)
        renderer.set_denoiser("INTEL" if job["denoise"] else None)
        renderer.set_light_bounces(**BOUNCES)
        renderer.set_simplify_subdivision_render(0)
        renderer.set_output_format("PNG", 8, enable_transparency=True, view_transform="Standard")
        scene.view_settings.look = "None"
        scene.render.dither_intensity = 0
        scene.cycles.use_animated_seed = False
        scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
        # depth and normals of translucent surfaces too
        self.bpy.context.view_layer.pass_alpha_threshold = 0.1

    def _set_light(self) -> None:
        if self.job["light"] == "uniform":
            self.bproc.renderer.set_world_background(list(UNIFORM_COLOUR), 1.0)
            return
        self.bproc.renderer.set_world_background(list(WORLD_COLOUR), WORLD_STRENGTH)
        sun = self.bproc.types.Light("SUN", name="sun")
        sun.set_energy(SUN_ENERGY)
        sun.set_rotation_euler([math.radians(a) for a in SUN_EULER_DEG])
        sun.blender_obj.data.angle = math.radians(SUN_ANGLE_DEG)

    def _set_cameras(self) -> None:
        job, width, height = self.job, self.job["width"], self.job["height"]
        # BlenderProc counts pixel centres at integers, this project at half-integers.
        k = [[job["focal_px"], 0, (width - 1) / 2], [0, job["focal_px"], (height - 1) / 2], [0, 0, 1]]
        self.bproc.camera.set_intrinsics_from_K_matrix(k, width, height, job["near"], job["far"])
        for pose in self.c2w:
            self.bproc.camera.add_camera_pose(pose)

    def render_object(self, path: str, seed: int, look: int | None = None) -> dict[str, np.ndarray]:
        """Import, normalise, render, and remove the object again. look: seed of an `appearance`, or None."""
        before = self._data_blocks()
        scene = self.bpy.context.scene
        kept = scene.camera, scene.frame_start, scene.frame_end
        try:
            arrays = self._load(path, look)
            scene.camera, scene.frame_start, scene.frame_end = kept  # importers may set their own
            scene.render.use_persistent_data = True  # one object's views share what Cycles loaded
            scene.cycles.seed = seed
            arrays |= self._collect(self.bproc.renderer.render(verbose=True))
        finally:
            # Cycles keeps textures by address: kept longer, the next object could wear this one's.
            scene.render.use_persistent_data = False
            self.bpy.data.batch_remove(self._data_blocks() - before)
        return arrays

    def _data_blocks(self) -> set[Any]:
        data = self.bpy.data
        kinds = ("objects", "meshes", "materials", "images", "textures", "node_groups", "actions",
                 "armatures", "cameras", "lights", "collections", "curves", "scenes", "worlds")  # fmt: skip
        return {block for kind in kinds for block in getattr(data, kind)}

    def _load(self, path: str, look: int | None) -> dict[str, np.ndarray]:
        """Import a GLB and fit it into the unit sphere or cube.

        new = scale * turn(heading_deg, z) * (stretch * old) + offset; old: z up, glTF's (x, -z, y).
        """
        known = set(self.bpy.data.objects)
        try:
            self.bproc.loader.load_obj(self._still(path))
        except Exception as error:
            raise BadObjectError("import", (str(error).strip() or repr(error)).splitlines()[-1]) from error
        imported = [o for o in self.bpy.data.objects if o not in known]
        for thing in [o for o in imported if o.type in ("LIGHT", "CAMERA")]:
            imported.remove(thing)
            self.bpy.data.objects.remove(thing)
        self.bpy.context.view_layer.update()
        meshes = [o for o in imported if o.type == "MESH"]
        stretch, heading = np.ones(3), 0.0
        if look is not None:
            drawn = appearance.draw(look)
            stretch, heading = np.asarray(drawn.stretch), drawn.heading_deg
            slots = [slot.material for o in meshes for slot in o.material_slots]
            appearance.repaint(dict.fromkeys(m for m in slots if m is not None), look)
        turn = np.radians(heading)
        cos, sin = np.cos(turn), np.sin(turn)
        rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        points = self._points(meshes) * stretch @ rotation.T
        low, high = points.min(0), points.max(0)
        centre = (low + high) / 2
        if self.job["normalisation"] == "unit-cube":
            size = float((high - low).max())  # the longest side becomes 1: a cube that the unit sphere holds
        else:
            size = float(np.linalg.norm(points - centre, axis=1).max())
        if not size > 0:
            raise BadObjectError("normalise", "all vertices coincide, the object has no size")
        scale, offset = 1 / size, -centre / size
        self._transform(imported, scale * stretch, turn, offset)
        for material in self.bpy.data.materials:
            material.use_backface_culling = False
        normalisation = {"scale": scale, "offset": offset, "stretch": stretch, "heading_deg": heading}
        return {name: np.asarray(value) for name, value in normalisation.items()}

    def _still(self, path: str) -> str:
        """A GLB as everybody reads it: itself, or simplified among the temporary files."""
        gltf = Gltf.read(Path(path))
        if not make_still(gltf):
            return path
        still = Path(self.job["temporary"]) / "still.glb"
        still.write_bytes(gltf.to_bytes())
        return str(still)

    def _points(self, meshes: list[Any]) -> np.ndarray:
        """(N, 3) world positions of the vertices that faces use, as they will be rendered."""
        graph = self.bpy.context.evaluated_depsgraph_get()
        points = []
        for thing in meshes:
            evaluated = thing.evaluated_get(graph)
            mesh = evaluated.to_mesh()
            vertices = np.empty(len(mesh.vertices) * 3, np.float32)
            mesh.vertices.foreach_get("co", vertices)
            used = np.empty(len(mesh.loops), np.int32)
            mesh.loops.foreach_get("vertex_index", used)
            world = np.asarray(thing.matrix_world, np.float64)
            points.append(vertices.reshape(-1, 3)[np.unique(used)] @ world[:3, :3].T + world[:3, 3])
            evaluated.to_mesh_clear()
        merged = np.concatenate(points) if points else np.empty((0, 3))
        if not len(merged):
            raise BadObjectError("normalise", "the file has no faces")
        if not np.isfinite(merged).all():
            raise BadObjectError("normalise", "the file has vertices that are not finite numbers")
        return merged

    def _transform(self, imported: list[Any], scale: np.ndarray, turn: float, offset: np.ndarray) -> None:
        """Hang everything under one scaled, turned, shifted empty: any hierarchy stays, shear included."""
        root = self.bpy.data.objects.new("normalisation", None)
        self.bpy.context.scene.collection.objects.link(root)
        root.scale, root.rotation_euler, root.location = scale, (0, 0, turn), offset
        for thing in imported:
            if thing.parent is None:
                thing.parent = root
        self.bpy.context.view_layer.update()

    def _collect(self, data: dict[str, Any]) -> dict[str, np.ndarray]:
        """BlenderProc's lists -> arrays in this project's conventions."""
        rgba = np.stack(data["colors"]).astype(np.uint8)
        seen = rgba[..., 3] > 0
        depth = np.stack(data["depth"]).astype(np.float32)
        depth = np.where((depth > NO_SURFACE) | ~seen, 0, depth).astype(np.float32)
        # normals come as (n + 1) / 2 in Blender's camera axes
        local = np.stack(data["normals"])[..., :3].astype(np.float64) * 2 - 1
        world = np.einsum("vij,vhwj->vhwi", self.c2w[:, :3, :3], local)
        length = np.linalg.norm(world, axis=-1, keepdims=True)
        known = (length > 1e-2) & seen[..., None]
        normals = np.where(known, world / np.maximum(length, 1e-2), 0).astype(np.float32)
        return {"rgba": rgba, "depth": depth, "normals": normals}


def run(job: dict[str, Any]) -> None:
    """Render all objects of a job; a bad object is reported and the next one follows."""
    with Path(job["progress"]).open("a", encoding="utf-8") as progress:

        def tell(event: str, **facts: Any) -> None:
            progress.write(json.dumps({"event": event, **facts}) + "\n")
            progress.flush()

        began = time.perf_counter()
        bproc = bproc_adapter.load(Path(job["temporary"]))
        scene = Scene(job, bproc)
        versions = {"blender": scene.bpy.app.version_string, "blenderproc": bproc.__version__}
        tell("ready", seconds=time.perf_counter() - began, **versions)
        for entry in job["objects"]:
            if os.getppid() != job["parent_pid"]:  # the driver is gone: nobody will read the rest
                return
            tell("start", index=entry["index"])
            began, event, why = time.perf_counter(), "failed", {}
            try:
                arrays = scene.render_object(entry["path"], entry["seed"], entry["look"])
                np.savez(Path(job["output"]) / f"{entry['index']}.npz", **arrays)
                event = "done"  # what is not done is not read
            except BadObjectError as error:
                why = {"stage": error.stage, "reason": str(error)}
            except Exception as error:
                traceback.print_exc()
                why = {"stage": "render", "reason": reason_of(error)}
            tell(event, index=entry["index"], seconds=time.perf_counter() - began, **why)
        tell("end")


if __name__ == "__main__":
    bproc_adapter.run_child(run)
