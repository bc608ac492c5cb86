"""From a configuration to jobs: which there are, and the settings of each (`config.jobs`). No torch here.

Pretraining's are made in `config.pretrain_job`, those of tables, figures and report in `config.paper_job`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from aligncvc.config.jobs.align import AlignJob, AlignRun, Training
from aligncvc.config.jobs.evaluate import DiscriminationJob, EvaluateJob, PredictionJob
from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.jobs.render import RenderJob
from aligncvc.config.jobs.sample import Control, ControlJob, PhotoJob, SampleJob, even_timesteps
from aligncvc.config.jobs.shard import ShardJob
from aligncvc.config.objects import EVALUATION_SET
from aligncvc.config.pairing import judge_of, judged, pair_spec
from aligncvc.config.protocols import Protocol
from aligncvc.config.root import Config, Method, load_config
from aligncvc.errors import UserError
from aligncvc.loop.feedback import find_feedback
from aligncvc.models.ledger.ledger import Ledger, load_ledger
from aligncvc.models.specs import ModelSpec, PairSpec

ALWAYS = ("lite0", "lpips-alex-trunk", "lpips-alex-heads")
"""Ledger ids of the frozen encoders that training and scoring use beside the pair's own networks."""

CLIP_HEADS = "clip-vit-b32"
"""Ledger id of what hard alignment's discriminator reads with `align.gan.encoder: clip`."""

PHOTO_METHOD = "aligncvc_4"
"""The method that a photograph is sampled with, if none is named."""

UNROLLED_STEPS = 4
"""K of the sampler that alignment unrolls, the paper's."""


def chosen(names: Mapping[str, Any], name: str, key: str) -> Any:
    """names[name]. Raises UserError that lists what the configuration defines."""
    if name not in names:
        raise UserError(f"{key} does not define {name!r}; choose one of {', '.join(names)}")
    return names[name]


def weights_of(pair: PairSpec) -> list[str]:
    """Ledger ids of both networks' weights."""
    return [*pair.generator.weights.values(), *pair.reconstructor.weights.values()]


