"""The colours of a mesh, part by part: vertex colours, face colours, and one texture per face.

trimesh packs the textures of several parts into one atlas, and loses colours on the way. Here each face keeps
its own texture. A `Trimesh` carries this in what trimesh keeps up to date by itself: `visual.uv`,
`face_attributes["material"]` (index into the visual's `MultiMaterial`, -1 for none) and
`vertex_attributes["color"]`, which multiplies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import MultiMaterial, PBRMaterial

from aligncvc.scene.glb import rgba, to_linear, to_srgb

Array = NDArray[Any]


def multiplied(first: Array, second: Array) -> NDArray[np.float64]:
    """Product of (.., 4) sRGB colours, taken of the linear values as glTF's colours multiply."""
    colour = to_srgb(to_linear(first[..., :3]) * to_linear(second[..., :3]))
    return np.concatenate([colour, first[..., 3:] * second[..., 3:]], -1)


def image_and_factor(material: Any) -> tuple[Image.Image | None, NDArray[np.float64]]:
    """A material's base colour image, or None, and the (4,) sRGB colour in [0, 1] that multiplies it.

    An OBJ's Kd beside an image is a left-over of the exporter (`objects.convert` ignores it too).
    """
    is_gltf = isinstance(material, PBRMaterial)
    names = ("baseColorTexture", "baseColorFactor") if is_gltf else ("image", "diffuse")
    image, given = (getattr(material, name, None) for name in names)
    if given is None or not (is_gltf or image is None):
        return image, np.ones(4)
    factor = np.asarray(given, np.float64) / 255
    return image, np.concatenate([to_srgb(factor[:3]), factor[3:]]) if is_gltf else factor  # linear in glTF


