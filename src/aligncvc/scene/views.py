"""A posed set of images, in memory and on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.scene.cameras import Cameras, load_cameras, save_cameras
from aligncvc.scene.pictures import eight_bit

OFF_WHITE = 0.06
"""A pixel shows the object if a channel is more than this from white."""


@dataclass(frozen=True)
class Views:
    """V posed views of one object.

    rgba: (V, 4, H, W) in [0, 1], straight (not premultiplied) alpha.
    depth: (V, H, W) distance along the camera's z axis, 0 where there is no object; or None.
    normals: (V, 3, H, W) world-space unit normals in [-1, 1], 0 where there is no object; or None.
    """

    rgba: Tensor
    cameras: Cameras
    depth: Tensor | None = None
    normals: Tensor | None = None

    def __len__(self) -> int:
        return self.rgba.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int]) -> Views:
        if isinstance(index, int):
            index = [index]
        depth, normals = (None if x is None else x[index] for x in (self.depth, self.normals))
        return Views(self.rgba[index], self.cameras[index], depth, normals)

    @property
    def alpha(self) -> Tensor:
        """(V, 1, H, W) in [0, 1]."""
        return self.rgba[:, 3:]

    def on_white(self) -> Tensor:
        """(V, 3, H, W): the colours composited on white."""
        return composite(self.rgba, 1.0)


def composite(rgba: Tensor, background: float) -> Tensor:
    """(..., 4, H, W) straight alpha -> (..., 3, H, W) over a constant background."""
    alpha = rgba[..., 3:, :, :]
    return rgba[..., :3, :, :] * alpha + background * (1 - alpha)


def silhouettes(views: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] on white -> (..., H, W) bool: where a view shows the object."""
    return views.amin(-3) < 1 - OFF_WHITE


def at_common_size(*images: Tensor) -> tuple[Tensor, ...]:
    """Images (..., C, H, W) at their smallest height and width: the one rule by which sizes are compared."""
    size = min(i.shape[-2] for i in images), min(i.shape[-1] for i in images)
    return tuple(reduced(i, size) for i in images)


def reduced(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (..., C, H, W) at a height and width that are not larger (else ValueError); differentiable.

    Means over whole blocks of pixels where both sides divide, else bilinear with antialiasing.
    """
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    if height < size[0] or width < size[1]:
        raise ValueError(f"images of {width}x{height} pixels cannot be reduced to {size[1]}x{size[0]}")
    rows = images.reshape(-1, *images.shape[-3:])
    if height % size[0] or width % size[1]:
        rows = F.interpolate(rows, size, mode="bilinear", antialias=True, align_corners=False)
    else:
        rows = F.interpolate(rows, size, mode="area")
    return rows.view(*images.shape[:-2], *size)


def save_png(path: Path | str, image: Tensor) -> None:
    """Write a (3|4, H, W) image in [0, 1] as an 8-bit PNG."""
    array = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array)).save(temporary, format="PNG")


def load_png(path: Path | str) -> Tensor:
    """Read an image file as (C, H, W) float32 in [0, 1], C = 3, or 4 if it has transparency."""
    return decode_png(path, path)


def decode_png(source: Path | str | BytesIO, where: Path | str) -> Tensor:
    """An image file or its bytes, as `load_png` reads it. Raises UserError, naming `where`."""
    try:
        with Image.open(source) as image:
            array = np.asarray(eight_bit(image), dtype=np.float32) / 255
    except (OSError, ValueError) as error:
        raise UserError(f"{where} is not a readable image ({error}); make or fetch it again") from error
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def save_views(folder: Path | str, views: Views, **facts: object) -> None:
    """Write `<folder>/{000.png..., depth.npy, normals.npy, cameras.json}`; cameras.json comes last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(views.rgba):
        save_png(folder / f"{i:03d}.png", image)
    for name, array in (("depth", views.depth), ("normals", views.normals)):
        if array is not None:
            with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as handle:
                np.save(handle, array.cpu().numpy().astype(np.float16))
    save_cameras(folder / "cameras.json", views.cameras, **facts)


def load_views(folder: Path | str) -> Views:
    """Read what `save_views` wrote. Raises UserError naming the folder if a file is missing or odd."""
    folder = Path(folder)

    def read(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.exists() else None

    return decode_views(load_cameras(folder / "cameras.json"), read, folder)


def decode_views(cameras: Cameras, read: Callable[[str], bytes | None], where: Path | str) -> Views:
    """Views from the files that `save_views` writes, wherever they lie; read gives one's bytes, or None.

    Raises UserError naming `where` if one is missing or odd.
    """
    images = {name: read(name) for name in (f"{i:03d}.png" for i in range(len(cameras)))}
    missing = [name for name, data in images.items() if data is None]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}; render the object again")
    rgba = torch.stack([decode_png(BytesIO(data or b""), f"{where}/{n}") for n, data in images.items()])
    if rgba.shape[1] != 4:
        raise UserError(f"{where} holds images without alpha; this project's views are RGBA")
    arrays = [read(f"{name}.npy") for name in ("depth", "normals")]
    stored = [None if x is None else torch.from_numpy(np.load(BytesIO(x)).astype(np.float32)) for x in arrays]
    return Views(rgba, cameras, *stored)


def view_facts(folder: Path | str) -> dict[str, object]:
    """The free facts stored beside the cameras (rigs, object id, renderer settings)."""
    return json.loads((Path(folder) / "cameras.json").read_text(encoding="utf-8"))


def variant_id(object_id: str, variant: int) -> str:
    """The id under which an object's nth other look is rendered; variant 0 is its own look and id."""
    return f"{object_id}.v{variant}" if variant else object_id


def split_variant(rendered_id: str) -> tuple[str, int]:
    """The inverse of `variant_id`: (object id, variant)."""
    match = re.fullmatch(r"(.+)\.v([1-9]\d*)", rendered_id)
    return (match[1], int(match[2])) if match else (rendered_id, 0)
