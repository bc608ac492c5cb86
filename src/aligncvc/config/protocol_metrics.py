"""What a protocol measures, and each convention that would change a number."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aligncvc.section import Section

LEARNED_LEAST_PX = 256
"""Smallest side of views that DISK and LightGlue are used for (docs/metrics.md says why)."""


def too_small_to_match(setting: str, px: int) -> str:
    """The sentence for views that DISK and LightGlue cannot use."""
    return (
        f"the matcher disk_lightglue needs views of {LEARNED_LEAST_PX} px or more and {setting} is {px}; "
        "raise it, or take the matcher sift"
    )


class Psnr(Section):
    """-10 log10 of the MSE over pixels and channels, a view at a time, then the mean over views."""

    data_range: Literal[1] = Field(1, description="largest value of a pixel")
    cap_db: Literal[100] = Field(100, description="identical images count as this many dB")
    averaging: Literal["per-view"] = Field("per-view", description="psnr_pooled pools the MSE instead")


class Ssim(Section):
    """Wang et al. 2004, K1 = 0.01, K2 = 0.03, population covariance, valid positions, channels apart."""

    window: Literal["gaussian-11", "uniform-7"] = Field("gaussian-11", description="sigma 1.5; or flat")
    data_range: Literal[1] = Field(1, description="largest value of a pixel")


class Lpips(Section):
    """LPIPS with the official v0.1 weights, inputs scaled to [-1, 1], not resized."""

    nets: list[Literal["alex", "vgg"]] = Field(["alex"], description="the first is `lpips`, vgg `lpips_vgg`")
    version: Literal["0.1"] = Field("0.1", description="of the metric's linear heads")


class Dists(Section):
    """DISTS (arXiv 2004.07728) at the images' own size; the costliest of the image metrics."""

    every: int = Field(1, ge=0, description="measured on each n-th scored view; 0: not at all")


class Distribution(Section):
    """Distances between sets of images."""

    features: list[Literal["lite0", "lite2"]] = Field(
        ["lite0"],
        description="encoders whose features are compared, lite0 always; lite2 comes with an extra",
    )


class Geometry(Section):
    """Distances between surfaces, in the renderer's units (see normalisation)."""

    points: int = Field(10_000, ge=100, description="seeded samples on each surface")
    thresholds: list[float] = Field([0.02, 0.05, 0.1, 0.2], description="distances of the F-scores")
    alignment: list[Literal["none", "scale_centre", "yaw", "rotation_icp"]] = Field(
        ["none", "scale_centre", "yaw", "rotation_icp"], description="rungs of the ladder that are reported"
    )
    chamfer: list[Literal["half_sum", "sum", "squared_sum"]] = Field(
        ["half_sum", "sum", "squared_sum"],
        description="forms of the distance that are reported: half the sum of both mean distances, their "
        "sum, the sum of mean squared ones",
    )
    grid: int = Field(64, ge=8, description="cells a side of the grid of the volume IoU")
    voxel: float = Field(0.03, gt=0, description="edge of the cells that a mesh is extracted with (TSDF)")


class Tsed(Section):
    """Thresholded symmetric epipolar distance (arXiv 2304.10700) over neighbouring views of the ring."""

    min_matches: int = Field(10, ge=1, description="T_m: fewer matches make a pair inconsistent")
    max_px: float = Field(2.0, gt=0, description="T_e: largest median distance of a consistent pair")
    image_px: int = Field(
        256, ge=64, description="size that images are brought to before matching; px are its"
    )
    matcher: Literal["sift", "disk_lightglue"] = Field(
        "sift",
        description="what finds the matches; disk_lightglue is learned, comes with the extra lightglue, and "
        "is for views of 256 px and more",
    )

    @model_validator(mode="after")
    def _large_enough(self) -> Tsed:
        if self.matcher == "disk_lightglue" and self.image_px < LEARNED_LEAST_PX:
            raise ValueError(too_small_to_match("image_px", self.image_px))
        return self


class Consistency(Section):
    """What cross-view consistency is measured with."""

    halves: Literal["adjacent", "even-odd"] = Field(
        "adjacent", description="which views of the rig make the two halves of split-half and held-out scores"
    )
    between: Literal["midway"] = Field(
        "midway", description="poses at which two halves are compared: midway between the rig's views"
    )
    tsed: Tsed = Tsed()


class Metrics(Section):
    """What is measured, and each convention that would change a number."""

    psnr: Psnr = Psnr()
    ssim: Ssim = Ssim()
    lpips: Lpips = Lpips()
    dists: Dists = Dists()
    distribution: Distribution = Distribution()
    geometry: Geometry = Geometry()
    consistency: Consistency = Consistency()
