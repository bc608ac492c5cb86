"""The configuration: one typed tree behind the YAML and its schema. Stages never see it (`config.plan`).

Unknown keys are errors. Threads and memory are not here: they belong to `profiles/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from aligncvc.config.alignment import Align
from aligncvc.config.objects import EVALUATION_SET, Objects, ObjectSet, Render
from aligncvc.config.paper import Paper
from aligncvc.config.pretrain import Pretrain
from aligncvc.config.protocols import Protocol, load_protocol
from aligncvc.config.sampling import Pair, Sample, orbit
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, write_text
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.rigs import Rig
from aligncvc.section import Section, faults

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
"""What pairs, methods, runs and sets may be called: their names become folders, wildcards and arguments."""


class Evaluate(Section):
    protocol: str = Field("demo", description="a name in config/protocols, or the path of a .yaml file")
    controls: list[Literal["gt", "jitter", "shuffled", "copy"]] = Field(
        ["gt", "jitter", "shuffled", "copy"], description="rows of known consistency in every table"
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

    seed: int = 0
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
        groups: dict[str, Mapping[str, object]] = {
            "objects.sets": self.objects.sets,
            "pairs": self.pairs,
            "align.runs": self.align.runs,
            "sample.methods": self.sample.methods,
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
    def _names_exist(self) -> Config:
        for name, pair in self.pairs.items():
            if pair.rig not in self.rigs:
                raise ValueError(f"pairs.{name}.rig names {pair.rig!r}, which rigs does not define")
            if strangers := sorted(set(pair.aligned) - set(self.align.runs)):
                raise ValueError(
                    f"pairs.{name}.aligned names {strangers[0]!r}, which align.runs does not define"
                )
        for name, method in self.sample.methods.items():
            if method.run is not None and method.run not in self.align.runs:
                raise ValueError(
                    f"sample.methods.{name}.run names {method.run!r}, which align.runs does not define"
                )
            if strangers := sorted(set(method.pairs or ()) - set(self.pairs)):
                raise ValueError(
                    f"sample.methods.{name}.pairs names {strangers[0]!r}, which pairs does not define"
                )
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


def parse_config(data: dict[str, Any], where: str) -> Config:
    """Validate a mapping. Raises UserError with one line for each wrong key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(f"configuration {where} is not valid: {faults(error)}") from None


def load_config(path: Path | str | None = None) -> Config:
    """Read a YAML configuration; None reads config/config.yaml. Raises UserError if that is none."""
    path = PROJECT_ROOT / "config/config.yaml" if path is None else Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"no configuration can be read from {path} ({error.strerror}); give --config with a YAML file"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"configuration {path} is not YAML ({' '.join(str(error).split())}); give --config a YAML file"
        ) from None
    if not isinstance(data or {}, dict):
        raise UserError(
            f"configuration {path} is no mapping; give --config keys and values as in config/config.yaml"
        )
    return parse_config(data or {}, str(path))


def write_schema(path: Path | str) -> None:
    """Write the JSON schema that snakemake and editors validate against."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    write_text(path, json.dumps(schema, indent=1, sort_keys=True) + "\n")
