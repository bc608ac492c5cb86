"""Every kind of network at tiny sizes, found as the package finds kinds.

A form is a kind at its preset `tiny`, named as the kind is, or KIND/tiny-... at another of its tiny presets.
"""

from __future__ import annotations

from typing import Any

from aligncvc.models.generators.base import MultiViewGenerator
from aligncvc.models.kinds import Role, complete, kind_module, known_kinds
from aligncvc.models.pair import build_generator, build_reconstructor
from aligncvc.models.specs import ModelSpec
from aligncvc.streams import seeded

SIZE_PX = 32


def tiny_forms(role: Role) -> list[str]:
    forms = []
    for kind in known_kinds(role):
        presets = kind_module(role, kind, "settings").PRESETS
        forms += [kind, *(f"{kind}/{name}" for name in sorted(presets) if name.startswith("tiny-"))]
    return forms


GENERATORS, RECONSTRUCTORS = tiny_forms("generators"), tiny_forms("reconstructors")


def tiny_spec(role: Role, form: str, **settings: Any) -> ModelSpec:
    kind, _, preset = form.partition("/")
    kind, network = complete(role, {"kind": kind, "preset": preset or "tiny", **settings}, "the test")
    return ModelSpec(kind=kind, network=network)


def tiny_generator(form: str, **settings: Any) -> MultiViewGenerator:
    """With random weights, evaluation mode; views of SIZE_PX pixels."""
    spec = tiny_spec("generators", form, **settings)
    return seeded(lambda: build_generator(spec, SIZE_PX), 0, "tiny").eval()


def tiny_reconstructor(form: str, **settings: Any) -> Any:
    spec = tiny_spec("reconstructors", form, **settings)
    return seeded(lambda: build_reconstructor(spec), 0, "tiny").eval()
