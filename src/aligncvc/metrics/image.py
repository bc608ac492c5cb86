"""Image metrics, written out: what is averaged, over which window, in which range.

All take two (B, 3, H, W) batches in [0, 1] and return one float64 number an image, (B,). Conventions and
what they change: the protocol (`protocol.py`) names each of them and is part of every record. Foreground is
where the ground truth's alpha (B, 1, H, W) exceeds 0.5; an image without any has no foreground score (NaN).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.metrics import psnr as ratios
from aligncvc.models.encoders.dists import Dists

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
LPIPS_MIN_PX = 64
DISTS_MIN_PX = 64
# Of one side of the pair; larger batches leave the cache and run slower.
_LPIPS_BATCH_PIXELS = 131072
_DISTS_BATCH_PIXELS = 65536

Metric = Callable[[Tensor, Tensor], Tensor]
Window = Literal["gaussian-11", "uniform-7"]


def psnr(images: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, data range 1: -10 log10 of the MSE over pixels and channels."""
    _check(images, target)
    return ratios.psnr(images.double(), target.double())


def pooled_psnr(images: Tensor, target: Tensor) -> Tensor:
    """PSNR of the MSE over the whole batch, () dB: never above the mean of the images' own PSNRs."""
    _check(images, target)
    return ratios.decibels((images.double() - target.double()).square().mean())


