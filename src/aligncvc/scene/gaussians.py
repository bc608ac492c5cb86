"""3D Gaussians as one value, and as the PLY that ordinary viewers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
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

    def moved(self, rotation: Tensor, scale: Tensor, shift: Tensor) -> Gaussians:
        """In another world: x -> scale (...,) * (rotation (..., 3, 3) @ x) + shift (..., 3)."""
        turned = torch.einsum("...ij,...nj->...ni", rotation, self.means)
        return replace(
            self,
            means=scale[..., None, None] * turned + shift[..., None, :],
            scales=scale[..., None, None] * self.scales,
            quats=multiply_quaternions(matrix_to_quaternion(rotation)[..., None, :], self.quats),
        )


def multiply_quaternions(first: Tensor, second: Tensor) -> Tensor:
    """Hamilton product of (..., 4) quaternions (w, x, y, z): the rotation `second`, then `first`."""
    first, second = torch.broadcast_tensors(first, second)
    w1, v1, w2, v2 = first[..., :1], first[..., 1:], second[..., :1], second[..., 1:]
    w = w1 * w2 - (v1 * v2).sum(-1, keepdim=True)
    return torch.cat([w, w1 * v2 + w2 * v1 + torch.linalg.cross(v1, v2)], -1)


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """(..., 3, 3) rotations -> (..., 4) unit quaternions (w, x, y, z), w or the largest member positive."""
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    # 4 q q^T, row by row; the row of the largest member is the best conditioned multiple of q
    outer = torch.stack([
        1 + xx + yy + zz, wx, wy, wz,
        wx, 1 + xx - yy - zz, xy, xz,
        wy, xy, 1 - xx + yy - zz, yz,
        wz, xz, yz, 1 - xx - yy + zz,
    ], -1).unflatten(-1, (4, 4))  # fmt: skip
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*outer.shape[:-2], 1, 4)
    return torch.nn.functional.normalize(outer.gather(-2, best)[..., 0, :], dim=-1)


_PLY_REQUIRED = {
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
}
VIEWER_MARK = "aligncvc: for viewers, y up"
"""How the header comment of a PLY for viewers begins."""


def save_ply(path: Path | str, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write an unbatched set in the 3DGS paper's layout: logit opacity, log scale, degree-0 SH, no normals.

    Gaussians that no viewer would show (opacity < 1/255) are left out. comments: ASCII lines of the header.
    """
    g = gaussians.detach().to("cpu")
    g = g[g.opacities >= 1 / 255]
    columns = {
        ("x", "y", "z"): g.means,
        ("nx", "ny", "nz"): torch.zeros_like(g.means),
        ("f_dc_0", "f_dc_1", "f_dc_2"): (g.colors - 0.5) / SH_C0,
        ("opacity",): torch.logit(g.opacities.clamp(1e-6, 1 - 1e-6))[:, None],
        ("scale_0", "scale_1", "scale_2"): g.scales.clamp_min(1e-8).log(),
        ("rot_0", "rot_1", "rot_2", "rot_3"): g.quats,
    }
    table = torch.cat(list(columns.values()), dim=1).float().numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header += [f"element vertex {len(table)}"]
    header += [f"property float {name}" for names in columns for name in names] + ["end_header", ""]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode("ascii") + table.tobytes())


def _header_and_body(path: Path) -> tuple[list[str], bytes]:
    """Header lines and the bytes after them. Raises UserError for a file that is no PLY."""
    try:
        head, separator, body = path.read_bytes().partition(b"end_header\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a PLY file") from error
    if not head.startswith(b"ply") or not separator:
        raise UserError(f"{path} is not a PLY file; give one written by a 3D Gaussian tool")
    return head.decode("ascii", "replace").splitlines(), body


def is_viewer_ply(path: Path | str) -> bool:
    """Whether a PLY was turned and widened for viewers (`viewer.ply`). Raises UserError if it is no PLY."""
    lines, _ = _header_and_body(Path(path))
    return any(line.startswith(f"comment {VIEWER_MARK}") for line in lines)


