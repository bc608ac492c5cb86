"""Endings of file names by what is in the files, for folders that people fill."""

from __future__ import annotations

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Pictures that may be somebody's views."""

LOSSY = (".jpg", ".jpeg", ".webp")
"""Those that are usually not what was written into them."""

MESHES = (".glb", ".gltf", ".obj", ".ply", ".stl")
"""Meshes that some stage reads."""

FRAMES = "campos_512_v4"
"""Folder of an object's rendered frames in GObjaverse."""

_NAMES = (
    "3dm 3ds 3mf abc blend c4d ctm dae drc fbx iges igs ksplat lwo ma max mb off ogex skp splat spz step stp",
    "usd usda usdc usdz vrm wrl x3d",
)
OTHER_MODELS = tuple(f".{name}" for line in _NAMES for name in line.split())
"""Formats of 3D models that no stage reads. A file of them is not passed over: somebody meant it."""