def mae(images: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over pixels and channels."""
    _check(images, target)
    return (images.double() - target.double()).abs().mean((-3, -2, -1))


def foreground_psnr(images: Tensor, target: Tensor, alpha: Tensor) -> Tensor:
    """PSNR over the foreground's pixels: the background is neither counted nor able to dilute an error."""
    _check(images, target)
    return ratios.foreground_psnr(images.double(), target.double(), alpha)


def ssim(images: Tensor, target: Tensor, window: Window = "gaussian-11") -> Tensor:
    """Structural similarity (Wang et al. 2004), data range 1: mean of `ssim_map` over its positions.

    Agrees with scikit-image's `structural_similarity`: gaussian-11 with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`, uniform-7 with its defaults. torchmetrics 1.9 computes the map of
    gaussian-11 but also averages its border of 5 px, where the window sees mirrored pixels.
    """
    return ssim_map(images, target, window).mean((-2, -1))


def foreground_ssim(images: Tensor, target: Tensor, alpha: Tensor, window: Window = "gaussian-11") -> Tensor:
    """SSIM averaged over the positions whose centre is foreground; whole windows only, as in `ssim`.

    Windows at the silhouette still see background: it cannot be cut out without inventing pixels.
    """
    return ssim_scores(images, target, alpha, window)[1]


def ssim_scores(
    images: Tensor, target: Tensor, alpha: Tensor, window: Window = "gaussian-11"
) -> tuple[Tensor, Tensor]:
    """`ssim` and `foreground_ssim` from one map, two (B,)."""
    values = ssim_map(images, target, window)
    margin = (images.shape[-1] - values.shape[-1]) // 2
    inside = alpha[:, 0, margin : margin + values.shape[-2], margin : margin + values.shape[-1]]
    return values.mean((-2, -1)), _masked_mean(values, inside)


def ssim_map(images: Tensor, target: Tensor, window: Window = "gaussian-11") -> Tensor:
    """SSIM at each position whose window lies inside the image, mean of the channels, (B, H', W').

    gaussian-11: weights of sigma 1.5, population covariance. uniform-7: equal weights, sample covariance
    (scikit-image's default). K1 = 0.01, K2 = 0.03. Raises UserError for images smaller than the window.
    """
    _check(images, target)
    kernel = _kernel(window)
    size, (height, width) = len(kernel), images.shape[-2:]
    if min(height, width) < size:
        raise UserError(
            f"SSIM needs images of at least {size} px a side, got {width}x{height}; render larger"
        )
    # Separable filters as products with band matrices: several times faster than convolutions in float64.
    rows = _band(height, kernel).to(images.device)
    columns = _band(width, kernel).T.contiguous().to(images.device)
    sample = size**2 / (size**2 - 1) if window == "uniform-7" else 1.0
    maps = []
    for x, y in zip(images.double(), target.double(), strict=True):
        mean_x, mean_y, xx, yy, xy = rows @ torch.stack([x, y, x * x, y * y, x * y]) @ columns
        var_x, var_y = sample * (xx - mean_x**2), sample * (yy - mean_y**2)
        covariance = sample * (xy - mean_x * mean_y)
        c1, c2 = 0.01**2, 0.03**2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        maps.append((luminance * (2 * covariance + c2) / (var_x + var_y + c2)).mean(0))
    return torch.stack(maps)


def _kernel(window: Window) -> Tensor:
    if window == "uniform-7":
        return torch.full((7,), 1 / 7, dtype=torch.float64)
    if window != "gaussian-11":
        raise UserError(f"SSIM has no window {window!r}; choose gaussian-11 or uniform-7")
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    return kernel / kernel.sum()


def _band(size: int, kernel: Tensor) -> Tensor:
    """(size - k + 1, size): row i holds the kernel at columns i to i + k - 1."""
    places = size - len(kernel) + 1
    return torch.stack([F.pad(kernel, (i, places - 1 - i)) for i in range(places)])


def lpips_metric(model: nn.Module) -> Metric:
    """The LPIPS metric of a network from `encoders.load_lpips`; images are scaled to [-1, 1], not resized.

    The returned function raises UserError for images below 64 px a side, which the trunk was not made for.
    """

    def lpips(images: Tensor, target: Tensor) -> Tensor:
        return lpips_scores(model, images, target)[0]

    return lpips


@torch.no_grad()
def lpips_scores(
    model: nn.Module, images: Tensor, target: Tensor, alpha: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """LPIPS of whole images and of their foreground in one pass of the trunk, two (B,).

    The first equals the genuine class. The second takes its spatial form (`LPIPS(spatial=True)`: each
    layer's map, bilinearly enlarged to the image) and averages it over the foreground; receptive fields
    reach across the silhouette, so background next to the object counts a little. NaN without `alpha`.
    Raises UserError for images below 64 px a side.
    """
    _check(images, target)
    _check_size(images, "LPIPS", LPIPS_MIN_PX)
    whole, foreground = [], []
    batch = _batch(images, _LPIPS_BATCH_PIXELS)
    for i in range(0, len(images), batch):
        here = slice(i, i + batch)
        maps = _lpips_maps(model, images[here].float(), target[here].float())
        whole.append(torch.stack([layer.mean((-3, -2, -1)) for layer in maps]).sum(0))
        if alpha is not None:
            size = images.shape[-2:]
            full = sum(
                F.interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in maps
            )
            foreground.append(_masked_mean(full[:, 0].double(), alpha[here, 0]))  # type: ignore[index]
    values = torch.cat(whole).double()
    return values, torch.cat(foreground) if foreground else torch.full_like(values, torch.nan)


def _lpips_maps(model: Any, images: Tensor, target: Tensor) -> list[Tensor]:
    """The five weighted squared differences of unit features, (B, 1, h, w) each, by the class's own parts."""
    first, second = (
        [layer / (layer.square().sum(1, keepdim=True).sqrt() + 1e-10) for layer in model.net(scaled)]
        for scaled in (model.scaling_layer(x * 2 - 1) for x in (images, target))
    )
    return [head((a - b).square()) for head, a, b in zip(model.lins, first, second, strict=True)]


def dists_metric(model: Dists) -> Metric:
    """The DISTS metric of a network from `encoders.load_dists`, at the images' own size.

    (The authors' script enlarges or shrinks to 256 px first.) The returned function raises UserError for
    images below 64 px a side, where the last stage sees less than 4x4 positions.
    """

    @torch.no_grad()
    def dists(images: Tensor, target: Tensor) -> Tensor:
        _check(images, target)
        _check_size(images, "DISTS", DISTS_MIN_PX)
        batch = _batch(images, _DISTS_BATCH_PIXELS)
        pairs = zip(images.float().split(batch), target.float().split(batch), strict=True)
        return torch.cat([model(a, b) for a, b in pairs])

    return dists


def not_available(images: Tensor, _target: Tensor) -> Tensor:
    """Stands for a metric that has no value at this size: NaN for every image, never a substitute."""
    return torch.full((len(images),), torch.nan, dtype=torch.float64)


def _masked_mean(values: Tensor, alpha: Tensor) -> Tensor:
    """(B, h, w) twice -> (B,): mean where alpha exceeds 0.5, NaN where it nowhere does."""
    mask = (alpha > 0.5).to(values.dtype)
    return (values * mask).sum((-2, -1)) / mask.sum((-2, -1))


def _batch(images: Tensor, pixels: int) -> int:
    return max(1, pixels // (images.shape[-2] * images.shape[-1]))


def _check(images: Tensor, target: Tensor) -> None:
    if images.shape != target.shape or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"metrics compare two (B, 3, H, W) batches of one shape, got {tuple(images.shape)} and "
            f"{tuple(target.shape)}; give both at the same views and size"
        )


def _check_size(images: Tensor, name: str, least_px: int) -> None:
    height, width = images.shape[-2:]
    if min(height, width) < least_px:
        raise UserError(
            f"{name} needs images of at least {least_px} px a side, got {width}x{height}; "
            f"set render.size_px to {least_px} or more"
        )
