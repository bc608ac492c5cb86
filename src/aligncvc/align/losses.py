"""Small parts of a training step: the loss to ground truth, and the learning rates' course."""

from __future__ import annotations

from torch import Tensor, nn

from aligncvc.scene.views import at_common_size, composite


def reconstruction_loss(
    perceptual: nn.Module, images: Tensor, truth: Tensor, mse_weight: float, foreground_weight: float
) -> Tensor:
    """Squared error and LPIPS to ground truth at the same cameras, a scalar.

    images: (B, V, 3, H, W) in [0, 1] on white; truth: (B, V, 4, H, W), straight alpha; where their sizes
    differ they are compared at the smaller one (`views.at_common_size`). foreground_weight is
    added to the squared error's weight where the truth shows the object, as in pretraining: without it
    uncertain parts of an object fade into the canvas, which most of a view is.
    """
    images, reference, alpha = at_common_size(images, composite(truth, 1.0), truth[..., 3:, :, :])
    squared = ((images - reference).square() * (1 + foreground_weight * alpha)).mean()
    distance = perceptual(images.flatten(0, 1) * 2 - 1, reference.flatten(0, 1) * 2 - 1).mean()
    return mse_weight * squared + distance
