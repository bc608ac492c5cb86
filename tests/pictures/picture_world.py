"""Made objects as published pictures would show them, and a protocol that asks for these."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import trimesh
import yaml

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.jobs.render import RenderJob
from aligncvc.config.objects import ObjectSet, Render
from aligncvc.config.protocols import FOLDER, Protocol, parse_protocol
from aligncvc.meshes import draw_mesh
from aligncvc.objects.fetch import fetch_set
from aligncvc.objects.listing import ObjectRow, write_list
from aligncvc.objects.pictures import pictures_hash
from aligncvc.render.run import render_set
from aligncvc.scene.cameras import Cameras, look_at_origin
from aligncvc.scene.views import save_png

WIDTH, HEIGHT, FOCAL_PX = 160, 116, 243.3
NAMES = ["tower", "table"]
BLOCKS = {
    "tower": [
        ((0, 0, 0), (3, 2, 6), "red"),
        ((2.5, 0, -2), (2, 2, 2), "green"),
        ((0, -2, 2), (1, 2, 1), "blue"),
    ],
    "table": [
        ((0, 0, 0), (6, 4, 1), "blue"),
        ((2, 1, -2), (1, 1, 3), "red"),
        ((-2, -1, 1), (1, 1, 2), "green"),
    ],
}
COLOURS = {"red": [200, 30, 30, 255], "green": [30, 160, 30, 255], "blue": [40, 40, 200, 255]}


def block_mesh(name: str) -> trimesh.Trimesh:
    """Coloured boxes without symmetry, of another size and place than any normalisation would give."""
    parts = []
    for centre, extents, colour in BLOCKS[name]:
        box = trimesh.creation.box(
            extents=extents, transform=trimesh.transformations.translation_matrix(centre)
        )
        box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=np.tile(COLOURS[colour], (8, 1)))
        parts.append(box)
    return trimesh.util.concatenate(parts).apply_translation([5.0, -3.0, 1.0])


def normalised(mesh: trimesh.Trimesh, turn_deg: float = 0.0) -> trimesh.Trimesh:
    """The box centred, half of its diagonal 1, then turned about z."""
    low, high = mesh.bounds
    mesh = mesh.copy().apply_translation(-(low + high) / 2).apply_scale(2 / np.linalg.norm(high - low))
    return mesh.apply_transform(trimesh.transformations.rotation_matrix(math.radians(turn_deg), [0, 0, 1]))


def protocol_data(listing: Path, chosen: int = 0) -> dict[str, object]:
    """`gso-published` for smaller pictures of the objects of a list."""
    data = yaml.safe_load((FOLDER / "gso-published.yaml").read_text())
    data["objects"] = {"list": str(listing)}
    data["render"]["pictures"] |= {
        "width": WIDTH, "height": HEIGHT, "focal_px": FOCAL_PX, "input": chosen,
    }  # fmt: skip
    data["metrics"]["geometry"] |= {"points": 1000, "grid": 16, "alignment": ["none"]}
    return data


def cameras(protocol: Protocol) -> Cameras:
    """Of the whole pictures, in their own order."""
    assert protocol.render.pictures is not None
    places = torch.tensor(protocol.render.pictures.positions, dtype=torch.float64)
    fov_y_deg = math.degrees(2 * math.atan(HEIGHT / 2 / FOCAL_PX))
    return Cameras(look_at_origin(places).float(), fov_y_deg, WIDTH, HEIGHT, 2.0, 7.0)


def publish(folder: Path, protocol: Protocol, name: str) -> None:
    """Pictures 0.png ... on white and mesh.npz of one object, drawn by a z-buffer, unlit."""
    mesh = block_mesh(name)
    folder.mkdir(parents=True)
    for i, image in enumerate(draw_mesh(normalised(mesh), cameras(protocol), 1.0).rgb):
        save_png(folder / f"{i}.png", image)
    np.savez(folder / "mesh.npz", v=mesh.vertices.astype(np.float32), f=mesh.faces.astype(np.int32))


def world(root: Path, chosen: int = 0) -> tuple[Protocol, ObjectsJob, RenderJob]:
    """Both objects below `root/mirror` with their list, the protocol, the jobs of the first two stages."""
    listing = root / "list.tsv"
    listing.write_text("id\tsource\tlicence\tcreator\n")
    protocol = parse_protocol(protocol_data(listing, chosen), "made", "made.yaml")
    rows = []
    for name in NAMES:
        publish(root / "mirror" / name, protocol, name)
        digest = pictures_hash(root / "mirror" / name)
        rows.append(ObjectRow(name, name, name, "made", digest, "CC-BY-4.0", "A. Maker", "eval"))
    write_list(listing, rows)
    protocol = parse_protocol(protocol_data(listing, chosen), "made", "made.yaml")
    objects = ObjectSet(source="pictures", path=str(root / "mirror"), list=str(listing))
    return protocol, ObjectsJob(set="eval", objects=objects), render_job(protocol)


def render_job(protocol: Protocol, **change: object) -> RenderJob:
    """The second stage's job."""
    return RenderJob(set="eval", render=Render(**{**dict(protocol.render), **change}))


def stages(root: Path, chosen: int = 0) -> Protocol:
    """`world` through both stages: `root/objects/eval` and `root/renders/eval`."""
    protocol, objects, render = world(root, chosen)
    fetch_set(objects, root / "objects/eval")
    render_set(render, root / "objects/eval/manifest.tsv", root / "renders/eval", workers=1)
    return protocol
