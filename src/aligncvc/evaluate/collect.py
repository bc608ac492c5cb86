"""Features of a method's whole set, gathered object by object, for the distances between distributions."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from aligncvc.encoders import Lite0
from aligncvc.encoders.inception import FidInception
from aligncvc.evaluate.distribution import distribution_family, embed_images
from aligncvc.evaluate.fid import fid_family
from aligncvc.evaluate.subject import Subject, Value


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

    def add(self, subject: Subject, drawn: Tensor | None) -> None:
        """drawn: `draw_scored(subject)`, None without a model."""
        key = subject.object, subject.seed
        if subject.object not in self.truth:
            self.truth[subject.object] = embed_images(self.encoder, subject.rig_truth)
        if subject.views is not None:
            self.views[key] = embed_images(self.encoder, subject.views)
        if subject.renders is not None:
            self.renders[key] = embed_images(self.encoder, subject.renders)
        if self.fid is not None and drawn is not None:
            self.fid_drawn[key] = self.fid.embed(drawn)
            if subject.object not in self.fid_truth:
                self.fid_truth[subject.object] = self.fid.embed(subject.scored_truth)

    def values(self, seed: int) -> list[Value]:
        """The set's distances with their intervals; seed: of the bootstrap."""
        return [
            *distribution_family(self.views, self.renders, self.truth, root_seed=seed),
            *fid_family(self.fid_drawn, self.fid_truth, root_seed=seed),
        ]