class Plan:
    """A validated configuration seen as a set of jobs. Each method gives one job's settings."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.common: dict[str, Any] = {"seed": config.seed, "checkpoints": config.checkpoints}
        """What every job that loads weights has."""

    @classmethod
    def read(cls, path: Path | None, changes: Sequence[str] = ()) -> Plan:
        """The jobs of a configuration file; None: config/config.yaml. changes: see `load_config`."""
        return cls(load_config(path, changes))

    @property
    def root(self) -> str:
        """Folder of all results, relative to the working folder."""
        return f"results/{self.config.experiment}" if self.config.experiment else "results"

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger that the configuration names."""
        return load_ledger(self.config.checkpoints.ledger)

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol, with what its judge is."""
        return judged(self.config.protocol, self.ledger)

    @cached_property
    def judge(self) -> ModelSpec:
        """The reconstructor that judges every row."""
        return judge_of(self.protocol, self.ledger)

    @cached_property
    def pairs(self) -> dict[str, PairSpec]:
        """All pairs, by name. Raises UserError for one that cannot work, in a sentence that says why."""
        return {name: pair_spec(self.config, self.ledger, name) for name in self.config.pairs}

    def methods(self) -> list[tuple[str, str]]:
        """(pair, method) of every row, pair by pair, in the configuration's order."""
        return [
            (name, method)
            for name in self.config.pairs
            for method, settings in self.config.sample.methods.items()
            if settings.pairs is None or name in settings.pairs
        ]

    @cached_property
    def trained_runs(self) -> list[tuple[str, str]]:
        """(pair, run) of the alignment runs that a row uses and the workflow trains."""
        used = {(pair, self.config.sample.methods[method].run) for pair, method in self.methods()}
        return [
            (pair, run)
            for pair, settings in self.config.pairs.items()
            for run in self.config.align.runs
            if (pair, run) in used and run not in settings.aligned
        ]

    def objects(self, name: str) -> ObjectsJob:
        """Fetching a set. Raises UserError for objects that do not ship and have no source."""
        objects, protocol = self.config.object_set(name), self.config.protocol
        obtain = protocol.objects.obtain
        if name == EVALUATION_SET and obtain is not None and objects.source == "bundled":
            raise UserError(
                f"the objects of protocol {protocol.name} do not ship with the repository: {obtain}"
            )
        patience = self.config.objects.model_dump(include={"attempts", "stall_seconds"})
        return ObjectsJob(seed=self.config.seed, set=name, objects=objects, **patience)

    def render(self, name: str) -> RenderJob:
        """Rendering a set; a name that is none of objects.sets is rendered as the training set is."""
        sets = self.config.objects.sets
        return RenderJob(
            seed=self.config.seed,
            set=name,
            render=self.config.rendering(name),
            looks=sets[name].variants if name in sets else 1,
            scene_version=self.config.protocol.versions.scene if name == EVALUATION_SET else None,
        )

    def is_sharded(self, name: str) -> bool:
        """Whether a set's list is cut into shards: not the evaluation set's, whose meshes are measured."""
        objects = self.config.objects
        cut = objects.shard_size is not None and name != EVALUATION_SET
        return cut and chosen(objects.sets, name, "objects.sets").list is not None

    def shard(self, name: str) -> ShardJob:
        """Fetching and rendering a set shard by shard. Raises UserError for a set that is one job."""
        if not self.is_sharded(name):
            raise UserError(
                f"the set {name!r} is one job; give objects.shard_size and a `list` for the set to cut it "
                f"into shards, which {EVALUATION_SET} never is"
            )
        return ShardJob(
            seed=self.config.seed,
            set=name,
            objects=self.objects(name),
            render=self.render(name),
            size=int(self.config.objects.shard_size or 0),
        )

    def align(self, pair: str, run: str) -> AlignJob:
        """Training one run of one pair. Raises UserError for a run whose weights ship with the repository."""
        spec, runs = chosen(self.pairs, pair, "pairs"), self.config.align.runs
        losses, bundled = chosen(runs, run, "align.runs"), self.config.pairs[pair].aligned
        if run in bundled:
            alike = [n for n in runs if n not in bundled and runs[n].losses == losses.losses]
            mend = f"train run {alike[0]}" if alike else "define a run with these losses and train that"
            raise UserError(
                f"the weights of run {run} of {pair} ship with the repository ({bundled[run].student}, "
                f"{bundled[run].recon}) and are used as they are; to repeat its losses {mend}"
            )
        return self.training(spec, run, losses)

    def training(self, spec: PairSpec, run: str, losses: AlignRun) -> AlignJob:
        """Training a pair with any losses, whatever runs there are."""
        training = Training(**self.config.align.model_dump(exclude={"runs", "threads"}))
        clip = [CLIP_HEADS] if losses.adversarial and training.gan.encoder == "clip" else []
        return AlignJob(
            **self.common | ({} if losses.seed is None else {"seed": losses.seed}),
            pair=spec,
            run=run,
            losses=losses,
            training=training,
            timesteps=self.timesteps(UNROLLED_STEPS),
            weights=self.hashes([*weights_of(spec), *ALWAYS, *clip]),
        )

    def sample(self, pair: str, method: str) -> SampleJob:
        """Sampling one method of one pair."""
        spec = chosen(self.pairs, pair, "pairs")
        return self.sampling(spec, method, chosen(self.config.sample.methods, method, "sample.methods"))

    def sampling(self, spec: PairSpec, method: str, settings: Method) -> SampleJob:
        """Sampling a pair with any settings, whatever methods there are."""
        feedback = find_feedback(settings.feedback)
        feedback.check(spec, settings.steps)
        aligned = self.config.pairs[spec.name].aligned.get(settings.run) if settings.run else None
        bundled = [aligned.student, aligned.recon] if aligned else []
        self._check_timesteps(bundled, settings)
        return SampleJob(
            **self.common,
            **self._every_set,
            pair=spec,
            method=method,
            feedback=settings.feedback,
            steps=settings.steps,
            timesteps=self.timesteps(settings.steps) if feedback.jumps else None,
            guidance=spec.guidance if settings.guidance is None else settings.guidance,
            run=settings.run,
            aligned=aligned,
            lora_rank=self.config.align.lora_rank,
            weights=self.hashes([*weights_of(spec), "lite0", *bundled]),
        )

    def photo(self, pair: str, method: str, steps: int | None = None) -> PhotoJob:
        """One photograph: the method, and the camera that is assumed (the training renders')."""
        sample, render = self.sample(pair, method), self.config.render
        job = PhotoJob(
            **self.common,
            sample=sample,
            **render.model_dump(include={"elevation_deg", "distance", "fov_y_deg"}),
            azimuths_deg=sample.pair.rig.azimuths_deg,
            turntable_views=self.config.paper.turntable_views,
            listed={count: self.timesteps(count) for count in self.config.sample.timesteps},
            weights=sample.weights | self.hashes(["u2netp"]),
        )
        return job.with_steps(steps)

    def control(self, name: Control) -> ControlJob:
        """One control, through the judge; its views are as large as the smallest generator's.

        Raises UserError where there are no true views at the generator's poses.
        """
        if self.protocol.render.pictures is not None:
            raise UserError(
                f"the control {name!r} needs true views at the generator's poses, and the pictures of "
                f"protocol {self.protocol.name} are elsewhere; set evaluate.controls: []"
            )
        return ControlJob(
            **self.common,
            **self._every_set,
            control=name,
            judge=self.judge,
            views_px=min(pair.views_px for pair in self.pairs.values()),
            size_px=self.protocol.render.size_px,
            weights=self.hashes(self.judge.weights.values()),
        )

    def evaluate(self, method: str | None = None) -> EvaluateJob:
        """Scoring one method's samples, a control's, or a prediction made elsewhere."""
        return EvaluateJob(
            **self.common,
            protocol=self.protocol,
            judge=self.judge,
            curves=method in self.config.evaluate.curves,
            reserved=list(self.config.sample.methods),
            weights=self.hashes([*self.judge.weights.values(), *ALWAYS]),
        )

    def prediction(self, method: str) -> PredictionJob:
        """Scoring a folder of evaluate.predictions. Raises UserError if it is not there."""
        found = chosen(self.config.evaluate.predictions, method, "evaluate.predictions")
        if not found.path.is_dir():
            raise UserError(
                f"evaluate.predictions.{method} names {found.path}, which is no folder; correct `folder`, "
                "which counts from the repository's root, or leave the method out"
            )
        return PredictionJob(**dict(self.evaluate()), method=method, predictions=found)

    def discrimination(self) -> DiscriminationJob:
        """Judging the metrics by the controls."""
        must_discriminate = self.config.evaluate.must_discriminate
        return DiscriminationJob(seed=self.config.seed, must_discriminate=must_discriminate)

    def timesteps(self, steps: int) -> list[int]:
        """Descending timesteps of K-step sampling with feedback at every step: listed, else evenly spaced."""
        listed = self.config.sample.timesteps.get(steps)
        if listed is None:
            return even_timesteps(steps)
        descends = all(a > b for a, b in pairwise(listed))
        if len(listed) != steps or not descends or not 0 <= listed[-1] <= listed[0] <= 999:
            raise UserError(
                f"sample.timesteps.{steps} = {listed} must be {steps} descending timesteps in [0, 999]"
            )
        return list(listed)

    def hashes(self, ids: Iterable[str]) -> dict[str, str | None]:
        """sha256 by ledger id. Raises UserError for an id that the ledger does not have."""
        return {name: self.ledger.entry(name).sha256 for name in ids}

    @property
    def _every_set(self) -> dict[str, Any]:
        """What every job that makes a sample set has."""
        seeds, voxel = self.config.protocol.seeds, self.config.protocol.metrics.geometry.voxel
        return {"seeds": seeds, "voxel": voxel, "max_failure_rate": self.config.render.max_failure_rate}

    def _check_timesteps(self, aligned: Iterable[str], method: Method) -> None:
        """Raises UserError for a distilled network that is to work at other timesteps than its own."""
        for name in aligned:
            wanted = self.ledger.entry(name).timesteps
            if wanted and method.steps == len(wanted) and self.timesteps(method.steps) != wanted:
                raise UserError(
                    f"checkpoint {name} was trained at the timesteps {wanted} and sample.timesteps."
                    f"{len(wanted)} is {self.timesteps(len(wanted))}; set it to the former"
                )
