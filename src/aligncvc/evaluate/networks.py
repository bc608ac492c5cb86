"""The networks that an evaluation measures with, and why those that are not there are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.protocol_metrics import Tsed
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.epipolar import EPIPOLAR, LEARNED
from aligncvc.metrics.epipolar import SIFT, Matcher
from aligncvc.models.encoders.clip import ClipImageEncoder, load_clip
from aligncvc.models.encoders.disk_lightglue import load_disk_lightglue, unavailable
from aligncvc.models.encoders.dists import Dists, load_dists
from aligncvc.models.encoders.inception import FidInception, load_fid_inception
from aligncvc.models.encoders.lite0 import Lite0, load_lite0
from aligncvc.models.encoders.lite2 import Lite2, load_lite2
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.ledger.resolve import missing
from aligncvc.models.pair import load_reconstructor
from aligncvc.models.specs import CheckpointAccess

OPTIONAL = {"clip_s": "clip-vit-b32", "fid": "fid-inception"}
"""Ledger ids of the weights that a user may lack, by the metric that they make."""


@dataclass(frozen=True)
class Networks:
    """None: not loaded, and its metrics have no value; reasons: why, by metric of OPTIONAL.

    lpips: of the protocol's first net; lpips_vgg: where it names vgg as another. matcher: of views, for
    epipolar scores.
    """

    lpips: nn.Module | None = None
    lpips_vgg: nn.Module | None = None
    dists: Dists | None = None
    clip: ClipImageEncoder | None = None
    lite0: Lite0 | None = None
    lite2: Lite2 | None = None
    fid: FidInception | None = None
    judge: nn.Module | None = None
    matcher: Matcher | None = SIFT
    reasons: Mapping[str, str] = field(default_factory=dict)


def load_networks(job: EvaluateJob) -> Networks:
    """All that the protocol's metrics need. Raises UserError for weights that must be there and are not."""
    access, wanted = job.checkpoints, job.protocol.metrics
    reasons = {metric: why for metric, name in OPTIONAL.items() if (why := missing(name, access))}
    second = "lite2" in wanted.distribution.features
    if second and (why := missing("lite2", access)):
        reasons |= {name: why for name in CATALOGUE if "_lite2_" in name}
        second = False
    matcher, unmatched = load_matcher(wanted.consistency.tsed, access)
    return Networks(
        lpips=load_lpips(wanted.lpips.nets[0], access),
        lpips_vgg=load_lpips("vgg", access) if "vgg" in wanted.lpips.nets[1:] else None,
        dists=load_dists(access) if wanted.dists.every else None,
        clip=None if "clip_s" in reasons else load_clip(access=access),
        lite0=load_lite0(access),
        lite2=load_lite2(access) if second else None,
        fid=None if "fid" in reasons else load_fid_inception(access),
        judge=load_reconstructor(job.judge, job.seed, access),
        matcher=matcher,
        reasons=reasons | unmatched,
    )


def load_matcher(settings: Tsed, access: CheckpointAccess) -> tuple[Matcher | None, dict[str, str]]:
    """What the protocol matches views with; or None, and by metric why it is not there."""
    if settings.matcher == "sift":
        return SIFT, {}
    if why := unavailable(access):
        return None, {LEARNED + name: why for name in EPIPOLAR}
    network = load_disk_lightglue(access)
    return Matcher(network.keypoints, network.match), {}
