"""The two-stage baseline: sample all views with deterministic steps (DDIM), then reconstruct once."""

from __future__ import annotations

from aligncvc.loop.feedback import Feedback


class TwoStage(Feedback):
    """Looks at the end only. The generator's own estimate stays as it is."""


FEEDBACK = TwoStage()