@dataclass(frozen=True)
class Paint:
    """Straight sRGB colours in [0, 1] of a mesh: vertices (N, 4), or faces (F, 4) instead of them.

    textures: (H, W, 4) uint8 each, multiplied by the vertices' colours; worn: (F,) index into textures, -1
    for none; uv: (N, 2), v upwards as in trimesh.
    """

    vertices: Array
    worn: NDArray[np.int64]
    uv: Array
    textures: tuple[NDArray[np.uint8], ...] = ()
    faces: Array | None = None

    @staticmethod
    def of(mesh: trimesh.Trimesh) -> Paint:
        """What a mesh's visual and attributes say; trimesh's grey where they say nothing."""
        visual: Any = mesh.visual
        count = len(mesh.vertices)
        bare, no_uv = np.full(len(mesh.faces), -1), np.zeros((count, 2))
        if isinstance(visual, ColorVisuals):
            faces = rgba(visual.face_colors) if visual.kind == "face" else None
            return Paint(rgba(visual.vertex_colors), bare, no_uv, faces=faces)
        material = visual.material
        materials = list(material.materials) if isinstance(material, MultiMaterial) else [material]
        given = mesh.face_attributes.get("material", visual.face_materials)
        which = np.zeros(len(mesh.faces), np.int64) if given is None else np.asarray(given)
        has_uv = visual.uv is not None and len(visual.uv) == count
        vertices, worn = np.ones((count, 4)), bare
        textures: list[NDArray[np.uint8]] = []
        for index, each in enumerate(materials):
            image, vertices[mesh.faces[which == index]] = image_and_factor(each)
            if image is not None and has_uv:
                worn = np.where(which == index, len(textures), worn)
                textures.append(np.asarray(image.convert("RGBA")))
        tint = np.asarray(mesh.vertex_attributes.get("color", np.zeros((0, 4))))
        if len(tint) == count:
            vertices = multiplied(vertices, rgba(tint))
        return Paint(vertices, worn, np.asarray(visual.uv) if has_uv else no_uv, tuple(textures))

    @staticmethod
    def joined(paints: list[Paint]) -> Paint:
        """Of several meshes put one after the other. Face colours stay only if there is one mesh."""
        if len(paints) == 1:
            return paints[0]
        starts = np.cumsum([0] + [len(p.textures) for p in paints[:-1]])
        worn = [np.where(p.worn < 0, -1, p.worn + s) for p, s in zip(paints, starts, strict=True)]
        return Paint(
            np.concatenate([p.vertices for p in paints]),
            np.concatenate(worn),
            np.concatenate([p.uv for p in paints]),
            tuple(texture for p in paints for texture in p.textures),
        )

    def put_on(self, mesh: trimesh.Trimesh) -> None:
        """Give a mesh these colours, such that `Paint.of` finds them again (to 8 bits)."""
        colours = (self.vertices * 255).round().astype(np.uint8)
        if not self.textures:
            faces = None if self.faces is None else (self.faces * 255).round().astype(np.uint8)
            mesh.visual = ColorVisuals(mesh, faces, colours if faces is None else None)
            return
        materials = [PBRMaterial(baseColorTexture=Image.fromarray(texture)) for texture in self.textures]
        mesh.visual = TextureVisuals(uv=self.uv, material=MultiMaterial(materials))
        mesh.face_attributes["material"] = self.worn
        mesh.vertex_attributes["color"] = colours

    @cached_property
    def pyramids(self) -> list[list[NDArray[np.uint8]]]:
        return [_pyramid(texture) for texture in self.textures]

    def at(
        self, face: Array, corners: Array, weights: Array, pixels: Array | None = None
    ) -> NDArray[np.float64]:
        """Colours (P, 4) of points on faces (P,) with vertices corners (P, 3), at affine weights (P, 3).

        pixels: (P,) area of each point's face in the image, for textures finer than that; None: the finest.
        """
        if self.faces is not None:
            return self.faces[face]
        colours = np.einsum("pk,pkc->pc", weights, self.vertices[corners])
        worn = self.worn[face]
        for index, levels in enumerate(self.pyramids):
            here = np.flatnonzero(worn == index)
            if not len(here):
                continue
            uv = self.uv[corners[here]]
            level = np.zeros(len(here), np.int64)
            if pixels is not None:
                level = _level(uv * levels[0].shape[1::-1], pixels[here], len(levels))
            at = np.einsum("pk,pkc->pc", weights[here], uv)
            texels = np.empty((len(here), 4))
            for each in np.unique(level):
                texels[level == each] = _texels(levels[each], at[level == each])
            tinted = bool((colours[here] < 1 - 1e-6).any())
            colours[here] = multiplied(texels, colours[here]) if tinted else texels
        return colours

    def baked(self, faces: Array) -> NDArray[np.float64]:
        """(N, 4) colours of the vertices: textures and face colours there, averaged over the faces."""
        if self.faces is None and not self.textures:
            return self.vertices
        face = np.repeat(np.arange(len(faces)), 3)
        corner = np.tile(np.eye(3), (len(faces), 1))
        total = np.zeros_like(self.vertices)
        count = np.bincount(faces.reshape(-1), minlength=len(self.vertices))
        np.add.at(total, faces.reshape(-1), self.at(face, faces[face], corner))
        return np.where(count[:, None] > 0, total / count.clip(1)[:, None], self.vertices)


def _pyramid(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """An image, and its halves down to one pixel of the shorter side; light is averaged, not its code."""
    levels, light = [image], image / 255
    light[..., :3] = to_linear(light[..., :3])
    while min(light.shape[:2]) > 1:
        rows, columns = light.shape[0] // 2, light.shape[1] // 2
        light = light[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 4).mean((1, 3))
        coded = np.concatenate([to_srgb(light[..., :3]), light[..., 3:]], -1)
        levels.append((coded * 255).round().astype(np.uint8))
    return levels


def _level(texels: Array, pixels: Array, count: int) -> NDArray[np.int64]:
    """Level of the pyramid with texels about as large as pixels: (P, 3, 2) corners in texels, (P,) areas."""
    first, second = texels[:, 1] - texels[:, 0], texels[:, 2] - texels[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    ratio = np.maximum(area, 1e-12) / np.maximum(pixels, 1e-12)
    return (0.5 * np.log2(ratio)).round().astype(np.int64).clip(0, count - 1)


def _texels(image: NDArray[np.uint8], uv: Array) -> NDArray[np.float64]:
    """Bilinear look-up, (P, 2) -> (P, 4) in [0, 1]; repeats beyond [0, 1]; v grows upwards."""
    height, width = image.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = (x - left)[:, None], (y - top)[:, None]
    rows, columns = (top % height, (top + 1) % height), (left % width, (left + 1) % width)
    upper = image[rows[0], columns[0]] * (1 - across) + image[rows[0], columns[1]] * across
    lower = image[rows[1], columns[0]] * (1 - across) + image[rows[1], columns[1]] * across
    return (upper * (1 - down) + lower * down) / 255
