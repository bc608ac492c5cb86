"""Cross-view consistency as the matched-pose residual.

Generated views and renderings of their reconstruction are compared at the same poses, step by step: a
curve that rises says that the two agree more and more. It is not claimed to be the paper's CVC metric,
whose definition is not public. Blur lowers it nothing: read it beside the scores against ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.image import Metric


def matched_pose_residual(views: Tensor, renders: Tensor, metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """Score generated views against renderings at the same poses.

    views, renders: (K, V, 3, H, W) in [0, 1], one set for each kept sampling step. metrics: by name.
    Returns `residual_<name>` -> (K, V). Raises UserError if the two shapes differ.
    """
    if views.shape != renders.shape or views.ndim != 5:
        raise UserError(
            f"generated views {tuple(views.shape)} and renderings {tuple(renders.shape)} do not match; "
            "sample the object again"
        )
    steps, poses = views.shape[:2]
    return {
        f"residual_{name}": metric(views.flatten(0, 1), renders.flatten(0, 1)).view(steps, poses)
        for name, metric in metrics.items()
    }
