"""The camera and task vector that tells Wonder3D's U-Net which view and which domain a row is.

(input elevation, elevation, azimuth) in radians, then perspective [1, 0] or orthographic [0, 1] (not in v1),
then normals [1, 0] or colours [0, 1]; the sine of all of it, then the cosine. Released weights were trained
with labels: pose files have a rig tilted against the z axis, so one that is level in the frame of the input
view (azimuths of VIEWS) gets the differences of LABELS; v1's are float16 (github xxlong0/Wonder3D,
mvdiffusion/pipelines/pipeline_mvdiffusion_image.py and data/fixed_poses/nine_views, issue 72).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras, spherical_deg

CAMERA_DIM = 14
"""Length of Wonder3D++'s vector; v1's has 10."""

VIEWS = {"front": 0.0, "front_right": 45.0, "right": 90.0, "back": 180.0, "left": 270.0, "front_left": 315.0}
"""Wonder3D's views: azimuth in degrees from the input view, counter-clockwise seen from above."""

_HALF = ((0.0, -0.2362, -0.1686, 0.5220, 0.6904, 0.3733), (0.0, 0.8125, 1.6934, 3.1406, 4.8359, 5.5859))
_POSES = (
    (0.0, -0.2362404, -0.1686187, 0.5220366, 0.6906554, 0.3733139),
    (0.0, 0.8123775, 1.6934898, 3.1415927, 4.8350825, 5.5860105),
)
LABELS = {
    "wonder3d-v1": torch.tensor(_HALF, dtype=torch.float16, device="cpu").float().T,
    "wonder3d-plus": torch.tensor(_POSES, device="cpu").T,
}
"""Table -> (polar difference, azimuth difference) in radians of each of VIEWS, in its order."""

NEAR_DEG = 1.0
"""How far from a view of VIEWS a camera may stand to get its label."""


def camera_embedding(
    cameras: Tensor,
    *,
    dim: int = CAMERA_DIM,
    camera_type: str = "perspective",
    table: str = "computed",
    domains: Sequence[str] = ("colours",),
) -> Tensor:
    """(B, V, 4, 4) c2w with the input view first -> (B, V, D dim), the vectors of a view's domains in a row.

    table: "computed": 0, the elevation above the input view's and the azimuth; "aligncvc", as in its release:
    the input view's elevation, the view's own, the azimuth; or a key of LABELS. UserError for a camera
    without label.
    """
    azimuth, elevation, _ = spherical_deg(Cameras(cameras, fov_y_deg=1.0, width=1, height=1))
    first = elevation[..., :1]
    if table in LABELS:
        angles = _labelled(azimuth, LABELS[table])
    elif table == "aligncvc":
        angles = torch.stack([first.expand_as(elevation), elevation, azimuth], -1).deg2rad()
    else:
        angles = torch.stack([torch.zeros_like(azimuth), elevation - first, azimuth], -1).deg2rad()
    kind = [] if dim != CAMERA_DIM else [1.0, 0.0] if camera_type == "perspective" else [0.0, 1.0]
    tasks = [[1.0, 0.0] if domain == "normals" else [0.0, 1.0] for domain in domains]
    flags = [angles.new_tensor(kind + task).expand(*angles.shape[:-1], -1) for task in tasks]
    vectors = [torch.cat([angles, flag], -1) for flag in flags]
    return torch.cat([part for vector in vectors for part in (vector.sin(), vector.cos())], -1)


def _labelled(azimuth: Tensor, labels: Tensor) -> Tensor:
    """Azimuths (B, V) in degrees -> (B, V, 3): 0 and the table's two angles of the nearest of VIEWS."""
    known = azimuth.new_tensor(list(VIEWS.values()))
    apart = ((azimuth[..., None] - known + 180) % 360 - 180).abs()
    nearest = apart.argmin(-1)
    far = apart.amin(-1) > NEAR_DEG
    if bool(far.any()):
        raise UserError(
            f"Wonder3D's labels are of views at azimuths {', '.join(f'{a:g}' for a in VIEWS.values())} "
            f"degrees and a camera stands at {float(azimuth[far][0]):.1f}; choose such a rig, or "
            "camera_table: computed in the network's settings"
        )
    table = labels.to(azimuth)[nearest]
    return torch.cat([torch.zeros_like(table[..., :1]), table], -1)
