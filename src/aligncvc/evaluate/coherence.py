"""The judges without networks, of one trial's generated views (`metrics.coherence`)."""

from __future__ import annotations

from collections.abc import Iterator

from aligncvc.evaluate.trial import Steps, Trial, Value, measured_steps, per_view
from aligncvc.metrics.coherence import COLOUR_VIEWS, coherence


def coherence_family(trial: Trial, steps: Steps) -> Iterator[Value]:
    """silhouette_coherence and, of dense rigs, hull_psnr and hull_covered of generated views.

    After the first kept step, which claims about early reconstructions need, and those of `steps`.
    """
    if trial.views is None:
        return
    cameras = trial.rig_cameras
    for step in sorted({1, *measured_steps(len(trial.views), steps)}):
        silhouette, colours, covered = coherence(trial.views[step - 1], cameras)
        yield from per_view("silhouette_coherence", silhouette, trial.rig, step)
        if len(trial.rig) >= COLOUR_VIEWS:
            yield from per_view("hull_psnr", colours, trial.rig, step)
            yield from per_view("hull_covered", covered, trial.rig, step)
