"""Image metrics: closed forms first, then agreement with scikit-image and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from aligncvc.encoders import load_lpips
from aligncvc.errors import UserError
from aligncvc.evaluate import foreground_psnr, lpips_metric, psnr, ssim
from aligncvc.metrics import PSNR_CAP_DB


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Real image crops (3, 3, 96, 80) and noisy, shifted, dimmed versions of them."""
    coffee = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1).float() / 255
    crops = torch.stack([coffee[:, y : y + 96, x : x + 80] for y, x in ((0, 0), (150, 250), (250, 400))])
    noise = 0.05 * torch.randn(crops[:1].shape, generator=torch.Generator().manual_seed(0))
    return crops, torch.cat([(crops[:1] + noise).clamp(0, 1), crops[1:2].roll(2, -1), crops[2:] * 0.7])


def numpy_images(images: Tensor) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).double().numpy() for image in images]


@pytest.mark.parametrize("offset", [0.5, 0.1, 1 / 255])
def test_psnr_of_a_constant_offset(offset: float) -> None:
    target = torch.full((2, 3, 16, 16), 0.25)
    expected = -20 * math.log10(offset)
    assert psnr(target + offset, target).tolist() == pytest.approx([expected, expected], abs=1e-4)


def test_psnr_is_of_each_image_not_pooled() -> None:
    target = torch.zeros(2, 3, 8, 8)
    images = torch.stack([target[0] + 0.1, target[1] + 0.01])
    assert psnr(images, target).tolist() == pytest.approx([20, 40], abs=1e-4)


def test_psnr_of_one_wrong_pixel() -> None:
    target = torch.zeros(1, 3, 10, 10)
    images = target.clone()
    images[0, :, 3, 4] = 1
    assert float(psnr(images, target)) == pytest.approx(20)


def test_identical_images() -> None:
    image = torch.rand(1, 3, 64, 64)
    assert float(psnr(image, image)) == PSNR_CAP_DB
    assert float(ssim(image, image)) == pytest.approx(1, abs=1e-12)
    assert float(lpips_metric(load_lpips("alex"))(image, image)) == 0


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.3), torch.full((1, 3, 16, 16), 0.6)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-6)


def test_foreground_psnr_ignores_the_background_and_is_not_diluted() -> None:
    target, alpha = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    alpha[..., :2, :2] = 1
    alpha[..., 2, 2] = 0.5  # not above one half
    images = target + 0.9
    images[..., :2, :2] = 0.1
    assert float(foreground_psnr(images, target, alpha)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(images, target)) < 2
    assert math.isnan(float(foreground_psnr(images, target, torch.zeros_like(alpha))))


def test_psnr_and_ssim_agree_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    images, target = numpy_images(pair[0]), numpy_images(pair[1])
    expected = [peak_signal_noise_ratio(t, i, data_range=1) for i, t in zip(images, target, strict=True)]
    assert psnr(*pair).tolist() == pytest.approx(expected, abs=1e-9)
    expected = [
        structural_similarity(
            i, t, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for i, t in zip(images, target, strict=True)
    ]
    assert ssim(*pair).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_and_psnr_agree_with_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    a, b = (images.double() for images in pair)
    _, full = functional.structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = full[..., 5:-5, 5:-5].mean((1, 2, 3))  # torchmetrics' own mean takes the mirrored border in
    assert ssim(a, b).tolist() == pytest.approx(inside.tolist(), abs=1e-9)
    expected = functional.peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
    assert psnr(a, b).tolist() == pytest.approx(
        expected.tolist(), abs=1e-5
    )  # it takes the logarithm in float32


def test_lpips_is_fed_minus_one_to_one_in_batches(pair: tuple[Tensor, Tensor]) -> None:
    model = load_lpips("alex")
    a, b = (images.repeat(12, 1, 1, 1) for images in pair)  # 36 images: more than one batch
    found = lpips_metric(model)(a, b)
    assert found.shape == (36,)
    one = [float(model(x[None] * 2 - 1, y[None] * 2 - 1)) for x, y in zip(*pair, strict=True)]
    assert found.tolist() == pytest.approx(one * 12, abs=1e-5)
    assert float(found[0]) != pytest.approx(float(model(pair[0][:1], pair[1][:1])), abs=1e-3)


def test_metrics_rank_a_small_change_above_a_large_one(pair: tuple[Tensor, Tensor]) -> None:
    image = pair[0][:1]
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    small, large = (image + 0.02 * noise).clamp(0, 1), (image + 0.2 * noise).clamp(0, 1)
    lpips = lpips_metric(load_lpips("alex"))
    assert psnr(small, image) > psnr(large, image)
    assert ssim(small, image) > ssim(large, image)
    assert lpips(small, image) < lpips(large, image)


@pytest.mark.parametrize(
    ("metric", "size", "message"),
    [
        ("lpips", 63, "at least 64 px"),
        ("ssim", 10, "at least 11 px"),
    ],
)
def test_images_too_small_are_refused(metric: str, size: int, message: str) -> None:
    image = torch.rand(1, 3, size, 80)
    function = ssim if metric == "ssim" else lpips_metric(load_lpips("alex"))
    with pytest.raises(UserError, match=message):
        function(image, image)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_other_shapes_are_refused(metric) -> None:
    with pytest.raises(UserError, match="one shape"):
        metric(torch.rand(1, 3, 16, 16), torch.rand(2, 3, 16, 16))
    with pytest.raises(UserError, match="one shape"):
        metric(torch.rand(1, 4, 16, 16), torch.rand(1, 4, 16, 16))
