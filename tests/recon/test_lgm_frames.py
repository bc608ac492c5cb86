"""LGM's own world: the way there, the way back, and what the two kinds of quaternions become."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from aligncvc.models.reconstructors.lgm.frames import in_lgm_world, to_frame
from aligncvc.models.reconstructors.lgm.heads import LgmHead, polar_rotation
from aligncvc.models.reconstructors.lgm.network import LGM
from aligncvc.models.reconstructors.lgm.settings import Settings
from aligncvc.scene.camera_formats import to_lgm
from aligncvc.scene.cameras import Cameras, orbit, relative_c2w, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians, matrix_to_quaternion, multiply_quaternions
from aligncvc.splat import rasterise
from aligncvc.splat.dense import rotation_matrices

SIZE_PX = 48
LGM_WORLD = {"world": "first-camera", "radius": 1.5}


def rig(elevation: float = 12.0, distance: float = 3.0, batch: int = 1) -> Cameras:
    one = orbit(ring_azimuths_deg(4), elevation, distance=distance, fov_y_deg=39.6, size_px=SIZE_PX)
    return replace(one, c2w=one.c2w.expand(batch, -1, -1, -1))


def cloud(batch: int = 1, count: int = 60, seed: int = 0) -> Gaussians:
    """Gaussians within LGM's unit cube, batched, elongated so that rotations show."""
    g = torch.Generator().manual_seed(seed)
    quats = torch.randn(batch, count, 4, generator=g)
    return Gaussians(
        means=torch.rand(batch, count, 3, generator=g) - 0.5,
        scales=0.01 + 0.06 * torch.rand(batch, count, 3, generator=g),
        quats=quats / quats.norm(dim=-1, keepdim=True),
        opacities=0.3 + 0.6 * torch.rand(batch, count, generator=g),
        colors=torch.rand(batch, count, 3, generator=g),
    )


@pytest.mark.parametrize("world", ["first-camera", "y-up"])
def test_there_and_back_draws_the_same_picture(world: str) -> None:
    """What the network places in its world, seen by its cameras, is what our cameras see of the way back."""
    cameras = rig(batch=2)
    frame = to_frame(cameras, Settings(world=world, radius=1.5))
    assert frame is not None
    inside = cloud(batch=2)
    theirs = rasterise(inside, replace(frame.cameras, near=0.2))
    ours = rasterise(frame.back(inside), replace(cameras, near=0.4))
    torch.testing.assert_close(ours.rgb, theirs.rgb, atol=2e-4, rtol=0)
    assert float((ours.rgb - 1).abs().mean()) > 0.05, "something is drawn"


def test_input_camera_is_where_lgm_trains() -> None:
    """Whatever its elevation and distance, the first camera ends upright at (0, 0, 1.5), looking along -z."""
    for elevation, distance in ((0.0, 3.0), (25.0, 2.1)):
        frame = to_frame(rig(elevation, distance), Settings(**LGM_WORLD))
        assert frame is not None
        expected = torch.diag(torch.tensor([1.0, -1, -1, 1]))  # OpenCV axes of an OpenGL identity
        expected[2, 3] = 1.5
        torch.testing.assert_close(frame.cameras.c2w[0, 0], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            frame.cameras.positions.norm(dim=-1), torch.full((1, 4), 1.5), atol=1e-5, rtol=0
        )


def test_level_rig_is_kiuis_default_orbit() -> None:
    """At elevation 0 the re-based cameras are the four that LGM's own inference uses."""
    frame = to_frame(rig(0.0, 1.5), Settings(**LGM_WORLD))
    assert frame is not None
    opengl = frame.cameras.c2w[0] * torch.tensor([1.0, -1, -1, 1])
    torch.testing.assert_close(opengl, to_lgm(rig(0.0, 1.5).c2w[0]), atol=1e-5, rtol=0)


def test_another_field_of_view_covers_as_many_pixels_at_the_centre() -> None:
    cameras = rig()
    frame = to_frame(cameras, Settings(**LGM_WORLD, ray_fov_y_deg=49.1))
    assert frame is not None and frame.cameras.fov_y_deg == 49.1
    lateral = torch.tensor([[[0.3, 0.0, 0.0]]])  # across the first camera's view, at the object's depth
    g = cloud(count=1)
    back = frame.back(replace(g, means=lateral)).means
    inside = cameras.w2c[0, 0, :3, :3] @ back[0, 0] + cameras.w2c[0, 0, :3, 3]
    expected = 0.3 / 1.5 * 0.5 * SIZE_PX / math.tan(math.radians(49.1 / 2))
    assert float(inside[0] / inside[2] * cameras.focal_px) == pytest.approx(expected, rel=1e-4)


def test_two_fields_of_view_scale_places_and_sizes_apart() -> None:
    """AlignCVC's release drew positions at 49.1 degrees and covariances at the data's 39.6."""
    cameras, g = rig(), cloud(count=3)
    plain = to_frame(cameras, Settings(world="y-up", radius=1.5))
    mixed = to_frame(cameras, Settings(world="y-up", radius=1.5, projection_fov_y_deg=49.1))
    assert plain is not None and mixed is not None
    ratio = math.tan(math.radians(39.6 / 2)) / math.tan(math.radians(49.1 / 2))
    torch.testing.assert_close(mixed.back(g).means, ratio * plain.back(g).means)
    torch.testing.assert_close(mixed.back(g).scales, plain.back(g).scales)


