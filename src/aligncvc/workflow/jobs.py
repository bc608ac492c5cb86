"""A configuration's jobs as Snakemake's rules see them: paths, settings files, and what makes each stale.

Imported at every start of the workflow, so nothing here imports torch. Used by `workflow/rules/common.smk`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aligncvc.config.jobs.base import Job, NetworkJob
from aligncvc.config.jobs.evaluate import ELSEWHERE
from aligncvc.config.jobs.pretrain import VAE
from aligncvc.config.jobs.sample import CONTROL
from aligncvc.config.jobs.shard import ShardJob
from aligncvc.config.paper_job import paper_job
from aligncvc.config.plan import Plan
from aligncvc.config.pretrain_job import pretrain_job, pretrained_networks
from aligncvc.config.root import parse_config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, content_facts, sha256_json
from aligncvc.objects.content import set_content, shard_contents
from aligncvc.objects.shard_lists import shard_hashes
from aligncvc.ownership import claim_folder
from aligncvc.scene.archives import INDEX, SHARDS, TAR, shard_name
from aligncvc.workflow.fingerprint import code_hash, job_modules

Wildcards = Any
"""Snakemake's wildcards: attributes named as in the rule."""


def use_this_python() -> None:
    """Make the rules' `python` the interpreter that runs snakemake, activated or not.

    Only PATH changes: with --use-conda the activated environment still comes first.
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


def require_no_braces(root: Path = PROJECT_ROOT) -> None:
    """Raises UserError for a checkout whose path Snakemake, which reads environments from it, cannot take."""
    if {"{", "}"} & set(str(root)):
        raise UserError(
            f"the checkout lies in {root}, and Snakemake takes braces in a path for wildcards; move it to a "
            "path without them"
        )


def shell_prefix(source: Path = PROJECT_ROOT / "src") -> str:
    """What bash does before each job: stop at errors, and import this checkout's package.

    Set inside the job's shell because snakemake clears PYTHONPATH in conda environments.
    """
    quoted = str(source).replace("'", "'\"'\"'").replace("{", "{{").replace("}", "}}")
    return f"set -euo pipefail; export PYTHONPATH='{quoted}' ; "


def any_of(names: Iterable[str]) -> str:
    """A wildcard's constraint: these names and no others."""
    return "|".join(map(re.escape, names)) or "(?!)"


