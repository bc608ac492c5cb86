"""Cut the main object out of a photograph (U2-Net small, arXiv 2005.09007; its weights are bundled)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.encoders.frozen import IMAGENET
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.specs import CheckpointAccess

CUT_OUT_PX = 320
"""Side at which the outline is found, whatever the picture's."""
_MEAN, _STD = (torch.tensor(values)[:, None, None] for values in IMAGENET)


def remove_background(image: Tensor, access: CheckpointAccess = CheckpointAccess()) -> Tensor:
    """(3, H, W) in [0, 1] -> (4, H, W), with a soft alpha of the salient object. UserError without one."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise UserError(
            f"background removal wants one (3, H, W) image, got shape {tuple(image.shape)}; load it as RGB"
        )
    if float(image.max() - image.min()) < 1e-3:
        raise UserError("the picture has one single colour, so there is no object to cut out; choose another")
    session = _session(resolve("u2netp", access))
    logits = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: _prepare(image)})[0]
    saliency = torch.from_numpy(np.asarray(logits, np.float32)[:, :1])
    low, high = saliency.min(), saliency.max()
    if float(high - low) < 1e-3:
        raise UserError("no object stands out from the background; choose a picture with one clear object")
    alpha = _resize((saliency - low) / (high - low), image.shape[-2:])[0].clamp(0, 1)
    return torch.cat([image, alpha.to(image)])


def _prepare(image: Tensor) -> np.ndarray:
    """(3, H, W) -> (1, 3, 320, 320) float32, scaled by its maximum and normalised as in training."""
    small = _resize(image[None].float().cpu(), (CUT_OUT_PX, CUT_OUT_PX))[0].clamp_min(0)
    return (((small / small.max()) - _MEAN) / _STD)[None].numpy().astype(np.float32)


def _resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(images, size=tuple(size), mode="bicubic", antialias=True, align_corners=False)


@lru_cache(maxsize=1)
def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "background removal needs the Python package onnxruntime; run `make env`, or give a PNG "
            "whose background is already transparent"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
