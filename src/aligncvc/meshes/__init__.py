"""Triangle meshes: extracted from Gaussians, read and written, drawn. Frame: see `aligncvc.scene.cameras`."""

from aligncvc.meshes.draw import draw_mesh
from aligncvc.meshes.glb import save_glb
from aligncvc.meshes.load import load_mesh
from aligncvc.meshes.tsdf import mesh_from_gaussians

__all__ = ["draw_mesh", "load_mesh", "mesh_from_gaussians", "save_glb"]
