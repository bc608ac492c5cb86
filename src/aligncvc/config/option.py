"""The option `--set` of every command that takes --config (`config.changes`); planning needs no tyro."""

from __future__ import annotations

from typing import Annotated

import tyro

Changes = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        name="set",
        metavar="KEY=VALUE",
        help="change one key of the configuration, such as seed=1 or align.steps=8; may be repeated.",
    ),
    tyro.conf.UseAppendAction,
]
"""`Plan.read` takes them."""
