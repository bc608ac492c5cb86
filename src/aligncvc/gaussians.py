"""3D Gaussians as one value, and as the PLY that ordinary viewers read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import atomic_path

SH_C0 = 0.28209479177387814
"""Y_0^0: a PLY stores colour as degree-0 spherical harmonics, colour = 0.5 + SH_C0 * f_dc."""


@dataclass(frozen=True)
class Gaussians:
    """N (or batched, ..., N) isotropic-colour 3D Gaussians.

    means (..., N, 3) world; scales (..., N, 3) standard deviations > 0, world units;
    quats (..., N, 4) unit quaternions (w, x, y, z); opacities (..., N) and colors (..., N, 3) in [0, 1].
    """

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor

    def __getitem__(self, index: object) -> Gaussians:
        """Index the leading (batch) axes of every member alike."""
        return Gaussians(*(getattr(self, f.name)[index] for f in fields(self)))

    def __len__(self) -> int:
        return self.means.shape[-2]

    def detach(self) -> Gaussians:
        return Gaussians(*(getattr(self, f.name).detach() for f in fields(self)))

    def to(self, device: torch.device | str) -> Gaussians:
        return Gaussians(*(getattr(self, f.name).to(device) for f in fields(self)))


_PLY_COLUMNS = [
    "x",
    "y",
    "z",
    "nx",
    "ny",
    "nz",
    "f_dc_0",
    "f_dc_1",
    "f_dc_2",
    "opacity",
    "scale_0",
    "scale_1",
    "scale_2",
    "rot_0",
    "rot_1",
    "rot_2",
    "rot_3",
]


def save_ply(path: Path | str, gaussians: Gaussians, min_opacity: float = 1 / 255) -> None:
    """Write an unbatched set in the 3DGS layout (logit opacity, log scale, degree-0 SH).

    Gaussians fainter than `min_opacity` are dropped: no viewer would show them.
    """
    g = gaussians.detach().to("cpu")
    keep = g.opacities >= min_opacity
    g = g[keep]
    opacity = g.opacities.clamp(1e-6, 1 - 1e-6)
    columns = (
        torch.cat(
            [
                g.means,
                torch.zeros_like(g.means),
                (g.colors - 0.5) / SH_C0,
                torch.logit(opacity)[:, None],
                g.scales.clamp_min(1e-8).log(),
                g.quats,
            ],
            dim=1,
        )
        .float()
        .numpy()
        .astype("<f4")
    )
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            f"element vertex {len(columns)}",
            *(f"property float {name}" for name in _PLY_COLUMNS),
            "end_header",
            "",
        ]
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(header.encode("ascii") + columns.tobytes())


def _ply_table(path: Path) -> tuple[list[str], np.ndarray]:
    """Column names and the (rows, columns) float32 body of a PLY. Raises UserError for any other file."""
    try:
        head, separator, body = path.read_bytes().partition(b"end_header\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a PLY file") from error
    if not head.startswith(b"ply") or not separator:
        raise UserError(f"{path} is not a PLY file; give one written by a 3D Gaussian tool")
    words = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    rows = [w[2] for w in words if w[:2] == ["element", "vertex"] and len(w) == 3 and w[2].isdecimal()]
    names = [w[-1] for w in words if w[:1] == ["property"]]
    floats = [w[2] for w in words if w[:2] == ["property", "float"] and len(w) == 3]
    if ["format", "binary_little_endian", "1.0"] not in words or len(rows) != 1 or names != floats:
        raise UserError(
            f"{path} is a PLY, but not of float vertices in binary little endian; export it again as one"
        )
    if len(body) != int(rows[0]) * len(names) * 4:
        raise UserError(
            f"{path} has {len(body)} bytes of data where its header announces "
            f"{int(rows[0]) * len(names) * 4} (truncated?); copy or export it again"
        )
    return names, np.frombuffer(body, "<f4").reshape(int(rows[0]), len(names))


def load_ply(path: Path | str) -> Gaussians:
    """Read a 3DGS PLY (binary little endian, float properties; higher SH degrees are ignored).

    Raises UserError for a file that is not one.
    """
    names, body = _ply_table(Path(path))
    missing = {name for name in _PLY_COLUMNS if name[0] != "n"} - set(names)
    if missing:
        raise UserError(
            f"{path} is not a 3D Gaussian PLY: it lacks {sorted(missing)}; export it from a 3DGS tool"
        )
    table = torch.from_numpy(body.copy())

    def columns(*wanted: str) -> Tensor:
        return table[:, [names.index(n) for n in wanted]]

    quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
    return Gaussians(
        means=columns("x", "y", "z"),
        scales=columns("scale_0", "scale_1", "scale_2").exp(),
        quats=quats / quats.norm(dim=-1, keepdim=True),
        opacities=columns("opacity")[:, 0].sigmoid(),
        colors=(0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2")).clamp(0, 1),
    )
