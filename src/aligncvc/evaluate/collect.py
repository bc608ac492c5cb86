"""Features of a method's whole set, gathered object by object, for the distances between distributions."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from aligncvc.evaluate.distribution import distribution_family, embed_images
from aligncvc.evaluate.fid import fid_family
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.models.encoders.inception import FidInception
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.scene.views import at_common_size


@dataclass
class Features:
    """Lite0 features of generated views, of renderings at every kept step and of the truth; maybe FID's."""

    encoder: Lite0
    fid: FidInception | None = None
    views: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    renders: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    truth: dict[str, Tensor] = field(default_factory=dict)
    fid_drawn: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    fid_truth: dict[str, Tensor] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    """Height and width that Lite0 saw."""

    def add(self, subject: Subject, drawn: Tensor | None) -> None:
        """drawn: `draw_scored(subject)`, None without a model.

        Features depend on the size, so views, renderings and truth are taken at the smallest of theirs.
        """
        key = subject.object, subject.seed
        given = {"views": subject.views, "renders": subject.renders, "truth": subject.rig_truth}
        there = {name: images for name, images in given.items() if images is not None}
        alike = dict(zip(there, at_common_size(*there.values()), strict=True))
        size = alike["truth"].shape[-2], alike["truth"].shape[-1]
        if subject.object in self.truth:
            del alike["truth"]
        # embedded first and kept afterwards, so that a subject which fails half-way leaves nothing behind
        found = {name: embed_images(self.encoder, images) for name, images in alike.items()}
        if self.fid is not None and drawn is not None:
            fid = self.fid.embed(drawn)
            if subject.object not in self.fid_truth:
                self.fid_truth[subject.object] = self.fid.embed(subject.scored_truth)
            self.fid_drawn[key] = fid
        self.size = size
        self.truth |= {subject.object: found["truth"]} if "truth" in found else {}
        self.views |= {key: found["views"]} if "views" in found else {}
        self.renders |= {key: found["renders"]} if "renders" in found else {}

    def values(self, seed: int) -> list[Value]:
        """The set's distances with their intervals; seed: of the bootstrap."""
        return [
            *distribution_family(self.views, self.renders, self.truth, root_seed=seed),
            *fid_family(self.fid_drawn, self.fid_truth, root_seed=seed),
        ]
