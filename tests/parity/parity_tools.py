"""What every comparison with a reference shares: weights by formula, errors, objects by module path.

Nothing here fetches, builds or holds a line of a reference: whoever compares puts it on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aligncvc.files import atomic_path, write_text

Facts = dict[str, np.ndarray]
"""Small outputs of a reference, by name; CI compares ours with them."""
Errors = dict[str, float]
"""Largest relative error of each comparison, by its name."""

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-5
"""Largest relative error of a float32 network against its reference."""


def numbers(name: str, shape: tuple[int, ...]) -> Tensor:
    """float32 numbers of unit variance in [-sqrt 3, sqrt 3] that depend on the name and the shape alone.

    splitmix64 of (name, index): integer arithmetic, the same on every machine and in every library version.
    """
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)  # [0, 1), exact in float32
    return torch.from_numpy((unit - np.float32(0.5)) * np.float32(12**0.5)).reshape(shape)


@torch.no_grad()
def fill(module: nn.Module, names: Callable[[str], str] = str) -> None:
    """Give every parameter its number by its own name, so that two modules with equal keys become equal.

    names: of a parameter in the other module, where the two name it differently.

    Matrices and kernels keep the variance of their input; norms are near the identity, biases small and no
    branch is zero, so that every weight matters to the output.
    """
    for own, parameter in module.named_parameters():
        name = names(own)
        value = numbers(name, tuple(parameter.shape))
        if parameter.dim() > 1:
            value *= float(np.prod(parameter.shape[1:])) ** -0.5
        else:
            value = 1 + 0.1 * value if name.endswith("weight") else 0.1 * value
        parameter.copy_(value)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest magnitude expected."""
    assert found.shape == expected.shape, (tuple(found.shape), tuple(expected.shape))
    difference = (found.double() - expected.double()).abs().max()
    return float(difference / expected.double().abs().max())


def named(path: str) -> Any:
    """`package.module:object`, imported."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def shapes(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Key -> shape of a state dict, sorted by key."""
    return {key: list(state[key].shape) for key in sorted(state)}


def key_differences(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> list[str]:
    """One line for each key that is missing, unknown or of another shape."""
    lines = [f"missing {key}" for key in expected if key not in found]
    lines += [f"unknown {key}" for key in found if key not in expected]
    lines += [f"{key}: {found[key]} instead of {expected[key]}" for key in expected
              if key in found and list(found[key]) != list(expected[key])]  # fmt: skip
    return lines


def parser(description: str | None, objects: Iterable[str]) -> argparse.ArgumentParser:
    """A comparison's options: a `package.module:object` for each of `objects`, all required, and --facts."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in objects:
        options.add_argument(f"--{name.replace('_', '-')}", required=True, type=named)
    options.add_argument("--facts", type=Path)
    return options


def write_facts(folder: Path, name: str, facts: Facts, keys: Any = None) -> None:
    """NAME.npz and, where there are key lists, NAME_keys.json."""
    if keys is not None:
        text = json.dumps(keys, separators=(",", ":"), sort_keys=True)
        write_text(folder / f"{name}_keys.json", text + "\n")
    with atomic_path(folder / f"{name}.npz") as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **facts)  # type: ignore[arg-type]


def conclude(errors: Errors) -> None:
    """Print the errors; exit with a sentence where one is above the tolerance."""
    print(json.dumps(errors, indent=1))
    if max(errors.values()) > TOLERANCE:
        sys.exit(f"a relative error is above {TOLERANCE:g}")
