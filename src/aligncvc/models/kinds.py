"""Finding a kind of network by its name: a folder here, or a dotted package of the user's. No torch here.

A kind has `settings.py` (`Settings`, and `PRESETS` by name) and `network.py` (`build`). Nothing registers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Literal

from pydantic import ValidationError

from aligncvc.errors import UserError
from aligncvc.section import Section, faults

Role = Literal["generators", "reconstructors"]
ROLES: tuple[Role, ...] = ("generators", "reconstructors")


def package_of(role: Role, kind: str) -> str:
    """The dotted package of a kind: one of aligncvc.models, or the user's own."""
    return kind if "." in kind else f"aligncvc.models.{role}.{kind}"


def feedback_module(name: str) -> str:
    """The dotted module of a feedback rule: one of aligncvc.loop, or the user's own."""
    return name if "." in name else f"aligncvc.loop.{name}"


def takes_maps(kind: str) -> bool:
    """Whether a kind of generator can be told of a 3D model (`generators.base.TakesMaps`)."""
    return bool(getattr(kind_module("generators", kind, "settings"), "TAKES_MAPS", False))


def trained_part(kind: str) -> Literal["unet", "maps"]:
    """Which of a generator's parts pretraining trains: its U-Net, unless its settings name another."""
    part: Literal["unet", "maps"] = getattr(kind_module("generators", kind, "settings"), "TRAINED", "unet")
    return part


def known_kinds(role: Role) -> list[str]:
    """Names of the kinds of this package in a role, sorted."""
    home = import_module(f"aligncvc.models.{role}")
    return sorted(module.name for module in iter_modules(home.__path__) if module.ispkg)


def kind_module(role: Role, kind: str, name: Literal["settings", "network"]) -> ModuleType:
    """The settings or the network module of a kind. Raises UserError if there is no such kind."""
    package = package_of(role, kind)
    try:
        return import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.{name}".startswith(error.name):
            raise  # the kind is there and lacks something else
        raise UserError(
            f"there is no kind {kind!r} of {role} ({package}.{name} cannot be imported); choose one of "
            f"{', '.join(known_kinds(role))}, or the dotted name of a package of your own"
        ) from None


def complete(role: Role, network: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """(kind, all settings) of a `network:` mapping, by preset, itself and defaults. UserError if unknown."""
    given = dict(network)
    kind = given.pop("kind", None)
    if not isinstance(kind, str):
        raise UserError(f"{where} names no kind; choose one of {', '.join(known_kinds(role))}")
    module = kind_module(role, kind, "settings")
    preset = given.pop("preset", None)
    presets = getattr(module, "PRESETS", {})
    if preset is not None and preset not in presets:
        raise UserError(f"{where} names the preset {preset!r}; {kind} has {', '.join(sorted(presets))}")
    try:
        settings: Section = module.Settings.model_validate(_merged(presets.get(preset, {}), given))
    except ValidationError as error:
        raise UserError(f"{where} is not valid: {faults(error)}") from None
    return kind, settings.model_dump(mode="json")


def telling(role: Role, kind: str, network: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a network but those that its kind has `ADDED` since and that are at their defaults."""
    module = kind_module(role, kind, "settings")
    defaults = {name: module.Settings.model_fields[name].default for name in getattr(module, "ADDED", ())}
    return {key: value for key, value in network.items() if key not in defaults or value != defaults[key]}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one, sections within them too; `over` wins."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        nested = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(inner, value) if nested else value  # type: ignore[arg-type]
    return result
