"""Other looks of one object, drawn from a seed: colours, proportions, heading. No Blender or torch here."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_LOG_STRETCH = 0.2
"""Largest |ln| of an axis' factor: proportions change by up to a fifth either way."""
FLAT_COLOUR_SHARE, TINT_SHARE, GREY_SHARE = 0.25, 0.5, 0.25
"""Of textured materials: painted over, tinted (the rest keep their texture). Of colours: nearly grey."""


@dataclass(frozen=True)
class Appearance:
    """stretch: factors of the axes (x, y, z), z up; heading_deg: turn about z after the stretch."""

    stretch: tuple[float, float, float]
    heading_deg: float


def draw(seed: int) -> Appearance:
    """The proportions and heading of a seed."""
    generator = np.random.default_rng([seed, 0])
    x, y, z = np.exp(generator.uniform(-MAX_LOG_STRETCH, MAX_LOG_STRETCH, 3)).tolist()
    return Appearance((x, y, z), float(generator.uniform(0, 360)))


def colour(generator: np.random.Generator) -> tuple[float, float, float]:
    """A random colour, linear light in [0, 1]: any hue, mostly saturated, from dark to light."""
    hue, grey, saturation, value = generator.uniform(size=4)
    saturation = 0.15 * saturation if grey < GREY_SHARE else 0.35 + 0.65 * saturation
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 0.15 + 0.8 * value)
    return red**2.2, green**2.2, blue**2.2


def repaint(materials: Iterable[Any], seed: int) -> None:
    """Give materials (Blender's, in a fixed order) a base colour; textures are tinted or painted over."""
    generator = np.random.default_rng([seed, 1])
    for material in materials:
        paint, choice = (*colour(generator), 1.0), generator.uniform()
        if material.node_tree is None:
            continue
        for node in material.node_tree.nodes:
            if node.type == "BSDF_PRINCIPLED":
                _paint(material.node_tree, node.inputs["Base Color"], paint, choice)


def _paint(tree: Any, socket: Any, paint: tuple[float, ...], choice: float) -> None:
    if not socket.is_linked:
        socket.default_value = paint
        return
    source = socket.links[0].from_socket
    if choice < FLAT_COLOUR_SHARE:
        tree.links.remove(socket.links[0])
        socket.default_value = paint
    elif choice < FLAT_COLOUR_SHARE + TINT_SHARE:
        mix = tree.nodes.new("ShaderNodeMix")
        mix.data_type, mix.blend_type = "RGBA", "MULTIPLY"
        colours = [s for s in mix.inputs if s.type == "RGBA"]
        mix.inputs[0].default_value = 1.0
        tree.links.new(source, colours[0])
        # A tint only darkens: a little lighter than the colour, the texture stays visible.
        colours[1].default_value = (*(min(1.0, 0.1 + 1.3 * c) for c in paint[:3]), 1.0)
        tree.links.new(next(s for s in mix.outputs if s.type == "RGBA"), socket)
