"""FID (Heusel et al. 2017, arXiv 1706.08500) of renderings, where its weights are there.

It is the Frechet distance in the features of the original Inception network, resized as pytorch-fid does.
Biased upward for few images (thousands are usual): compare it only between methods with the same number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from aligncvc.evaluate.distribution import (
    RESAMPLES,
    check_truth,
    frechet_with_interval,
    gather,
    object_resamples,
)
from aligncvc.evaluate.subject import Value
from aligncvc.models.encoders.inception import FidInception, load_fid_inception
from aligncvc.models.encoders.optional import missing

CHECKPOINT = "fid-inception"


def load_fid(*, ledger: Path | str | None = None) -> tuple[FidInception | None, str | None]:
    """The network and None, or None and "n/a (weights missing): " with the reason."""
    reason = missing(CHECKPOINT, ledger=ledger)
    return (None, reason) if reason else (load_fid_inception(ledger=ledger), None)


def fid_family(
    drawn: Mapping[tuple[str, int], Tensor],
    truth: Mapping[str, Tensor],
    *,
    resamples: int = RESAMPLES,
    root_seed: int = 0,
) -> list[Value]:
    """FID of one method's set, with its interval over objects: `fid`, `fid_lo`, `fid_hi`.

    drawn: by (object, seed), `FidInception.embed` of the model at the scored views, (S, 2048). truth: by
    object, of ground truth at the same views. Without features (weights missing) the one value is NaN.
    Raises UserError if an object has no truth.
    """
    if not drawn:
        return [Value("fid", math.nan)]
    objects = sorted({name for name, _ in drawn})
    check_truth(truth, objects)
    one, other = gather(drawn, objects), gather({(name, 0): truth[name] for name in objects}, objects)
    triple = frechet_with_interval(one, other, object_resamples(len(objects), resamples, root_seed))
    return [Value(f"fid{end}", value) for end, value in zip(("", "_lo", "_hi"), triple, strict=True)]
