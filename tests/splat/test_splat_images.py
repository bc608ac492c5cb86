"""What the rasteriser draws, where it can be said by hand; the interface and its errors."""

from __future__ import annotations

import math
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from splat_scenes import MEMBERS, ring, scattered

from aligncvc.errors import UserError
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import rasterise
from aligncvc.splat.cpu import build
from aligncvc.splat.dense import project

BACKENDS = ["cpu", "dense"]


def ball(position: list[float], radius: float, opacity: float, color: list[float]) -> list:
    return [position, [radius] * 3, [1.0, 0.0, 0.0, 0.0], opacity, color]


def gather(*balls: list) -> Gaussians:
    return Gaussians(*(torch.tensor(member, dtype=torch.float32) for member in zip(*balls, strict=True)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_centred_gaussian_has_its_analytic_image(backend: str) -> None:
    distance, radius, opacity = 3.0, 0.2, 0.8
    color, background = torch.tensor([0.9, 0.3, 0.1]), 0.25
    camera = orbit([30.0], 20.0, distance=distance, fov_y_deg=40.0, size_px=33)
    drawn = rasterise(gather(ball([0, 0, 0], radius, opacity, color.tolist())), camera, background, backend)
    focal = 33 / 2 / math.tan(math.radians(20))
    variance = (focal * radius / distance) ** 2 + 0.3
    offset = torch.arange(33) - 16.0
    alpha = opacity * torch.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * variance))
    alpha = torch.where(alpha >= 1 / 255, alpha, 0)
    torch.testing.assert_close(drawn.alpha[0, 0], alpha, atol=2e-6, rtol=0)
    torch.testing.assert_close(drawn.depth[0, 0], alpha * distance, atol=1e-5, rtol=0)
    expected = alpha * color[:, None, None] + (1 - alpha) * background
    torch.testing.assert_close(drawn.rgb[0], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_appears_where_the_camera_looks(backend: str) -> None:
    """World +z is up in the image; +x is to the right seen from azimuth 0 (the -y axis)."""
    camera = orbit([0.0], 0.0, distance=3.0, fov_y_deg=40.0, size_px=32)
    drawn = rasterise(gather(ball([0.5, 0, 0.7], 0.03, 0.9, [1, 1, 1])), camera, 0.0, backend)
    row, column = divmod(int(drawn.alpha.argmax()), 32)
    focal = 16 / math.tan(math.radians(20))
    assert (row, column) == (int(16 - focal * 0.7 / 3), int(16 + focal * 0.5 / 3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_front_one_occludes(backend: str) -> None:
    red, blue = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    front, back = ball([0, -0.5, 0], 0.3, 0.9, red), ball([0, 0.5, 0], 0.3, 0.9, blue)
    cameras = orbit([0.0, 180.0], 0.0, distance=3.0, fov_y_deg=40.0, size_px=17)
    images = rasterise(gather(front, back), cameras, 1.0, backend).rgb[:, :, 8, 8]
    swapped = rasterise(gather(back, front), cameras, 1.0, backend).rgb[:, :, 8, 8]
    expected = torch.tensor([[0.91, 0.01, 0.1], [0.1, 0.01, 0.91]])  # 0.9 front + 0.1 (0.9 back + 0.1 white)
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(swapped, images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_background_shows_through(backend: str) -> None:
    gaussians, cameras = scattered(40, 1), ring(2)
    black, white = (rasterise(gaussians, cameras, value, backend) for value in (0.0, 1.0))
    torch.testing.assert_close(white.rgb - black.rgb, (1 - black.alpha).expand_as(black.rgb))
    torch.testing.assert_close(white.alpha, black.alpha)
    torch.testing.assert_close(white.depth, black.depth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_visible_is_background(backend: str) -> None:
    gaussians = scattered(5, 1)
    empty = Gaussians(*(getattr(gaussians, m)[:, :0] for m in MEMBERS))
    away = replace(gaussians, means=gaussians.means + torch.tensor([0, 0, 50.0]))
    for scene in (empty, away):
        drawn = rasterise(scene, ring(1), 0.4, backend)
        assert bool((drawn.rgb == 0.4).all()) and not drawn.alpha.any() and not drawn.depth.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_near_plane_culls(backend: str) -> None:
    gaussians = gather(ball([0, 0, 0], 0.3, 0.9, [0, 0, 0]))
    camera = orbit([0.0], 0.0, distance=3.0, fov_y_deg=40.0, size_px=9)
    assert rasterise(gaussians, replace(camera, near=2.9), backend=backend).alpha.any()
    assert not rasterise(gaussians, replace(camera, near=3.1), backend=backend).alpha.any()


def test_the_oracle_is_the_sequential_loop() -> None:
    """docs/rasteriser.md's loop, pixel by pixel in plain Python, from gsplat-checked projections."""
    gaussians, camera = scattered(60, 8, scale=(0.2, 0.9))[0], ring(1, 8)
    p = project(gaussians, camera)
    drawn = rasterise(gaussians, camera, 0.3, "dense")
    stopped = 0
    for row in range(8):
        for column in range(8):
            through, rgb, depth = 1.0, [0.0, 0.0, 0.0], 0.0
            for i in sorted(range(60), key=lambda i: float(p.depths[0, i])):
                if float(p.depths[0, i]) < camera.near:
                    continue
                dx, dy = (p.means2d[0, i] - torch.tensor([column + 0.5, row + 0.5])).tolist()
                a, b, c = p.conics[0, i].tolist()
                sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                alpha = min(0.999, float(gaussians.opacities[i]) * math.exp(-sigma))
                if alpha < 1 / 255:
                    continue
                if through * (1 - alpha) <= 1e-4:
                    stopped += 1
                    break
                weight = alpha * through
                rgb = [x + weight * float(color) for x, color in zip(rgb, gaussians.colors[i], strict=True)]
                depth += weight * float(p.depths[0, i])
                through *= 1 - alpha
            got = torch.cat([drawn.rgb[0], drawn.alpha[0], drawn.depth[0]])[:, row, column]
            expected = [*(x + 0.3 * through for x in rgb), 1 - through, depth]
            torch.testing.assert_close(got, torch.tensor(expected, dtype=got.dtype), atol=1e-9, rtol=0)
    assert 0 < stopped < 64, "the scene should have pixels that stop early and pixels that do not"


def test_auto_is_the_kernel_on_a_cpu() -> None:
    gaussians, cameras = scattered(40, 2), ring(1)
    assert torch.equal(rasterise(gaussians, cameras).rgb, rasterise(gaussians, cameras, backend="cpu").rgb)


def test_wrong_arguments_are_refused() -> None:
    good, cameras = scattered(4, 0), ring(2)
    bad = [
        (replace(good, colors=good.colors[..., :2]), "colors has shape"),
        (replace(good, opacities=good.opacities[..., None]), "opacities has shape"),
        (replace(good, scales=good.scales.float()), "scales is torch.float32"),
        (replace(good, means=good.means * float("nan")), "means has numbers that are not finite"),
        (replace(good, quats=good.quats / 0), "quats has numbers that are not finite"),
        (Gaussians(*(getattr(good, m).bfloat16() for m in MEMBERS)), "not torch.bfloat16"),
    ]
    for gaussians, message in bad:
        with pytest.raises(ValueError, match=message):
            rasterise(gaussians, cameras)
    with pytest.raises(ValueError, match="c2w has shape"):
        rasterise(good, replace(cameras, c2w=cameras.c2w.expand(3, -1, -1, -1)))
    with pytest.raises(ValueError, match="unknown rasteriser backend"):
        rasterise(good, cameras, backend="opengl")  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_gsplat_without_cuda_says_so() -> None:
    with pytest.raises(UserError, match="needs a CUDA device"):
        rasterise(scattered(4, 0), ring(1), backend="gsplat")


def test_the_kernel_is_built_once(tmp_path: Path) -> None:
    library = build(folder=tmp_path)
    first = library.stat().st_mtime_ns
    assert build(folder=tmp_path) == library and library.stat().st_mtime_ns == first
    assert build(torch.float64, tmp_path) != library
    assert [path.suffix for path in tmp_path.iterdir()] == [".so", ".so"], "scratch files were left"


def test_without_a_compiler_the_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install gcc"):
        build(folder=tmp_path / "cache")


def test_a_failing_compiler_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'stdint.h: No such file' >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"stdint\.h: No such file"):
        build(folder=tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())
