"""What the Snakemake rules ask of Python: which stages a configuration needs and what makes them stale.

Imported at every start of the workflow, so nothing here imports torch. Used by `workflow/rules/common.smk`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from aligncvc import codehash
from aligncvc.config import Config, parse_config
from aligncvc.config_align import AlignRun
from aligncvc.config_tools import as_yaml
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, sha256_json, write_text

FROZEN_WEIGHTS = ("lite0", "lpips-alex-trunk", "lpips-alex-heads")
"""Ledger ids that every run uses beside those the configuration names."""

CLIP_WEIGHTS = "clip-vit-b32"
"""Ledger id of what hard alignment's discriminator reads with `align.gan.encoder: clip`."""

Wildcards = Any
"""Snakemake's wildcards: attributes named as in the rule."""


def use_this_python() -> None:
    """Make the rules' `python` the interpreter that runs snakemake, activated or not.

    Only PATH changes: with --use-conda the activated environment still comes first. Raises UserError if this
    interpreter is not Python 3.11 or its folder has no `python`.
    """
    if sys.version_info[:2] != (3, 11):
        raise UserError(
            f"snakemake runs on Python {sys.version.split()[0]} ({sys.executable}) and the "
            "workflow needs 3.11; run `make env` and then `.venv/bin/snakemake`"
        )
    folder = Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])
    found = shutil.which("python")
    if found is None or Path(found).parent != folder:
        raise UserError(
            f"{folder} has no `python` beside {sys.executable}; run `make env` and then `.venv/bin/snakemake`"
        )


@cache
def code(module: str) -> str:
    """The fingerprint of a stage's code (see `codehash`)."""
    return codehash.code_hash(module)


def shell_prefix(source: Path = PROJECT_ROOT / "src") -> str:
    """What bash does before each job: stop at errors, and import this checkout's package.

    Set inside the job's shell because snakemake clears PYTHONPATH in conda environments.
    """
    return f"set -euo pipefail; export PYTHONPATH='{source}' ; "


def here(path: Path | str) -> str:
    """A file of the checkout as seen from the working folder; absolute paths stay as they are.

    Rules name files of the checkout by it, so that `snakemake --directory elsewhere` finds them too.
    """
    return str(path) if Path(path).is_absolute() else os.path.relpath(PROJECT_ROOT / path)


