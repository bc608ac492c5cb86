"""Every metric by name: heading, direction, digits, family. Tables, controls and figures read it.

Names follow one scheme: `<family>_<what>`, with the convention spelt out where fields differ
(`chamfer_half_sum`), and `@<alignment>` last for geometry scored after a rung of the alignment ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["image", "views", "consistency", "distribution", "geometry", "cost"]


@dataclass(frozen=True)
class Metric:
    """heading: of a table's column. better: which way is better, 0 where neither. decimals: of its numbers.

    per_step: measured after every kept sampling step 1..K; tables show the last. set_level: belongs to the
    whole set (object "*"), not to one object.
    """

    name: str
    heading: str
    better: Literal[-1, 0, 1]
    decimals: int
    family: Family
    per_step: bool = False
    set_level: bool = False

    @property
    def arrow(self) -> str:
        """Heading with an arrow that says which way is better."""
        return self.heading + {1: " ↑", -1: " ↓", 0: ""}[self.better]


CONTROL_PREFIX = "control:"
"""Method names of controls begin with it."""
CONTROLS = ("gt", "jitter", "shuffled", "copy")
"""Their names without it, the best first (`controls.py`)."""

SET_OBJECT = "*"
"""`object` of records that belong to the whole set."""


def _scores(prefix: str, heading: str, family: Family, per_step: bool = False) -> list[Metric]:
    """PSNR, SSIM and LPIPS of one comparison."""
    return [
        Metric(f"{prefix}psnr", f"{heading}PSNR", 1, 2, family, per_step),
        Metric(f"{prefix}ssim", f"{heading}SSIM", 1, 4, family, per_step),
        Metric(f"{prefix}lpips", f"{heading}LPIPS", -1, 4, family, per_step),
    ]


_ALL = [
    *_scores("", "", "image"),
    Metric("psnr_pooled", "PSNR (pooled MSE)", 1, 2, "image"),
    Metric("lpips_vgg", "LPIPS (VGG)", -1, 4, "image"),
    Metric("dists", "DISTS", -1, 4, "image"),
    *_scores("fg_", "Foreground ", "image"),
    *_scores("views_", "Views ", "views", per_step=True),
    Metric("views_fg_psnr", "Views foreground PSNR", 1, 2, "views", per_step=True),
    *_scores("residual_", "Residual ", "consistency", per_step=True),
    Metric("residual_mae", "Residual MAE", -1, 4, "consistency", per_step=True),
    Metric("delta_psnr", "Delta PSNR", 0, 2, "consistency", per_step=True),
    Metric("delta_ssim", "Delta SSIM", 0, 4, "consistency", per_step=True),
    Metric("delta_lpips", "Delta LPIPS", 0, 4, "consistency", per_step=True),
    *_scores("heldout_", "Held-out ", "consistency", per_step=True),
    *_scores("split_", "Split-half ", "consistency", per_step=True),
    Metric("split_chamfer_half_sum", "Split-half Chamfer (half sum)", -1, 4, "consistency", per_step=True),
    Metric("split_depth_mae", "Split-half depth MAE", -1, 4, "consistency", per_step=True),
    Metric("sed_px", "SED px", -1, 2, "consistency", per_step=True),
    Metric("sampson_px", "Sampson px", -1, 2, "consistency", per_step=True),
    Metric("tsed", "TSED", 1, 3, "consistency", per_step=True),
    Metric("matches", "Matches a pair", 0, 1, "consistency", per_step=True),
    Metric("met3r", "MEt3R", -1, 4, "consistency"),
    *(
        Metric(f"{kind}_lite0_{what}", f"{heading} (Lite0) {what.replace('_', ' / ')}", -1, digits,
               "distribution", per_step=True, set_level=True)
        for kind, heading, digits in (("frechet", "Fréchet distance", 1), ("kernel", "Kernel distance", 3))
        for what in ("views", "renders", "views_renders")
    ),
    Metric("frechet_lite0_floor", "Fréchet distance (Lite0) floor", 0, 1, "distribution", set_level=True),
    Metric("kernel_lite0_floor", "Kernel distance (Lite0) floor", 0, 3, "distribution", set_level=True),
    Metric("fid", "FID", -1, 2, "distribution", set_level=True),
    Metric("clip_s", "CLIP-S", 1, 4, "distribution"),
    Metric("depth_mae", "Depth MAE", -1, 4, "geometry"),
    Metric("mask_iou", "Silhouette IoU", 1, 4, "geometry"),
    Metric("watertight_truth", "Watertight truth", 0, 2, "geometry"),
    Metric("watertight_model", "Watertight model", 0, 2, "geometry"),
    Metric("network_calls", "Network calls", -1, 0, "cost"),
    Metric("seconds", "Seconds", -1, 2, "cost"),
    *(
        Metric(f"seconds_{part}", f"Seconds, {part}", -1, 3, "cost")
        for part in ("generator", "decode", "encode", "reconstruct", "render")
    ),
    Metric("peak_mb", "Peak MB", -1, 0, "cost"),
]  # fmt: skip

CATALOGUE: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""By name. Geometry registers its own names (`geometry_metrics`), as they hang on the protocol."""
