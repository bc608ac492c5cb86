"""The configuration: one typed tree behind the YAML and its schema. Stages never see it (`config.plan`).

Unknown keys are errors. Threads and memory are not here: they belong to `profiles/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from aligncvc.config.changes import with_changes
from aligncvc.config.jobs.align import Align
from aligncvc.config.jobs.evaluate import ELSEWHERE, Predictions
from aligncvc.config.jobs.paper import Paper
from aligncvc.config.jobs.pretrain import Pretrain
from aligncvc.config.jobs.sample import Control
from aligncvc.config.objects import EVALUATION_SET, Objects, ObjectSet, Render
from aligncvc.config.protocols import Protocol, load_protocol
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, parse_yaml, read_text, write_text
from aligncvc.models.specs import CheckpointAccess, RunWeights
from aligncvc.scene.rigs import Rig
from aligncvc.section import Section

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
"""What pairs, methods, runs and sets may be called: their names become folders, wildcards and arguments."""


class InlineModel(Section):
    """A generator or reconstructor written into the configuration instead of the ledger."""

    network: dict[str, Any] = Field(description="kind, preset and what differs from it, as in the ledger")
    weights: dict[str, str] = Field(
        default_factory=dict, description="part -> ledger id; parts left out start from random weights"
    )


class Pair(Section):
    """A generator and a reconstructor that work together."""

    generator: str | InlineModel = Field(description="a model of the ledger, or an inline network")
    reconstructor: str | InlineModel = Field(description="a model of the ledger, or an inline network")
    rig: str = Field("orbit4", description="where the generator's views stand, one of rigs")
    reconstruct: list[int] | None = Field(
        None, description="which views of the rig the reconstructor is shown; null: all"
    )
    input_view: bool = Field(
        False,
        description="the reconstructor is shown the input image in place of the generated view at its pose, "
        "in every step, in alignment and in all methods alike",
    )
    reconstruct_fov_y_deg: float | None = Field(
        None,
        gt=0,
        lt=180,
        description="vertical field of view at which the reconstructor is shown them, padded with white or "
        "cropped, for one that was trained with other cameras; null: as they are",
    )
    guidance: float = Field(1.3, description="classifier-free guidance where a method names none")
    aligned: dict[str, RunWeights] = Field(
        default_factory=dict,
        description="alignment run -> its finished weights in the ledger: used as they are, never trained",
    )


def orbit(views: int) -> Rig:
    """Evenly spaced views at the elevation of the renders."""
    return Rig(azimuths_deg=[i * 360 / views for i in range(views)])


class Method(Section):
    """One row of the tables for each pair that it runs on."""

    feedback: str = Field(
        "aligncvc",
        description="when sampling looks at the 3D model and what it feeds back: a module of aligncvc.loop, "
        "or a dotted name of one's own",
    )
    steps: int = Field(4, ge=1, le=1000, description="of the schedule's 1000 timesteps")
    run: str | None = Field(None, description="alignment run whose weights are used; null = pretrained")
    guidance: float | None = Field(None, description="null: the pair's")
    pairs: list[str] | None = Field(None, description="pairs that it runs on; null: all")
    tables: list[Literal["table1", "table2"]] = Field(["table1"], description="tables that have this row")


class Sample(Section):
    """Which rows the tables have, and the timesteps of the sampler."""

    threads: int = Field(
        1, ge=1, description="cores of a sampling job at most; small networks lose time with more than one"
    )
    timesteps: dict[int, list[int]] = Field(
        default_factory=lambda: {4: [999, 749, 599, 299]},
        description="feedback at every step: timesteps by K; other K are spaced evenly",
    )
    methods: dict[str, Method] = Field(
        default_factory=lambda: {
            # 2.0 suits two-stage sampling best on training objects, not the 3D-aware loop (lab log).
            "two_stage_50": Method(feedback="two_stage", steps=50, guidance=2.0),
            "two_stage_4": Method(feedback="two_stage", steps=4, guidance=2.0),
            "aware_4": Method(tables=["table1", "table2"]),
            "soft_4": Method(run="soft", tables=["table2"]),
            "hard_4": Method(run="hard", tables=["table2"]),
            "short_4": Method(run="both", tables=["table2"]),
            "aligncvc_4": Method(run="aligned", tables=["table1", "table2"]),
            **{f"aware_{k}": Method(steps=k, tables=["table2"]) for k in (1, 2, 8)},
            **{f"aligncvc_{k}": Method(steps=k, run="aligned", tables=["table2"]) for k in (1, 2, 8)},
        }
    )


class Evaluate(Section):
    """What samples are measured by."""

    protocol: str = Field("demo", description="a name in config/protocols, or the path of a .yaml file")
    controls: list[Control] = Field(
        ["gt", "jitter", "shuffled", "copy"], description="rows of known consistency in every table"
    )
    predictions: dict[str, Predictions] = Field(
        default_factory=dict,
        description="rows of table 1 that other programs made, by the name of the method",
    )
    curves: list[str] = Field(
        ["two_stage_50", "two_stage_4", "aware_4", "aligncvc_4"],
        description="methods whose held-out and split-half scores are measured along the steps (four at "
        "most); of others after the last step only",
    )
    must_discriminate: list[str] = Field(
        ["residual_psnr", "heldout_psnr", "split_ssim"],
        description="metrics that must rank the controls gt, jitter, shuffled, or the run fails",
    )


class Config(Section):
    """Everything a run depends on."""

    seed: int = Field(
        0, description="root of every random stream: objects, views and steps have streams of their own"
    )
    experiment: str | None = Field(
        None, pattern=SAFE_NAME, description="results go to results/NAME instead of results"
    )
    objects: Objects = Objects()
    render: Render = Render()
    checkpoints: CheckpointAccess = CheckpointAccess()
    rigs: dict[str, Rig] = Field(
        default_factory=lambda: {"orbit4": orbit(4)}, description="named rigs; the render ring holds them all"
    )
    pairs: dict[str, Pair] = Field(
        default_factory=lambda: {
            "wonder3d+lgm": Pair(
                generator="demo-wonder3d",
                reconstructor="demo-lgm",
                input_view=True,
                aligned={"aligned": {"student": "demo-aligned-student", "recon": "demo-aligned-recon"}},
            )
        },
        min_length=1,
        description="rows of the tables are pairs x methods",
    )
    align: Align = Align()
    sample: Sample = Sample()
    evaluate: Evaluate = Evaluate()
    paper: Paper = Paper()
    pretrain: Pretrain = Pretrain()

    @model_validator(mode="after")
    def _names_are_safe(self) -> Config:
        groups: dict[str, Iterable[str]] = {
            "objects.sets": self.objects.sets,
            "pairs": self.pairs,
            "align.runs": self.align.runs,
            "sample.methods": self.sample.methods,
            "evaluate.predictions": self.evaluate.predictions,
        }
        for group, names in groups.items():
            for name in names:
                if not re.fullmatch(SAFE_NAME, name) or name.startswith("control"):
                    raise ValueError(
                        f"{group} holds the name {name!r}; use letters, digits and . _ + -, beginning with a "
                        "letter or a digit, and not with `control`, which marks controls"
                    )
        return self

    @model_validator(mode="after")
    def _predictions_have_names_of_their_own(self) -> Config:
        if both := sorted(set(self.evaluate.predictions) & set(self.sample.methods)):
            raise ValueError(f"evaluate.predictions and sample.methods both have {both[0]!r}; rename one")
        if ELSEWHERE in self.pairs:
            raise ValueError(f"pairs has {ELSEWHERE!r}, which is where predictions are filed; rename it")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        for name, pair in self.pairs.items():
            _require(f"pairs.{name}.rig", [pair.rig], "rigs", self.rigs)
            _require(f"pairs.{name}.aligned", pair.aligned, "align.runs", self.align.runs)
        for name, method in self.sample.methods.items():
            _require(f"sample.methods.{name}.run", [method.run], "align.runs", self.align.runs)
            _require(f"sample.methods.{name}.pairs", method.pairs or [], "pairs", self.pairs)
        return self

    @cached_property
    def protocol(self) -> Protocol:
        """How evaluation objects are chosen, rendered and scored. UserError if its file is unusable."""
        return load_protocol(self.evaluate.protocol)

    def object_set(self, name: str) -> ObjectSet:
        """A set with what the protocol chooses filled in. Raises UserError if it is not defined."""
        if name not in self.objects.sets:
            known = ", ".join(sorted(self.objects.sets))
            raise UserError(f"the configuration has no object set {name!r}; it has {known}")
        chosen = self.protocol.objects.model_dump(include={"list", "split", "limit"})
        return self.objects.sets[name].model_copy(update=chosen if name == EVALUATION_SET else {})

    def rendering(self, name: str) -> Render:
        """How a set is rendered: by the protocol, if it is `eval`."""
        return self.render.model_copy(update=dict(self.protocol.render) if name == EVALUATION_SET else {})


def _require(where: str, names: Iterable[str | None], group: str, defined: Iterable[str]) -> None:
    for name in sorted({name for name in names if name is not None} - set(defined)):
        raise ValueError(f"{where} names {name!r}, which {group} does not define")


def parse_config(data: dict[str, Any], where: str) -> Config:
    """Validate a mapping. Raises UserError that names each wrong key."""
    return Config.parsed(data, f"configuration {where}")


def load_config(path: Path | str | None = None, changes: Sequence[str] = ()) -> Config:
    """Read a YAML configuration; None reads config/config.yaml. Raises UserError if that is none.

    changes: "key=value" each, with dots in the key, laid over the complete configuration (`with_changes`).
    """
    path = PROJECT_ROOT / "config/config.yaml" if path is None else Path(path)
    try:
        data = parse_yaml(read_text(path))
    except OSError as error:
        raise UserError(
            f"no configuration can be read from {path} ({error.strerror}); give --config with a YAML file"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(
            f"configuration {path} is not YAML ({' '.join(str(error).split())}); give --config a YAML file"
        ) from None
    if not isinstance(data or {}, dict):
        raise UserError(
            f"configuration {path} is no mapping; give --config keys and values as in config/config.yaml"
        )
    config = parse_config(data or {}, str(path))
    if not changes:
        return config
    return parse_config(with_changes(config.model_dump(mode="json"), changes), f"{path} with --set")


def write_schema(path: Path | str) -> None:
    """Write the JSON schema that snakemake and editors validate against."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    write_text(path, json.dumps(schema, indent=1, sort_keys=True) + "\n")