def test_the_demo_stays_in_our_world() -> None:
    assert to_frame(rig(), Settings()) is None and to_frame(rig(), Settings(world="ours", radius=1.5)) is None


def test_turning_the_object_turns_the_model() -> None:
    """In the first camera's frame the network cannot see the azimuth: same images, same model, turned."""
    torch.manual_seed(0)
    small = Settings(down_channels=[8, 16], down_attention=[False, True], up_channels=[16, 8],
                  up_attention=[True, False], heads=4, head="lgm", size_px=16, **LGM_WORLD)  # fmt: skip
    model, images = LGM(small).eval(), torch.rand(1, 4, 3, SIZE_PX, SIZE_PX)
    cameras = rig()
    turned = replace(cameras, c2w=relative_c2w(cameras.c2w, cameras.c2w[:, 1]))
    with torch.no_grad():
        first, second = model(images, cameras), model(images, turned)
    assert first.means.shape == (1, 4 * 16 * 16, 3), "256 pixels in the release: resized here to 16"
    quarter = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # azimuth 90 comes to 0
    torch.testing.assert_close(second.means, first.means @ quarter.T, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_quaternions_are_scipys(seed: int) -> None:
    a, b = Rotation.random(50, random_state=seed), Rotation.random(50, random_state=seed + 10)

    def wxyz(rotation: Rotation) -> torch.Tensor:
        return torch.from_numpy(rotation.as_quat()[:, [3, 0, 1, 2]])

    found = matrix_to_quaternion(torch.from_numpy(a.as_matrix()))
    assert torch.allclose((found * wxyz(a)).sum(-1).abs(), torch.ones(50, dtype=torch.float64))
    product = multiply_quaternions(wxyz(a), wxyz(b))
    assert torch.allclose((product * wxyz(a * b)).sum(-1).abs(), torch.ones(50, dtype=torch.float64))


def _unnormalised_matrices(quats: torch.Tensor) -> torch.Tensor:
    """The formula for unit quaternions, fed with any: what LGM's rasteriser computes."""
    w, x, y, z = quats.unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def test_first_release_keeps_the_rotation_that_its_rasteriser_drew() -> None:
    """The polar factor of the matrix, by singular values, for short quaternions and for unit ones."""
    g = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(200, 4, generator=g, dtype=torch.float64), dim=-1)
    for length in (1e-3, 0.1, 0.6):
        drawn = _unnormalised_matrices(length * directions)
        u, s, v = torch.linalg.svd(drawn)
        torch.testing.assert_close(rotation_matrices(polar_rotation(length * directions)), u @ v)
        assert float((s - 1).abs().max()) <= 2 * length**2, "the stretch that is left out"
    half = directions.abs()  # positive w: less than half a turn
    torch.testing.assert_close(polar_rotation(half), half)


def test_rotation_normalisation_is_the_checkpoints() -> None:
    raw = torch.randn(2, 4, 14, 8, 8, generator=torch.Generator().manual_seed(0))
    flat = raw.permute(0, 1, 3, 4, 2).flatten(1, 3)
    one_by_one, over_all = LgmHead(-1).activate(flat)[..., 7:11], LgmHead(1).activate(flat)[..., 7:11]
    torch.testing.assert_close(one_by_one.norm(dim=-1), torch.ones(2, 256))
    torch.testing.assert_close(over_all.norm(dim=1), torch.ones(2, 4))
    images, cameras = torch.zeros(2, 4, 3, 8, 8), rig(batch=2)
    first = LgmHead(1)(raw, images, cameras)
    torch.testing.assert_close(first.quats.norm(dim=-1), torch.ones(2, 256))
    assert float(first.quats[..., 0].min()) > 0.9, "nearly no rotation, as its rasteriser drew"
    assert float(LgmHead(-1)(raw, images, cameras).quats[..., 0].min()) < 0
    for field in fields(first):
        if field.name != "quats":
            assert torch.equal(
                getattr(first, field.name), getattr(LgmHead(-1)(raw, images, cameras), field.name)
            )


def test_model_in_lgms_world_for_its_files() -> None:
    """Our up is its y; a point in front of our input camera is in front of its own; sizes scale alike."""
    one = cloud(count=2)[0]
    one = replace(one, means=torch.tensor([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    moved = in_lgm_world(one, distance=3.0)
    torch.testing.assert_close(moved.means, torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.5]]))
    torch.testing.assert_close(moved.scales, one.scales / 2)


def test_autocast_leaves_the_change_of_world_exact() -> None:
    """Eight bits are too few for positions and rotations; only the network may be rounded."""
    small = Settings(down_channels=[8, 16], down_attention=[False, True], up_channels=[16, 8],
                  up_attention=[True, False], heads=4, head="lgm", size_px=16, **LGM_WORLD)  # fmt: skip
    torch.manual_seed(0)
    model, images = LGM(small).eval(), torch.rand(1, 4, 3, SIZE_PX, SIZE_PX)
    # the network's own output, which the frame then moves, is the same with and without autocast
    model.unet.forward = lambda x, *told: torch.ones(len(x), 14, 16, 16)  # type: ignore[method-assign]
    model.conv = torch.nn.Identity()
    model.conv.weight = torch.zeros(())
    with torch.no_grad():
        exact = model(images, rig())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(images, rig())
    for field in fields(exact):
        assert torch.equal(getattr(exact, field.name), getattr(rounded, field.name)), field.name
