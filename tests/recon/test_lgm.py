"""The reconstructor: shapes and parameters of the real LGM, geometry of the ray head, learning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.weights import load_strict
from aligncvc.models.reconstructors.lgm.heads import colours_around
from aligncvc.models.reconstructors.lgm.network import LGM, build
from aligncvc.models.reconstructors.lgm.settings import PRESETS, Settings
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg

SIZE_PX = 32
SMALL = Settings(down_channels=[8, 16, 16], down_attention=[False, False, True], mid_attention=True,
              up_channels=[16, 16, 8], up_attention=[True, False, False], heads=4)  # fmt: skip


def rig(batch: int = 1) -> Cameras:
    one = orbit(ring_azimuths_deg(4), 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    return replace(one, c2w=one.c2w.expand(batch, -1, -1, -1))


def test_groups_that_do_not_divide_a_width_are_refused() -> None:
    widths = {"down_channels": [48, 96], "down_attention": [False] * 2}
    with pytest.raises(ValueError, match="norm_groups 32 does not divide the width 48"):
        Settings(**widths, up_channels=[96], up_attention=[False], norm_groups=32)


@pytest.mark.parametrize(("preset", "millions", "keys"), [("big", 415.04, 374), ("small", 412.96, 342)])
def test_lgm_has_the_published_size(preset: str, millions: float, keys: int) -> None:
    """Parameters and keys of the U-Net (3DTopia/LGM), built without allocating them."""
    with torch.device("meta"):
        model = build(PRESETS[preset])
    assert len(model.unet.state_dict()) == keys
    assert sum(p.numel() for p in model.unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert sum(p.numel() for p in model.conv.parameters()) == 210


def test_the_demos_numbers_have_not_moved() -> None:
    """The demo's network with seeded weights yields what the version before the published sizes yielded."""
    torch.manual_seed(0)
    model = build({}).eval()
    images = torch.linspace(0, 1, 4 * 3 * SIZE_PX**2).reshape(1, 4, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        g = model(images, rig())
    found = [
        float(x.double().mean()) for x in (g.means.abs(), g.scales, g.quats.abs(), g.opacities, g.colors)
    ]
    assert found == pytest.approx([0.3812658, 0.03377115, 0.2605762, 0.4996710, 0.5004597], rel=1e-5)
    load_strict(model, resolve("demo-recon"))


def test_gradient_checkpointing_changes_nothing() -> None:
    torch.manual_seed(0)
    model, images = LGM(SMALL), torch.rand(1, 4, 3, SIZE_PX, SIZE_PX)
    gradients = []
    for checkpointing in (False, True):
        model.unet.gradient_checkpointing = checkpointing
        model.zero_grad()
        model(images, rig()).colors.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_untrained_ray_head_repaints_its_input():
    """Before training, each Gaussian projects onto its own pixel with that pixel's colour."""
    torch.manual_seed(0)
    model = LGM(SMALL)
    torch.nn.init.zeros_(model.conv.weight)
    images, cameras = torch.rand(1, 4, 3, SIZE_PX, SIZE_PX), rig()
    g = model(images, cameras)
    assert g.means.shape == (1, 4 * SIZE_PX**2, 3)
    first = g.means[0, : SIZE_PX**2]
    local = (cameras.w2c[0, 0, :3, :3] @ first.T).T + cameras.w2c[0, 0, :3, 3]
    pixels = local[:, :2] / local[:, 2:] * cameras.focal_px + SIZE_PX / 2
    ys, xs = torch.meshgrid(torch.arange(SIZE_PX) + 0.5, torch.arange(SIZE_PX) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([xs, ys], -1).reshape(-1, 2), atol=1e-3, rtol=0)
    wanted = images[0, 0].permute(1, 2, 0).reshape(-1, 3).clamp(0.02, 0.98)
    torch.testing.assert_close(g.colors[0, : SIZE_PX**2], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("head", ["ray", "lgm"])
def test_gaussians_are_valid(head):
    torch.manual_seed(0)
    g = LGM(SMALL.model_copy(update={"head": head}))(torch.rand(2, 4, 3, SIZE_PX, SIZE_PX), rig(2))
    torch.testing.assert_close(g.quats.norm(dim=-1), torch.ones(g.quats.shape[:-1]))
    assert (g.scales > 0).all()
    for value in (g.opacities, g.colors):
        assert ((value >= 0) & (value <= 1)).all()


def test_half_resolution_output_and_batch_independence():
    torch.manual_seed(0)
    half = SMALL.model_copy(update={"up_channels": [16, 16], "up_attention": [True, False]})
    model = LGM(half).eval()
    images = torch.rand(2, 4, 3, SIZE_PX, SIZE_PX)
    both = model(images, rig(2))
    assert both.means.shape[1] == 4 * (SIZE_PX // 2) ** 2
    torch.testing.assert_close(both.means[1:], model(images[1:], rig()).means, atol=1e-5, rtol=1e-4)


def test_gradient_reaches_images_and_weights():
    torch.manual_seed(0)
    model = LGM(SMALL)
    images = torch.rand(1, 4, 3, SIZE_PX, SIZE_PX, requires_grad=True)
    g = model(images, rig())
    (g.means.square().sum() + g.colors.sum() + g.scales.sum() + g.opacities.sum()).backward()
    assert images.grad is not None and images.grad.abs().max() > 0
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("width", [32, 96, 160])
def test_lgms_head_comes_with_lgms_groups(width: int) -> None:
    """A checkpoint does not say its groups: with others the same weights are another network."""
    sizes = {"down_channels": [width], "down_attention": [False], "up_channels": [width]}
    with torch.device("meta"):
        model = build({**sizes, "up_attention": [False], "mid_attention": False, "head": "lgm"})
    norms = [module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert width in {norm.num_channels for norm in norms} and {norm.num_groups for norm in norms} == {32}


def disc_on_white(radius_px: float, colour: tuple[float, float, float], size: int = SIZE_PX) -> torch.Tensor:
    """(1, 3, size, size): a disc of one colour on white, its rim as wide as a pixel."""
    across = torch.arange(size) + 0.5 - size / 2
    share = (radius_px + 0.5 - torch.hypot(across[:, None], across[None])).clamp(0, 1)
    return share * torch.tensor(colour).view(1, 3, 1, 1) + (1 - share)


def test_colours_around_a_rim_are_those_inside():
    """A rim is half canvas; what lies around it is the object's own colour, however light the rim is."""
    red = (0.7, 0.1, 0.2)
    image = disc_on_white(9.3, red)
    low, high = colours_around(image, 5)
    rim = ((1 - image[0]).amax(0) > 0.06) & (image[0, 1] > 0.1 + 1e-4)
    assert int(rim.sum()) > 20 and float(image[0, 1][rim].max()) > 0.5
    for bound in (low, high):
        around = bound[0][:, rim]
        torch.testing.assert_close(around, torch.tensor(red)[:, None].expand_as(around))
    assert bool((low <= high).all())
    corner = torch.stack([low[0, :, 0, 0], high[0, :, 0, 0]])
    assert bool((corner == 1).all()), "far from the object there is white alone"


def test_a_line_without_an_inside_keeps_its_own_colours():
    image = torch.ones(1, 3, 16, 16)
    image[..., 7] = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1)
    low, high = colours_around(image, 3)
    for bound in (low, high):
        torch.testing.assert_close(bound[0, :, 8, 6:9], image[0, :, 8, 7:8].expand(3, 3))
    white = torch.ones(1, 3, 8, 8)
    white[..., 4] = 0.97  # an object too light to be told from the canvas
    low, high = colours_around(white, 3)
    assert float(low[0, 0, 4, 4]) == pytest.approx(0.97) and float(high[0, 0, 4, 4]) == 1.0


def test_colours_stay_within_what_the_view_has_nearby():
    """Whatever the network says, no Gaussian is darker or lighter than the object around its pixel."""
    torch.manual_seed(0)
    bounded, free = (LGM(SMALL.model_copy(update={"colour_px": px})) for px in (5, None))
    free.load_state_dict(bounded.state_dict())
    for model in (bounded, free):
        torch.nn.init.normal_(model.conv.bias, std=5.0)
    free.conv.bias.data.copy_(bounded.conv.bias.data)
    images = disc_on_white(9.3, (0.7, 0.1, 0.2)).expand(1, 4, 3, -1, -1)
    low, high = (x.expand(4, -1, -1, -1) for x in colours_around(images[0, :1], 5))
    colours = bounded(images, rig()).colors.unflatten(1, (4, SIZE_PX, SIZE_PX)).permute(0, 1, 4, 2, 3)[0]
    assert bool((colours >= low - 1e-6).all()) and bool((colours <= high + 1e-6).all())
    loose = free(images, rig()).colors.unflatten(1, (4, SIZE_PX, SIZE_PX)).permute(0, 1, 4, 2, 3)[0]
    assert bool((loose < low - 0.05).any() or (loose > high + 0.05).any())


def test_faint_gaussians_are_dropped():
    torch.manual_seed(0)
    model = LGM(SMALL)
    torch.nn.init.normal_(model.conv.weight, std=2.0)
    images = torch.rand(1, 4, 3, SIZE_PX, SIZE_PX)
    everything = model(images, rig()).opacities
    model.head.least_opacity = 0.3
    left = model(images, rig()).opacities
    faint = everything < 0.3
    assert 0 < int(faint.sum()) < faint.numel()
    assert bool((left[faint] == 0).all()) and torch.equal(left[~faint], everything[~faint])


def test_gradient_reaches_images_and_weights_through_the_bounds():
    torch.manual_seed(0)
    model = LGM(SMALL.model_copy(update={"colour_px": 5, "least_opacity": 0.05}))
    images = torch.rand(1, 4, 3, SIZE_PX, SIZE_PX, requires_grad=True)
    g = model(images, rig())
    (g.colors.square().sum() + g.opacities.sum()).backward()
    assert images.grad is not None and bool(torch.isfinite(images.grad).all()) and bool(images.grad.any())
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"colour_px": 4}, "colour_px 4 has no middle"),
        ({"head": "lgm", "colour_px": 5}, "belong to the head ray"),
        ({"head": "lgm", "least_opacity": 0.1}, "belong to the head ray"),
    ],
)
def test_bounds_that_a_head_cannot_have_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Settings(**settings)
