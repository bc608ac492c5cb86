"""Triangle meshes: extracted from Gaussians, read and written, drawn. Frame: see `aligncvc.scene.cameras`."""

from aligncvc.meshes.draw import draw_mesh
from aligncvc.meshes.files import load_mesh, save_glb
from aligncvc.meshes.tsdf import mesh_from_gaussians

__all__ = ["draw_mesh", "load_mesh", "mesh_from_gaussians", "save_glb"]
