"""Frozen networks that judge images: EfficientNet-Lite0, LPIPS, U2-Net."""

from aligncvc.encoders.background import remove_background
from aligncvc.encoders.lite0 import Lite0, load_lite0
from aligncvc.encoders.lpips import load_lpips

__all__ = ["Lite0", "load_lite0", "load_lpips", "remove_background"]
