"""What measuring takes besides the subject: networks, settings of the protocol, and what is not available."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aligncvc.config.protocols import Protocol
from aligncvc.config.sections import Config
from aligncvc.evaluate.consistency import ConsistencyTools
from aligncvc.evaluate.epipolar import EpipolarTools
from aligncvc.evaluate.fid import load_fid
from aligncvc.evaluate.geometry import GeometrySettings
from aligncvc.evaluate.image_scores import ImageTools
from aligncvc.metrics.image import LPIPS_MIN_PX, lpips_metric, mae, not_available, psnr, ssim
from aligncvc.models.encoders.inception import FidInception
from aligncvc.models.encoders.lite0 import Lite0, load_lite0
from aligncvc.models.judge import load_judge


@dataclass(frozen=True)
class Tools:
    """unavailable: by metric, why it has no value ("n/a (weights missing): ..."). judge_facts: its weights.

    seed: root of every random stream of the evaluation.
    """

    image: ImageTools
    encoder: Lite0
    fid: FidInception | None
    consistency: ConsistencyTools
    epipolar: EpipolarTools
    geometry: GeometrySettings
    unavailable: Mapping[str, str]
    judge_facts: Mapping[str, Any]
    seed: int


def load_tools(config: Config, protocol: Protocol, curves: bool = True) -> Tools:
    """Everything the protocol's metrics need. curves: whether costly scores are measured along the steps.

    Raises UserError for weights that must be there and are not.
    """
    ledger, wanted = config.checkpoints.ledger, protocol.metrics
    image = ImageTools.load(
        wanted.lpips.nets[0],
        vgg="vgg" in wanted.lpips.nets[1:],
        dists=wanted.dists.every > 0,
        dists_every=max(1, wanted.dists.every),
        ledger=ledger,
        accept_licences=tuple(config.checkpoints.accept_licences),
    )
    fid, fid_reason = load_fid(ledger=ledger)
    large = protocol.render.size_px >= LPIPS_MIN_PX
    metrics = {
        "psnr": psnr,
        "ssim": ssim,
        "lpips": lpips_metric(image.lpips) if large and image.lpips is not None else not_available,
        "mae": mae,
    }
    too_small = f"n/a (images below {LPIPS_MIN_PX} px)"
    small = {} if large else {name: too_small for name in ("lpips", "fg_lpips", "views_lpips", "dists")}
    return Tools(
        image=image,
        encoder=load_lite0(ledger=ledger),
        fid=fid,
        consistency=ConsistencyTools(
            metrics, load_judge(config), wanted.consistency.halves, "four" if curves else "last"
        ),
        epipolar=EpipolarTools(**dict(wanted.consistency.tsed)),
        geometry=GeometrySettings.of(wanted.geometry, config.seed),
        unavailable={**image.reasons, **({"fid": fid_reason} if fid_reason else {}), **small},
        judge_facts={"kind": config.recon.kind, "weights": config.recon.weights},
        seed=config.seed,
    )
