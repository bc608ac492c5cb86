"""Every metric by name, from metrics.tsv: heading, direction, digits, family. Tables and figures read it.

Names follow one scheme: `<family>_<what>`, with the convention spelt out where fields differ
(`chamfer_half_sum`), and `@<alignment>` last for geometry scored after a rung of the alignment ladder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aligncvc.evaluate.stats import Centre
from aligncvc.tsv import read_tsv

Family = Literal["image", "views", "consistency", "distribution", "geometry", "cost"]


@dataclass(frozen=True)
class Metric:
    """heading: of a table's column. better: 1 more, -1 less, 0 neither. decimals: of its numbers.

    per_step: measured after each kept step 1..K; tables show the last. set_level: of the whole set.
    """

    name: str
    heading: str
    better: Literal[-1, 0, 1]
    decimals: int
    family: Family
    per_step: bool = False
    set_level: bool = False

    @property
    def arrow(self) -> str:
        """Heading with an arrow that says which way is better."""
        return self.heading + {1: " ↑", -1: " ↓", 0: ""}[self.better]

    @property
    def centre(self) -> Centre:
        """What objects are taken together by: costs have outliers wherever a machine is shared."""
        return "median" if self.family == "cost" else "mean"


CONTROL_PREFIX = "control:"
"""Method names of controls begin with it."""
CONTROLS = ("gt", "jitter", "shuffled", "copy")
"""Their names without it, the best first (`sample/controls.py`)."""

SET_OBJECT = "*"
"""`object` of records that belong to the whole set."""


def _read(row: dict[str, str]) -> Metric:
    """measured: of each sample or the whole set, and whether after its steps."""
    numbers, words = (int(row["better"]), int(row["decimals"])), row["measured"].split()
    return Metric(row["name"], row["heading"], *numbers, row["family"], "steps" in words, "set" in words)  # type: ignore[arg-type]


CATALOGUE: dict[str, Metric] = {
    row["name"]: _read(row) for row in read_tsv(Path(__file__).with_name("metrics.tsv"), (), "install again")
}
"""By name. Geometry's `<metric>@<rung>` are not here: which there are hangs on the protocol."""


def centre_of(metric: str) -> Centre:
    """ "median" for what the catalogue knows as a cost, else "mean"."""
    return CATALOGUE[metric].centre if metric in CATALOGUE else "mean"
