"""Image metrics: closed forms first, then agreement with scikit-image and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.metrics.perceptual import LEAST_PX, dists, lpips, lpips_scores
from aligncvc.metrics.psnr import PSNR_CAP_DB, foreground_psnr, mae, pooled_psnr, psnr, union_psnr
from aligncvc.metrics.ssim import ssim, ssim_map, ssim_scores
from aligncvc.models.encoders.dists import load_dists
from aligncvc.models.encoders.lpips import load_lpips


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


@pytest.mark.parametrize("shift", [1, 3, 8])
def test_psnr_of_a_known_shift(shift: int) -> None:
    # A sinusoid of amplitude a and period p, shifted by d pixels: MSE = a^2 (1 - cos(2 pi d / p)).
    wave = 0.5 + 0.25 * torch.sin(2 * math.pi * torch.arange(64, dtype=torch.float64) / 16)
    image = wave.expand(1, 3, 8, 64)
    expected = -10 * math.log10(0.25**2 * (1 - math.cos(2 * math.pi * shift / 16)))
    assert float(psnr(image.roll(shift, -1), image)) == pytest.approx(expected, abs=1e-9)


def test_union_psnr_counts_what_is_missing_and_what_is_too_much() -> None:
    target, images = torch.ones(1, 3, 2, 4), torch.ones(1, 3, 2, 4)
    true, drawn = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    true[..., :2], target[..., :2] = 1, 0.5  # columns 0 and 1 show the object
    drawn[..., 1:3], images[..., 1:3] = 0.6, 0.7  # columns 1 and 2 are drawn; column 3 is nobody's
    both = -10 * math.log10((0.5**2 + 0.2**2 + 0.3**2) / 3)
    assert float(union_psnr(images, target, true, drawn)) == pytest.approx(both, abs=1e-4)
    only_true = -10 * math.log10((0.5**2 + 0.2**2) / 2)
    assert float(foreground_psnr(images, target, true)) == pytest.approx(only_true, abs=1e-4)
    faint = union_psnr(images, target, true, 0.5 * drawn)  # below one half nothing counts as drawn
    assert float(faint) == pytest.approx(float(foreground_psnr(images, target, true)))


def test_union_psnr_of_empty_silhouettes() -> None:
    images, none, all_of_it = torch.full((1, 3, 2, 2), 0.9), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    white = torch.ones_like(images)
    assert union_psnr(images, white, none, none).isnan().all(), "there is no pixel to compare"
    assert float(union_psnr(images, white, none, all_of_it)) == pytest.approx(20, abs=1e-4)
    assert float(union_psnr(images, white, all_of_it, none)) == pytest.approx(20, abs=1e-4)


def test_pooled_psnr_is_of_the_mean_error_and_below_the_mean_psnr() -> None:
    target = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    images = torch.stack([target[0] + 0.1, target[1] + 0.01])
    assert float(psnr(images, target).mean()) == pytest.approx(30)
    assert float(pooled_psnr(images, target)) == pytest.approx(-10 * math.log10((0.01 + 0.0001) / 2))
    assert float(pooled_psnr(target, target)) == PSNR_CAP_DB


def test_mae_of_a_constant_offset() -> None:
    target = torch.full((2, 3, 8, 8), 0.5)
    assert mae(torch.stack([target[0] + 0.25, target[1] - 0.125]), target).tolist() == [0.25, 0.125]


def test_psnr_of_one_wrong_pixel() -> None:
    target = torch.zeros(1, 3, 10, 10)
    images = target.clone()
    images[0, :, 3, 4] = 1
    assert float(psnr(images, target)) == pytest.approx(20)


def test_identical_images() -> None:
    image = torch.rand(1, 3, 64, 64)
    assert float(psnr(image, image)) == PSNR_CAP_DB
    assert float(ssim(image, image)) == pytest.approx(1, abs=1e-12)
    assert float(ssim(image, image, "uniform-7")) == pytest.approx(1, abs=1e-12)
    assert float(dists(load_dists(), image, image)) == pytest.approx(0, abs=1e-6)
    assert float(lpips(load_lpips("alex"), image, image)) == 0


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
    exact = [images.double() for images in pair]
    assert psnr(*exact).tolist() == pytest.approx(expected, abs=1e-9)
    expected = [
        structural_similarity(
            i, t, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for i, t in zip(images, target, strict=True)
    ]
    assert ssim(*pair).tolist() == pytest.approx(expected, abs=1e-9)
    expected = [
        structural_similarity(i, t, data_range=1, channel_axis=2) for i, t in zip(images, target, strict=True)
    ]
    assert ssim(*pair, "uniform-7").tolist() == pytest.approx(expected, abs=1e-9)


def test_foreground_ssim_is_the_map_of_scikit_image_where_the_centre_is_foreground(
    pair: tuple[Tensor, Tensor],
) -> None:
    alpha = torch.zeros(3, 1, 96, 80)
    alpha[0, :, 30:60, 20:50] = 1
    alpha[1, :, :20, :20] = 1  # reaches into the border, where no whole window is centred
    for window, margin, settings in (
        ("gaussian-11", 5, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
        ("uniform-7", 3, {}),
    ):
        found = ssim_scores(*pair, alpha, window)[1]  # type: ignore[arg-type]
        for k, (image, target) in enumerate(zip(*(numpy_images(side[:2]) for side in pair), strict=True)):
            full = structural_similarity(image, target, data_range=1, channel_axis=2, full=True, **settings)[
                1
            ]
            inside = np.zeros((96, 80), bool)
            inside[margin:-margin, margin:-margin] = True
            here = inside & (alpha[k, 0].numpy() > 0.5)
            assert float(found[k]) == pytest.approx(float(full.mean(2)[here].mean()), abs=1e-9)
        assert math.isnan(float(found[2]))
    whole = ssim_scores(*pair, torch.ones(3, 1, 96, 80))[1]
    assert whole.tolist() == pytest.approx(ssim(*pair).tolist(), abs=1e-12)
    assert torch.equal(ssim_scores(*pair, alpha)[0], ssim(*pair))


def test_ssim_window_moves_the_number_and_others_are_refused(pair: tuple[Tensor, Tensor]) -> None:
    assert not torch.allclose(ssim(*pair), ssim(*pair, "uniform-7"), atol=1e-4)
    assert ssim_map(*pair).shape == (3, 86, 70) and ssim_map(*pair, "uniform-7").shape == (3, 90, 74)
    with pytest.raises(UserError, match="no window 'box'"):
        ssim(*pair, "box")  # type: ignore[arg-type]


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
    found = lpips(model, a, b)
    assert found.shape == (36,)
    one = [float(model(x[None] * 2 - 1, y[None] * 2 - 1)) for x, y in zip(*pair, strict=True)]
    assert found.tolist() == pytest.approx(one * 12, abs=1e-5)
    assert float(found[0]) != pytest.approx(float(model(pair[0][:1], pair[1][:1])), abs=1e-3)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_of_the_whole_and_of_the_foreground_agree_with_the_genuine_class(
    net: str, pair: tuple[Tensor, Tensor]
) -> None:
    model = load_lpips(net)  # type: ignore[arg-type]
    scaled = [images * 2 - 1 for images in pair]
    alpha = torch.zeros(3, 1, 96, 80)
    alpha[:2, :, 20:70, 10:60] = 1
    whole, foreground = lpips_scores(model, *pair, alpha)
    assert whole.tolist() == pytest.approx(model(*scaled).flatten().tolist(), abs=1e-6)
    model.spatial = True
    spatial = model(*scaled)
    expected = [float(m[a > 0.5].mean()) for m, a in zip(spatial[:2], alpha[:2], strict=True)]
    assert foreground[:2].tolist() == pytest.approx(expected, abs=1e-6)
    assert math.isnan(float(foreground[2]))
    assert bool(lpips_scores(model, *pair)[1].isnan().all())  # no mask, no foreground


def test_foreground_scores_do_not_see_a_far_background() -> None:
    target, alpha = (
        torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1, 1, 128, 128),
    )
    alpha[..., :24, :24] = 1
    images = target.clone()
    images[..., 100:, 100:] = 0
    whole, foreground = lpips_scores(load_lpips("alex"), images, target, alpha)
    assert float(whole) > 0.01 and float(foreground) < 0.02 * float(whole)
    assert float(foreground_psnr(images, target, alpha)) == PSNR_CAP_DB > float(psnr(images, target))
    assert float(ssim_scores(images, target, alpha)[1]) == pytest.approx(1)
    assert float(ssim(images, target)) < 0.99


def test_scores_do_not_depend_on_the_order_of_views(pair: tuple[Tensor, Tensor]) -> None:
    order = [2, 0, 1]
    alpha = (torch.rand(3, 1, 96, 80, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    alex, stages = load_lpips("alex"), load_dists()
    for metric in (
        lambda a, b, _m: psnr(a, b),
        lambda a, b, _m: ssim(a, b),
        lambda a, b, _m: dists(stages, a, b),
        lambda a, b, m: lpips_scores(alex, a, b, m)[1],
        lambda a, b, m: ssim_scores(a, b, m)[1],
        foreground_psnr,
    ):
        straight, turned = metric(*pair, alpha), metric(*(x[order] for x in pair), alpha[order])
        assert turned.tolist() == pytest.approx(straight[order].tolist(), rel=1e-5)
    assert float(pooled_psnr(*(x[order] for x in pair))) == pytest.approx(float(pooled_psnr(*pair)))


def test_metrics_rank_a_small_change_above_a_large_one(pair: tuple[Tensor, Tensor]) -> None:
    image = pair[0][:1]
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    small, large = (image + 0.02 * noise).clamp(0, 1), (image + 0.2 * noise).clamp(0, 1)
    alex, stages = load_lpips("alex"), load_dists()
    assert psnr(small, image) > psnr(large, image)
    assert ssim(small, image) > ssim(large, image)
    assert lpips(alex, small, image) < lpips(alex, large, image)
    assert dists(stages, small, image) < dists(stages, large, image)


def test_images_too_small_have_no_perceptual_score_and_no_ssim() -> None:
    image = torch.rand(2, 3, LEAST_PX - 1, 80)
    alpha = torch.ones(2, 1, LEAST_PX - 1, 80)
    for values in (*lpips_scores(load_lpips("alex"), image, image, alpha), dists(load_dists(), image, image)):
        assert values.shape == (2,) and bool(values.isnan().all())
    assert bool(lpips(None, torch.rand(2, 3, 80, 80), torch.rand(2, 3, 80, 80)).isnan().all()), "no network"
    with pytest.raises(UserError, match="at least 11 px"):
        ssim(image[..., :10, :], image[..., :10, :])


@pytest.mark.parametrize("metric", [psnr, ssim, mae, pooled_psnr])
def test_other_shapes_are_refused(metric) -> None:
    with pytest.raises(UserError, match="one shape"):
        metric(torch.rand(1, 3, 16, 16), torch.rand(2, 3, 16, 16))
    with pytest.raises(UserError, match="one shape"):
        metric(torch.rand(1, 4, 16, 16), torch.rand(1, 4, 16, 16))
