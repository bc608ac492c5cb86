"""GeoLRM's deformable cross-attention beside a dense one over the same tokens and feature pixels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.bench.measure import CLOCKS, Row, measured_apart, medians, row, timed, torch_threads
from aligncvc.bench.rasteriser import THREADS
from aligncvc.hardware import PeakMemory
from aligncvc.models.reconstructors.geolrm.attention import CrossAttention

DIM, FEATURES, HEADS, POINTS = 768, 384, 16, 8
VIEWS, TOKENS, SHAPES = 4, 1024, [(56, 56), (32, 32)]
"""Widths of the published network; views of 224 pixels."""


class Dense(nn.Module):
    """Every token attends to every feature pixel of every view."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.out = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.kv = nn.Linear(FEATURES, 2 * DIM)

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        """(B, S, C), (B, V, L, F) -> (B, S, C)."""
        k, v = self.kv(features.flatten(1, 2)).unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        q = self.q(query).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def measured(kind: Literal["dense", "deformable"], clock: str, repeats: int) -> tuple[float, float]:
    """Seconds forward and backward, and how much the process' memory rose in MB."""
    length = sum(height * width for height, width in SHAPES)
    sizes = ((TOKENS, DIM), (VIEWS, length, FEATURES), (VIEWS, TOKENS, 2))
    query, features, at = (torch.rand(1, *size, requires_grad=True) for size in sizes)
    dense, ours = Dense(), CrossAttention(DIM, FEATURES, HEADS, POINTS)

    def run() -> None:
        found = dense(query, features) if kind == "dense" else ours(query, features, SHAPES, at)
        found.square().mean().backward()

    with torch_threads(THREADS):
        memory = PeakMemory()
        before = memory.read()
        run()
        rise = memory.read() - before
        return medians({kind: timed(run, CLOCKS[clock])}, repeats)[kind], rise


def bench_deformable(clock: str = "wall", repeats: int = 3) -> list[Row]:
    """Forward and backward of one layer, each kind in a process of its own."""
    dense = measured_apart(measured, "dense", clock, repeats)
    ours = measured_apart(measured, "deformable", clock, repeats)
    note = f"{TOKENS} tokens, {VIEWS} views of 224 px; the reference is dense attention"
    pairs = zip(("seconds", "memory"), ("s", "MB"), ours, dense, strict=True)
    return [row(f"deformable_attention_{name}", own, unit, other, note) for name, unit, own, other in pairs]
