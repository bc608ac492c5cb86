"""Every kind of network at the size of its preset `tiny`, found as the package finds kinds."""

from __future__ import annotations

from typing import Any

from aligncvc.models.generators.base import MultiViewGenerator
from aligncvc.models.kinds import Role, complete, known_kinds
from aligncvc.models.pair import build_generator, build_reconstructor
from aligncvc.models.specs import ModelSpec
from aligncvc.streams import seeded

SIZE_PX = 32
GENERATORS, RECONSTRUCTORS = known_kinds("generators"), known_kinds("reconstructors")


def tiny_spec(role: Role, kind: str, **settings: Any) -> ModelSpec:
    kind, network = complete(role, {"kind": kind, "preset": "tiny", **settings}, "the test")
    return ModelSpec(kind=kind, network=network)


def tiny_generator(kind: str, **settings: Any) -> MultiViewGenerator:
    """With random weights, evaluation mode; views of SIZE_PX pixels."""
    spec = tiny_spec("generators", kind, **settings)
    return seeded(lambda: build_generator(spec, SIZE_PX), 0, "tiny").eval()


def tiny_reconstructor(kind: str, **settings: Any) -> Any:
    spec = tiny_spec("reconstructors", kind, **settings)
    return seeded(lambda: build_reconstructor(spec), 0, "tiny").eval()