def require_raw(path: Path | str) -> None:
    """Raise UserError for a PLY for viewers: measured, it would lie on its side and be too wide."""
    if is_viewer_ply(path):
        raise UserError(
            f"{path} was written for viewers (y up, widened), so it cannot be measured; sample the "
            "photograph again with --raw"
        )


def _ply_table(path: Path) -> tuple[list[str], np.ndarray]:
    """Column names and the (rows, columns) float32 body of a PLY. Raises UserError for any other file."""
    lines, body = _header_and_body(path)
    words = [line.split() for line in lines]
    rows = [w[2] for w in words if w[:2] == ["element", "vertex"] and len(w) == 3 and w[2].isdecimal()]
    names = [w[-1] for w in words if w[:1] == ["property"]]
    floats = [w[2] for w in words if w[:2] == ["property", "float"] and len(w) == 3]
    if ["format", "binary_little_endian", "1.0"] not in words or len(rows) != 1 or names != floats:
        raise UserError(
            f"{path} is a PLY, but not of float vertices in binary little endian; export it again as one"
        )
    announced = int(rows[0]) * len(names) * 4
    if len(body) != announced:
        raise UserError(
            f"{path} has {len(body)} bytes of data where its header announces {announced} (truncated?); "
            "copy or export it again"
        )
    return names, np.frombuffer(body, "<f4").reshape(int(rows[0]), len(names))


def load_harmonics(path: Path | str) -> Tensor | None:
    """All coefficients (N, K, 3) of the colours of a 3DGS PLY, K = 4, 9 or 16; None if they are of degree 0.

    Raises UserError for another file or number of coefficients, and for coefficients that are not finite.
    """
    names, body = _ply_table(Path(path))
    count = sum(name.startswith("f_rest_") for name in names)
    if count not in (0, 9, 24, 45):
        raise UserError(
            f"{path} has {count} properties f_rest_*, which are the harmonics of no whole degree (9, 24 and "
            "45 are those of degrees 1 to 3); export it again"
        )
    rest = body[:, [names.index(f"f_rest_{i}") for i in range(count)]]
    if not rest.any():
        return None
    first = body[:, [names.index(f"f_dc_{i}") for i in range(3)]]
    if not np.isfinite(rest).all():
        raise UserError(f"{path} has spherical harmonics that are not finite numbers; export it again")
    # stored colour by colour, the degrees of one after the other
    higher = rest.reshape(len(rest), 3, count // 3).transpose(0, 2, 1)
    return torch.from_numpy(np.concatenate([first[:, None], higher], axis=1))


def load_ply(path: Path | str) -> Gaussians:
    """Read a 3DGS PLY (binary little endian, float properties; higher SH degrees: `load_harmonics`).

    Raises UserError for a file that is not one, or of no Gaussians, numbers that are not finite, and
    rotations of length 0.
    """
    names, body = _ply_table(Path(path))
    missing = _PLY_REQUIRED - set(names)
    if missing:
        raise UserError(
            f"{path} is not a 3D Gaussian PLY: it lacks {sorted(missing)}; export it from a 3DGS tool"
        )
    if not len(body):
        raise UserError(f"{path} holds no Gaussians; export it again from a model that can be seen")
    table = torch.from_numpy(body.copy())

    def columns(*wanted: str) -> Tensor:
        return table[:, [names.index(n) for n in wanted]]

    quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
    found = Gaussians(
        means=columns("x", "y", "z"),
        scales=columns("scale_0", "scale_1", "scale_2").exp(),
        quats=quats / quats.norm(dim=-1, keepdim=True),
        opacities=columns("opacity")[:, 0].sigmoid(),
        colors=(0.5 + SH_C0 * columns("f_dc_0", "f_dc_1", "f_dc_2")).clamp(0, 1),
    )
    # A rotation of length 0 is not finite by now. An infinite logit is none of these: it says 0 or 1.
    for field in fields(found):
        bad = int((~getattr(found, field.name).isfinite()).reshape(len(table), -1).any(1).sum())
        if bad:
            what = "rotations of length 0, or" if field.name == "quats" else f"{field.name} that are"
            raise UserError(
                f"{path} has {what} not finite numbers in {bad} of its {len(table)} Gaussians; leave these "
                "out and export it again"
            )
    return found
