"""Resampled distances between sets, kept so that two methods can be compared on the same resamples.

Two intervals of sets that show the same objects say little about their difference: a hard object moves both.
So the values behind an interval are written beside the records, and `joint` subtracts them resample by
resample.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aligncvc.errors import UserError
from aligncvc.evaluate.stats import NONE, Interval
from aligncvc.files import atomic_path
from aligncvc.metrics.feature_sets import joint_interval

SUFFIX = ".resamples.npz"


@dataclass(frozen=True)
class SetDraws:
    """objects: that the sets show, sorted; seed: of the bootstrap.

    values: by (metric, step) the distance, then those of resampled objects, (1 + B,).
    """

    objects: list[str]
    seed: int
    values: Mapping[tuple[str, int], np.ndarray]

    def last(self, metric: str) -> np.ndarray | None:
        """The values after the last kept step; None where the metric has none."""
        steps = [step for name, step in self.values if name == metric]
        return self.values[metric, max(steps)] if steps else None

    def save(self, path: Path) -> None:
        arrays = {f"{metric}@{step}": values for (metric, step), values in self.values.items()}
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, objects=np.array(self.objects), seed=np.array(self.seed), **arrays)

    @staticmethod
    def load(path: Path) -> SetDraws:
        """Raises UserError if the file is not what `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                objects, seed = [str(name) for name in arrays["objects"]], int(arrays["seed"])
                keys = {name: name.split("@") for name in arrays.files if "@" in name}
                values = {(metric, int(step)): arrays[name] for name, (metric, step) in keys.items()}
                return SetDraws(objects, seed, values)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            message = f"{path} holds no resampled distances ({error}); evaluate the method again"
            raise UserError(message) from error


def merged(parts: Sequence[SetDraws]) -> SetDraws:
    """Several metrics of one set of objects as one."""
    return SetDraws(parts[0].objects, parts[0].seed, {k: v for part in parts for k, v in part.values.items()})


def draws_file(records: Path) -> Path:
    """Where the resampled distances behind a CSV of records are written."""
    return records.with_suffix(SUFFIX)


def joint(one: SetDraws, other: SetDraws, metric: str) -> Interval:
    """Difference one - other after the last step, with interval; NONE unless both show the same objects."""
    a, b = one.last(metric), other.last(metric)
    if a is None or b is None or (one.objects, one.seed) != (other.objects, other.seed):
        return NONE
    return Interval(*joint_interval(a, b))
