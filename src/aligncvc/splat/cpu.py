"""The CPU kernel (kernel.c): compiled once, called through ctypes, wrapped for autograd."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.home import cache_folder
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import ALPHA_MAX, ALPHA_MIN, BLUR_PX2, FRUSTUM_MARGIN, STOP

_FOLDER = Path(__file__).parent
_SOURCES = [_FOLDER / name for name in ("kernel.c", "kernel_projection.c", "kernel_pixels.c")]
_FLAGS = [
    "-O3",
    "-march=native",
    "-std=gnu11",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-pthread",
]
_REALS = {torch.float32: ("float", 1), torch.float64: ("double", 0)}
_INTEGERS = ("objects", "views", "count", "width", "height", "threads")
_NUMBERS = ("focal", "near", "background", "blur", "alpha_max", "alpha_min", "stop", "frustum_margin")


class _Settings(ctypes.Structure):
    """Mirror of `Settings` in kernel.h."""

    _fields_ = [(name, ctypes.c_int32) for name in _INTEGERS] + [(name, ctypes.c_double) for name in _NUMBERS]


def _processor() -> str:
    """What -march=native depends on: a cache folder may be shared between machines."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    kinds = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return "\n".join([platform.machine(), *kinds])


def build(dtype: torch.dtype = torch.float32, folder: Path | None = None) -> Path:
    """Compile the kernel for `dtype`, once; returns the shared library. UserError without a C compiler."""
    real, is_float = _REALS[dtype]
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UserError(
            "the CPU rasteriser needs a C compiler and found neither cc nor gcc; install gcc "
            "(Debian: apt-get install gcc libc6-dev)"
        )
    command = [compiler, *_FLAGS, f"-DREAL={real}", f"-DREAL_IS_FLOAT={is_float}"]
    sources = [path.read_text(encoding="utf-8") for path in [*_SOURCES, _FOLDER / "kernel.h"]]
    key = hashlib.sha256("\n".join([*sources, *command, _processor()]).encode()).hexdigest()
    library = (folder or cache_folder("splat")) / f"kernel-{real}-{key[:16]}.so"
    if library.is_file():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        fresh = Path(scratch) / library.name
        command += [*map(str, _SOURCES), "-o", str(fresh), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(
                f"{compiler} could not build the CPU rasteriser ({done.stderr.strip()[-400:]}); "
                "install gcc and the C library's headers (Debian: apt-get install gcc libc6-dev)"
            )
        fresh.replace(library)  # atomic: two processes may build at once
    return library


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    library = ctypes.CDLL(str(build(dtype)))
    library.splat_bytes.restype = ctypes.c_int64
    return library


def _call(name: str, settings: _Settings, tensors: list[Tensor], dtype: torch.dtype) -> None:
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in tensors]
    if getattr(_library(dtype), name)(ctypes.byref(settings), *pointers):
        raise MemoryError(f"the CPU rasteriser ran out of memory in {name}")


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: _Settings, w2c: Tensor, *members: Tensor) -> tuple[Tensor, ...]:
        """members: means, scales, quats, opacities, colors with a batch axis; w2c (B*V, 4, 4) float64."""
        b, v, n, h, w = settings.objects, settings.views, settings.count, settings.height, settings.width
        real = members[0].dtype
        splats = torch.empty(b * v, n, _library(real).splat_bytes(), dtype=torch.uint8)
        order = torch.empty(b * v, n, dtype=torch.int32)
        visible = torch.empty(b * v, dtype=torch.int32)
        last = torch.empty(b * v, h, w, dtype=torch.int32)
        through = torch.empty(b * v, h, w, dtype=real)
        rgb, alpha, depth = (torch.empty(b, v, c, h, w, dtype=real) for c in (3, 1, 1))
        kept = [splats, order, visible, last, through]
        _call("splat_forward", settings, [*members, w2c, *kept, rgb, alpha, depth], real)
        ctx.settings = settings
        ctx.save_for_backward(*members, w2c, *kept)
        return rgb, alpha, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        out = [torch.empty_like(t) for t in saved[:5]]
        _call("splat_backward", ctx.settings, [*saved, *(g.contiguous() for g in grads), *out], out[0].dtype)
        return (None, None, *out)


def rasterise_cpu(
    gaussians: Gaussians, cameras: Cameras, background: float, threads: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `rasterise`, with batch axes: rgb, alpha and depth. The number of threads changes nothing."""
    b, v = cameras.c2w.shape[:2]
    members = [getattr(gaussians, field.name).contiguous() for field in fields(gaussians)]
    integers = (b, v, len(gaussians), cameras.width, cameras.height, threads or torch.get_num_threads())
    numbers = (
        cameras.focal_px,
        cameras.near,
        background,
        BLUR_PX2,
        ALPHA_MAX,
        ALPHA_MIN,
        STOP,
        FRUSTUM_MARGIN,
    )
    settings = _Settings(*integers, *numbers)
    w2c = cameras.w2c.detach().double().reshape(b * v, 4, 4).contiguous()
    return _Rasterise.apply(settings, w2c, *members)