class JobTable:
    """All jobs of a validated configuration by key, such as ("sample", pair, method)."""

    def __init__(
        self, data: Mapping[str, Any], where: str, prefixed: Callable[[str], str] = lambda path: path
    ) -> None:
        """data: the merged YAML. prefixed: what Snakemake makes of a rule's relative path in a module."""
        self.prefixed = prefixed
        self.config = parse_config(dict(data), where)
        self.plan = plan = Plan(self.config)
        self.root = plan.root
        self.sets = list(self.config.objects.sets)
        self.rows = plan.methods()
        """(pair, method) of every method of every pair."""
        self.controls = [(CONTROL, name) for name in self.config.evaluate.controls]
        self.predictions = [(ELSEWHERE, name) for name in self.config.evaluate.predictions]
        self.ledger = self.here(self.config.checkpoints.ledger)
        self.metrics = f"{self.root}/metrics/{plan.protocol.slug}"
        """Where records by this protocol go: numbers of another protocol lie elsewhere."""
        self.jobs = jobs = dict[tuple[str, ...], Job]()
        self.sharded = [name for name in self.sets if plan.is_sharded(name)]
        self.whole = [name for name in self.sets if name not in self.sharded]
        """The sets whose lists are cut into shards, and those that are one job."""
        for name in self.whole:
            jobs["objects", name], jobs["render", name] = plan.objects(name), plan.render(name)
        for name in self.sharded:
            jobs["shard", name] = plan.shard(name)
        for run in plan.trained_runs:
            jobs["align", *run] = plan.align(*run)
        for row in self.rows:
            jobs["sample", *row], jobs["evaluate", *row] = plan.sample(*row), plan.evaluate(row[1])
        for name in self.config.evaluate.predictions:
            jobs["prediction", name] = plan.prediction(name)
        for control in self.config.evaluate.controls:
            jobs["control", control] = plan.control(control)
            jobs["evaluate", CONTROL, control] = plan.evaluate()
        for name in self.pretrained:
            jobs["pretrain", name] = pretrain_job(plan, name)
        jobs["discrimination",], jobs["paper",] = plan.discrimination(), paper_job(plan)

    def write(self) -> None:
        """Write every job's settings; files that hold them already are left alone."""
        claim_folder(Path(self.prefixed(f"{self.root}/settings")))
        for key, job in self.jobs.items():
            job.write(self._path(key))

    def here(self, path: Path | str) -> str:
        """A file of the checkout for a rule's inputs, seen from the working folder; absolute paths stay.

        Absolute in a module with a prefix, which would be put before a relative path.
        """
        if Path(path).is_absolute():
            return str(path)
        relative = os.path.relpath(PROJECT_ROOT / path)
        return relative if self.prefixed(relative) == relative else str(PROJECT_ROOT / path)

    def _path(self, key: tuple[str, ...]) -> str:
        return self.prefixed(f"{self.root}/settings/{'/'.join(key)}.json")

    def _key(self, names: tuple[str, ...], wildcards: Wildcards) -> tuple[str, ...]:
        return tuple(name.format(**dict(wildcards.items())) for name in names)

    def settings(self, *names: str) -> Callable[[Wildcards], str]:
        """A params function: the settings file of a job. Names may be wildcards, as in "{pair}"."""
        return lambda wildcards: self._path(self._key(names, wildcards))

    def reads(self, *names: str) -> Callable[[Wildcards], str]:
        """A params function: the hash of all that a job reads of the configuration."""
        return lambda wildcards: self.jobs[self._key(names, wildcards)].hash

    def code(self, module: str, *names: str) -> Callable[[Wildcards], str] | str:
        """The fingerprint of a stage's code, with the networks and the feedback that the job names."""
        if not names:
            return code_hash(module)
        return lambda wildcards: code_hash(module, *job_modules(self.jobs[self._key(names, wildcards)]))

    def checkpoints(self, *names: str) -> Callable[[Wildcards], list[str]]:
        """An input function: the mark of each file of weights that a job reads, named by its bytes' hash."""

        def marks(wildcards: Wildcards) -> list[str]:
            job = self.jobs[self._key(names, wildcards)]
            assert isinstance(job, NetworkJob)
            hashes = {name: sha256 or "unrecorded" for name, sha256 in job.weights.items()}
            return [f"{self.root}/checkpoints/{name}-{sha256[:12]}.txt" for name, sha256 in hashes.items()]

        return marks

    def object_list(self, wildcards: Wildcards) -> list[str]:
        """The TSV that lists a set's objects, if it has one."""
        return [self.here(path) for path in [self.config.object_set(wildcards.set).list] if path]

    @cache  # noqa: B019  (one table a process)
    def shard_keys(self, name: str) -> list[str]:
        """What decides the bytes of each shard of a set, in order. It reads the list, once."""
        job = self.jobs["shard", name]
        assert isinstance(job, ShardJob)
        return [job.key(rows) for rows in shard_hashes(job.objects.objects, job.size)]

    def shard_key(self, wildcards: Wildcards) -> str:
        """A params function: what decides the bytes of one shard."""
        return self.shard_keys(wildcards.sharded)[int(wildcards.number)]

    def shard_keys_hash(self, wildcards: Wildcards) -> str:
        """A params function: what decides the bytes of all shards of a set."""
        return sha256_json(self.shard_keys(wildcards.sharded))

    def shards(self, wildcards: Wildcards) -> list[str]:
        """Both files of every shard of a set."""
        folder = f"{self.root}/renders/{wildcards.sharded}/{SHARDS}"
        names = map(shard_name, range(len(self.shard_keys(wildcards.sharded))))
        return [f"{folder}/{name}/{file}" for name in names for file in (TAR, INDEX)]

    def set_content(self, wildcards: Wildcards) -> str:
        """A params function: hash of the names, sizes and dates of what a set reads besides its list."""
        return set_content(self.config.object_set(wildcards.set))

    @cache  # noqa: B019  (one table a process)
    def _shard_contents(self, name: str) -> list[str]:
        job = self.jobs["shard", name]
        assert isinstance(job, ShardJob)
        return shard_contents(job.objects.objects, job.size)

    def shard_content(self, wildcards: Wildcards) -> str:
        """A params function: the same of one shard, if its objects are the user's own meshes."""
        contents = self._shard_contents(wildcards.sharded)
        return contents[int(wildcards.number)] if contents else ""

    def prediction_content(self, wildcards: Wildcards) -> str:
        """A params function: hash of the names, sizes and dates in a folder of predictions."""
        return content_facts(self.config.evaluate.predictions[wildcards.prediction].path)

    def aligned(self, wildcards: Wildcards) -> list[str]:
        """The weights that a method samples with, where the workflow trains its alignment run."""
        run = self.config.sample.methods[wildcards.method].run
        folder = f"{self.root}/align/{wildcards.pair}/{run}"
        trained = (wildcards.pair, run) in self.plan.trained_runs
        return [f"{folder}/{part}.safetensors" for part in ("student", "recon")] if trained else []

    def training_logs(self) -> list[str]:
        """metrics.jsonl of every alignment run that is trained."""
        return [f"{self.root}/align/{pair}/{run}/metrics.jsonl" for pair, run in self.plan.trained_runs]

    def manifests(self, rows: Iterable[tuple[str, str]]) -> list[str]:
        """The sample sets of these rows."""
        return [f"{self.root}/sample/{pair}/{method}/manifest.json" for pair, method in rows]

    def records(self, rows: Iterable[tuple[str, str]]) -> list[str]:
        """The records of these rows."""
        return [f"{self.metrics}/{pair}/{method}.csv" for pair, method in rows]

    def renderings(self) -> list[str]:
        """What `rule renderings` measures of every row."""
        return [f"{self.metrics}/renderings/{pair}/{method}.csv" for pair, method in self.rows]

    @property
    def claims(self) -> Path:
        """The claims that `rule verdict` judges: the configuration's, else the abstract's."""
        return Path(self.config.paper.claims or "config/claims/abstract.yaml")

    def notes(self) -> list[str]:
        """The file of explanations beside the claims, if the configuration names one."""
        return [self.here(path) for path in [self.config.paper.notes] if path]

    def table_records(self, wildcards: Wildcards) -> list[str]:
        """The records of the rows that a table shows, and of the controls; table 1 has the predictions."""
        methods = self.config.sample.methods
        shown = [row for row in self.rows if wildcards.table in methods[row[1]].tables]
        others = self.predictions if wildcards.table == "table1" else []
        return self.records([*shown, *others, *self.controls])

    def discrimination(self) -> list[str]:
        """What the controls say of the metrics, where there are controls."""
        return [f"{self.root}/discrimination.csv"] if self.controls else []

    @property
    def pretrained(self) -> list[str]:
        """What `snakemake pretrain` trains; nothing where its sets are not among the configuration's."""
        rendered = set(self.config.pretrain.sets) <= set(self.sets)
        return list(pretrained_networks(self.plan)) if rendered else []

    def trained_before(self, which: str) -> Callable[[Wildcards], list[str]]:
        """Weights that a network is trained with, made before: `vae`'s, or the `generator`'s. None if the
        ledger's are kept."""

        def files(wildcards: Wildcards) -> list[str]:
            part, pair = pretrained_networks(self.plan)[wildcards.network]
            needs = {"vae": part != VAE, "generator": part == "recon"}[which]
            name = VAE if which == "vae" else pair.generator.id or pair.generator.kind
            return [f"{self.root}/pretrain/{name}.safetensors"] if needs and name in self.pretrained else []

        return files

    def measured_run(self) -> tuple[str, str, str]:
        """Key of the alignment job whose memory is measured: the first with both losses, else the first."""
        both = [run for run in self.plan.trained_runs if self.config.align.runs[run[1]].alignment == "both"]
        return ("align", *(both or self.plan.trained_runs or [("none", "none")])[0])
