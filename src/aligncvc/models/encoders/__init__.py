"""Frozen networks that look at images: EfficientNet-Lite0, CLIP, LPIPS, DISTS, Inception, U2-Net."""