class Plan:
    """A validated configuration seen as a set of jobs."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        """data: the merged YAML. Raises UserError with one line naming each wrong key."""
        self.config: Config = parse_config(dict(data), where)
        self.protocol = self.config.protocol
        if self.config.sample.methods:
            self.config.require_models_fit()
        self.data: dict[str, Any] = self.config.model_dump(mode="json")
        # What the protocol's file says, beside the configuration's sections: stages depend on both.
        self._readable = {
            **self.data,
            "protocol": self.protocol.content,
            "object_set": {name: self.config.object_set(name).model_dump(mode="json") for name in self.sets},
            "rendering": {
                name: self.config.for_set(name).render.model_dump(mode="json") for name in self.sets
            },
        }

    def check_place(self, path: Path | str) -> None:
        """Raises UserError if `write` would replace something else than what an earlier run wrote.

        By its content, not by a list of what was written: the workflow's first version kept none.
        """
        path = Path(path)
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else self.data
        except (OSError, ValueError, yaml.YAMLError):
            found = None
        sections = {"seed", "objects", "render", "align", "sample"}
        if not isinstance(found, dict) or not sections <= found.keys():
            raise UserError(
                f"{path} is no configuration that a run of this workflow wrote, and one would replace it; "
                "move it, or run in another folder with --directory"
            )

    def write(self, path: Path | str) -> None:
        """Write the complete configuration, which the stages of this run read."""
        write_text(path, as_yaml(self.config))

    @property
    def sets(self) -> list[str]:
        """Names of the object sets."""
        return list(self.config.objects.sets)

    @property
    def _used_runs(self) -> dict[str, AlignRun]:
        """Alignment runs that a method uses, in the configuration's order."""
        used = {method.run for method in self.config.sample.methods.values()}
        return {name: run for name, run in self.config.align.runs.items() if name in used}

    @property
    def runs(self) -> list[str]:
        """Alignment runs that a method uses and the workflow trains, in the configuration's order."""
        return [name for name, run in self._used_runs.items() if run.weights is None]

    def methods(self, table: str | None = None) -> list[str]:
        """Names of all methods, or of those that `table` shows, in the configuration's order."""
        methods = self.config.sample.methods
        return [name for name, method in methods.items() if table is None or table in method.table]

    @property
    def weights(self) -> list[str]:
        """Ledger ids of the weights that a run needs, each once."""
        mvg, recon = self.config.mvg, self.config.recon
        named = [mvg.vae_weights, mvg.weights, mvg.image_encoder_weights, recon.weights]
        for run in self._used_runs.values():
            named += [run.weights.student, run.weights.recon] if run.weights else []
            if self.config.align.gan.encoder == "clip" and run.hard and not run.weights:
                named.append(CLIP_WEIGHTS)
        return [*dict.fromkeys([*filter(None, named), *FROZEN_WEIGHTS])]

    def ledger_hash(self) -> str:
        """Hash of what the ledger says about the weights in use: other entries may change freely."""
        path = PROJECT_ROOT / self.config.checkpoints.ledger
        try:
            entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or {})["checkpoints"]
            return sha256_json({name: (entries.get(name) or {}).get("sha256") for name in self.weights})[:16]
        except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise UserError(
                f"the checkpoint ledger {path} cannot be read ({error!r}); restore it or correct "
                "checkpoints.ledger in the configuration"
            ) from error

    def section(self, dotted: str) -> Any:
        """The part of the configuration or protocol at a dotted path. Raises KeyError if there is none."""
        value: Any = self._readable
        for key in dotted.split("."):
            value = value[key]
        return value

    def reads(self, *paths: str) -> Callable[[Wildcards], str]:
        """A params function: the hash of the configuration's parts that a rule reads.

        Paths may hold wildcards, as in "align.runs.{run}". "protocol" is the protocol itself;
        "object_set.{set}" and "rendering.{set}" are a set and its rendering as the protocol completes them.
        """

        def settings(wildcards: Wildcards) -> str:
            filled = [path.format(**dict(wildcards.items())) for path in paths]
            return sha256_json({path: self.section(path) for path in filled})[:16]

        return settings

    def object_list(self, wildcards: Wildcards) -> list[str]:
        """The TSV that lists a set's objects, if it has one."""
        return [here(path) for path in [self.config.object_set(wildcards.set).list] if path]

    @property
    def ledger(self) -> str:
        """The checkpoint ledger."""
        return here(self.config.checkpoints.ledger)

    def aligned(self, wildcards: Wildcards) -> list[str]:
        """The weights of the alignment run that a method samples with.

        None for a pretrained pair, and none for a run whose weights are in the ledger.
        """
        run = self.config.sample.methods[wildcards.method].run
        parts = ("student", "recon")
        return [f"results/align/{run}/{part}.safetensors" for part in parts] if run in self.runs else []

    @property
    def controls(self) -> list[str]:
        """The controls' names as files have them."""
        return [f"control-{name}" for name in self.config.evaluate.controls]

    @property
    def metrics_folder(self) -> str:
        """Where records by this protocol go: numbers of another protocol lie elsewhere."""
        return f"results/metrics/{self.protocol.slug}"

    def records(self, methods: list[str]) -> list[str]:
        """The records of these methods."""
        return [f"{self.metrics_folder}/{method}.csv" for method in methods]

    def metrics(self, wildcards: Wildcards) -> list[str]:
        """The records of the methods that a table shows, and of the controls."""
        return self.records([*self.methods(wildcards.table), *self.controls])

    def pretrained_vae(self, wildcards: Wildcards) -> list[str]:
        """The VAE that the multi-view UNet is trained with; the other networks need none."""
        return ["results/pretrain/vae.safetensors"] if wildcards.network == "unet" else []

    def vae_option(self, wildcards: Wildcards) -> str:
        """The command-line option for `pretrained_vae`."""
        return " ".join(f"--vae {path}" for path in self.pretrained_vae(wildcards))
