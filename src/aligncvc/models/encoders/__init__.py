"""Frozen networks that judge images: EfficientNet-Lite0, LPIPS, DISTS, U2-Net."""

from aligncvc.models.encoders.background import remove_background
from aligncvc.models.encoders.dists import Dists, load_dists
from aligncvc.models.encoders.lite0 import Lite0, load_lite0
from aligncvc.models.encoders.lpips import Net, load_lpips

__all__ = ["Dists", "Lite0", "Net", "load_dists", "load_lite0", "load_lpips", "remove_background"]
