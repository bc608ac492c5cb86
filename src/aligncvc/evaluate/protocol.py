"""The protocol: everything that changes a number without changing the method.

Framing and background alone move PSNR by several dB, more than most methods differ. So each record
carries the hash of its protocol, and records of different protocols are never put side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from aligncvc.cameras import spherical_deg
from aligncvc.checkpoints import load_ledger
from aligncvc.config import Config
from aligncvc.evaluate.image import LPIPS_MIN_PX, SSIM_SIGMA, SSIM_WINDOW
from aligncvc.files import sha256_json
from aligncvc.metrics import PSNR_CAP_DB
from aligncvc.renderset import PosedObject
from aligncvc.views import Views

VERSION = 1


def build_protocol(
    config: Config, dataset: str, objects: Mapping[str, PosedObject | None], manifest_ids: Sequence[str]
) -> dict[str, Any]:
    """The protocol of one evaluation, JSON-serialisable; it depends on no method's output.

    objects: the readable objects' views by id (None: unreadable). manifest_ids: all the render set lists.
    """
    present = {name: posed for name, posed in objects.items() if posed is not None}
    return {
        "version": VERSION,
        "dataset": dataset,
        "objects": {
            name: {"ground_truth_sha256": ground_truth_sha256(posed.views)} for name, posed in present.items()
        },
        "not_rendered": sorted(set(manifest_ids) - present.keys()),
        "seeds": list(config.sample.seeds),
        "cameras": _camera_facts(next(iter(present.values()))) if present else None,
        "views": {"scored": config.evaluate.views, "input_view": config.evaluate.views == "ring"},
        "background": config.evaluate.background,
        "alpha": "straight, blended over the background",
        "images": "renderings clamped to [0, 1], ground truth and generated views 8-bit; no resizing",
        "alignment": "none",
        "averaging": "per view, mean over views, then over objects and seeds",
        "metrics": {
            "psnr": {"data_range": 1, "cap_db": PSNR_CAP_DB},
            "fg_psnr": {"data_range": 1, "cap_db": PSNR_CAP_DB, "mask": "ground-truth alpha > 0.5"},
            "ssim": {
                "data_range": 1,
                "window": SSIM_WINDOW,
                "sigma": SSIM_SIGMA,
                "positions": "valid",
                "covariance": "population",
            },
            "lpips": _lpips_facts(config, next(iter(present.values()), None)),
        },
    }


def _lpips_facts(config: Config, posed: PosedObject | None) -> dict[str, Any] | str:
    """What LPIPS is made of, or why there is none."""
    if posed is not None and min(posed.views.rgba.shape[-2:]) < LPIPS_MIN_PX:
        return f"n/a (images below {LPIPS_MIN_PX} px)"
    net, ledger = config.evaluate.lpips, load_ledger(config.checkpoints.ledger)
    return {
        "net": net,
        "version": "0.1",
        "package": f"lpips {version('lpips')}",
        "range": [-1, 1],
        "trunk_sha256": ledger.entry(f"lpips-{net}-trunk").sha256,
        "heads_sha256": ledger.entry(f"lpips-{net}-heads").sha256,
    }


def protocol_hash(protocol: Mapping[str, Any]) -> str:
    """Twelve hex digits of the protocol's SHA-256; independent of key order."""
    return sha256_json(protocol)[:12]


def ground_truth_sha256(views: Views) -> str:
    """Hash of the 8-bit RGBA pixels: object, renderer, light and framing in one number."""
    pixels = (views.rgba.clamp(0, 1) * 255).round().byte().numpy()
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _camera_facts(posed: PosedObject) -> dict[str, Any]:
    """The rig in numbers a person can check, rounded so that float noise cannot change the hash."""
    cameras = posed.views.cameras
    azimuth, elevation, distance = (np.round(x.double().numpy(), 2).tolist() for x in spherical_deg(cameras))
    return {
        "azimuth_deg": [a % 360 for a in azimuth],
        "elevation_deg": elevation,
        "distance": distance,
        "rig": posed.rig,
        "fov_y_deg": round(cameras.fov_y_deg, 4),
        "width": cameras.width,
        "height": cameras.height,
    }


def dataset_name(manifest: Path) -> str:
    """Name of the render set: the folder of its manifest."""
    return manifest.resolve().parent.name
