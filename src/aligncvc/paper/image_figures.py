"""The teaser (the paper's Figure 1), the comparison (its Figure 5), and the verdict's sheet of objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from aligncvc.paper.pair_results import UPPER_BOUND, PairResults, between_rig, degrees, held_out_view, truth
from aligncvc.paper.sheets import Strip, image_grid, strips
from aligncvc.paper.style import Drawn
from aligncvc.scene.renderset import PosedObject

TURNS, UNROLLED, POSES = 4, 2, 4
"""Objects of the teaser that are turned, objects that are shown step by step, poses of the turned ones."""

SHEET_METHODS = ("two_stage_50", "aware_4", "aligncvc_4")
"""Methods of the verdict's sheet."""


def turned_views(posed: PosedObject) -> list[int]:
    """POSES ring views at most, halfway between the generator's poses."""
    views = between_rig(posed)
    return views[:: -(-len(views) // POSES)]


def turned(pair: PairResults, posed: PosedObject) -> Strip:
    """The final model of the lead between the poses of the rig."""
    views = turned_views(posed)
    images = [pair.drawn(pair.lead, posed, view) for view in views]
    return Strip(pair.label(posed), [degrees(posed, v) for v in views], truth(posed, posed.rig[0]), images)


def unrolled(pair: PairResults, posed: PosedObject, kept: int) -> Strip:
    """The renderings after each kept step at the rig's second pose."""
    steps, column = pair.steps(pair.lead, posed), min(1, len(posed.rig) - 1)
    images = [None] * kept if steps is None else [image[column] for image in steps[1]]
    titles = [f"step {k + 1}" for k in range(kept)]
    return Strip(pair.label(posed), titles, truth(posed, posed.rig[0]), images)


def teaser(pair: PairResults) -> Drawn:
    """The paper's Figure 1: objects turned, and objects step by step."""
    lead, shown = pair.lead, pair.showcase
    turns, unrolls = shown[: max(1, len(shown) - UNROLLED)][:TURNS], shown[-UNROLLED:]
    known = [steps for posed in unrolls if (steps := pair.steps(lead, posed))]
    kept = max((len(renders) for _, renders in known), default=1)
    blocks = [turned(pair, posed) for posed in turns]
    rows = [blocks[i : i + 2] for i in range(0, len(blocks), 2)]
    rows.append([unrolled(pair, posed, kept) for posed in unrolls])
    poses = ", ".join(degrees(turns[0], view) for view in turned_views(turns[0]))
    pose = degrees(unrolls[0], unrolls[0].rig[min(1, len(unrolls[0].rig) - 1)])
    caption = (
        f"One image to a 3D model in {pair.rows[lead].steps} denoising steps ({lead}). "
        f"Above: the input and the final model at azimuths {poses}, halfway between the generator's poses. "
        f"Last row: the input and the renderings at azimuth {pose} after each kept step. "
        f"{pair.chosen_objects}; sampling seed {pair.seed}."
    )
    alt = (
        f"Inputs and renderings of the final model: {', '.join(map(pair.label, turns))}. "
        f"Step by step: {', '.join(map(pair.label, unrolls))}."
    )
    return Drawn(strips(rows), caption, alt)


def comparison(pair: PairResults) -> Drawn:
    """The paper's Figure 5: input, every method of table1, the upper bound, the target view."""
    methods, first = pair.compared, pair.showcase[0]
    bound = [UPPER_BOUND.method] if UPPER_BOUND.method in pair.controls else []
    rows = []
    for posed in pair.showcase:
        view = held_out_view(posed)
        drawn = [pair.drawn(name, posed, view) for name in (*methods, *bound)]
        rows.append((pair.label(posed), [truth(posed, posed.rig[0]), *drawn, truth(posed, view)]))
    pose = degrees(first, held_out_view(first))
    free = held_out_view(first) not in first.rig
    role = "a pose the generator never draws" if free else "one of the generator's poses"
    above = [("upper bound", bound)] if bound else []
    groups = [("", ["input"]), (f"final models at {pose}", methods), *above, ("", ["target view"])]
    limit = f" {bound[0]}: the reconstruction of the true views, the upper bound." if bound else ""
    caption = (
        f"The final models of {len(methods)} methods at azimuth {pose}, {role}, "
        f"beside the target view.{limit} {pair.chosen_objects}; sampling seed {pair.seed}."
    )
    alt = f"{len(rows)} rows of objects; columns: input, {', '.join((*methods, *bound))}, target view."
    return Drawn(image_grid(groups, rows, pair.lead), caption, alt)


def objects(pair: PairResults) -> Drawn:
    """Rows: drawn objects. Columns: the input, true views, and of each method its views and renderings."""
    first = pair.showcase[0]
    angles = [degrees(first, view) for view in first.rig[1:3]]
    methods = [name for name in SHEET_METHODS if name in pair.samples] or [pair.lead]
    titles = [*(f"v {a}" for a in angles), *(f"r {a}" for a in angles)]
    groups = [("", ["input"]), ("truth", angles), *((name, titles) for name in methods)]
    rows = [(pair.label(posed), list(_sheet_cells(pair, posed, methods))) for posed in pair.showcase]
    caption = (
        f"Held-out objects: the input, true views at {' and '.join(angles)}, and after the last step of each "
        "method its generated views (v) and the renderings of the model made from them (r) at the same "
        f"poses. {pair.chosen_objects}; sampling seed {pair.seed}."
    )
    return Drawn(image_grid(groups, rows), caption, f"{len(rows)} objects with {', '.join(methods)}.")


def _sheet_cells(
    pair: PairResults, posed: PosedObject, methods: Sequence[str]
) -> Iterator[np.ndarray | None]:
    yield from (truth(posed, view) for view in posed.rig[:3])
    columns = range(1, min(3, len(posed.rig)))
    for name in methods:
        for stack in pair.steps(name, posed) or (None, None):
            yield from (None if stack is None else stack[-1, v] for v in columns)
