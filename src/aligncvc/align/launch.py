"""How a training run starts: its processes and precision, by the launcher, and who follows it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, register_tracker_class
from accelerate.utils import ProjectConfiguration, is_tensorboard_available, is_wandb_available

from aligncvc.config.jobs.align import AlignJob, Training
from aligncvc.errors import UserError

LAUNCHED = "ACCELERATE_MIXED_PRECISION"
"""Where `accelerate launch` leaves its precision. It writes "no" also when nobody asked for any."""
RANKS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where whoever starts several processes leaves their number."""
PROJECT = "aligncvc"
FOLDER = "trackers"
"""Below a run's folder: what trackers write on this machine."""
AVAILABLE = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


def precision(bf16: bool | None) -> str:
    """ "no" or "bf16": align.bf16, or the launcher's where that is None. UserError if the two contradict."""
    launched = os.environ.get(LAUNCHED, "no").lower()
    if launched not in ("no", "bf16"):
        raise UserError(
            f"the launcher asks for mixed precision {launched}, and alignment works in bf16 or in float32 "
            "only (fp16 and fp8 scale the loss, which two optimisers cannot share); give --mixed_precision "
            "bf16 or no"
        )
    if bf16 is False and launched == "bf16":
        raise UserError(
            "the launcher asks for mixed precision bf16 and the configuration says align.bf16: false; change "
            "one of them, or set align.bf16 to null, which leaves it to the launcher"
        )
    return launched if bf16 is None else "bf16" if bf16 else "no"


def check_processes() -> None:
    """UserError if the launcher was asked for several processes and started one, as it does with --cpu."""
    asked = LAUNCHED in os.environ and {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if asked and not any(name in os.environ for name in RANKS):
        raise UserError(
            "accelerate launch was asked for several processes and started a single one, as it does with "
            "--cpu; give --multi_gpu in its place, which starts them on the CPU where there is no GPU"
        )


def end_with_launcher() -> None:
    """Let this process end if torch's launcher is killed: it would train on beside the next run."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG of sys/prctl.h
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


def accelerator_for(training: Training, out: Path | None = None) -> Accelerator:
    """The processes' accelerator. out: the run's folder; None: nobody follows it.

    Raises UserError for processes or a precision that cannot be had, and for a tracker that is not there.
    """
    check_processes()
    end_with_launcher()
    cpu, mixed = not torch.cuda.is_available(), precision(training.bf16)
    if out is None or not training.trackers:
        return Accelerator(cpu=cpu, mixed_precision=mixed)
    names = [_tracker(name) for name in training.trackers]
    where = ProjectConfiguration(logging_dir=str(out / FOLDER))
    return Accelerator(cpu=cpu, mixed_precision=mixed, log_with=names, project_config=where)


@contextmanager
def followed(
    accelerator: Accelerator, job: AlignJob, out: Path, start: int
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A function that hands records of metrics.jsonl to the run's trackers, which are closed at the end.

    start: the step that the run goes on from; TensorBoard then forgets what was logged of it and later.
    """
    options: dict[str, dict[str, Any]] = {}
    if "wandb" in job.training.trackers:  # it wants its folder to be there
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        options["wandb"] = {"dir": str(out / FOLDER), "name": f"{job.pair.name} {job.run}"}
    if start:
        options["tensorboard"] = {"purge_step": start}
    if job.training.trackers:
        accelerator.init_trackers(PROJECT, config=flat(job.model_dump(mode="json")), init_kwargs=options)

    def log(record: Mapping[str, float]) -> None:
        values = {name: value for name, value in record.items() if name != "step"}
        accelerator.log(values, step=int(record["step"]))

    try:
        yield log
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings as dotted names with plain values, all that trackers take; null is left out."""
    plain: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            plain |= flat(value, f"{name}.")
        elif value is not None:
            plain[name] = value if isinstance(value, bool | int | float) else str(value)
    return plain


def _tracker(name: str) -> str:
    """What accelerate calls a tracker of the configuration. UserError if it cannot be had."""
    if (available := AVAILABLE.get(name)) is not None:
        if not available():
            raise UserError(
                f"align.trackers has {name}, and the Python package {name} is not installed; install it, or "
                "leave it out of align.trackers"
            )
        return name
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"align.trackers has {name}, which cannot be imported ({error}); give {', '.join(AVAILABLE)}, or "
            "the dotted name of an accelerate GeneralTracker of your own"
        ) from None
    if not (isinstance(found, type) and issubclass(found, GeneralTracker)):
        raise UserError(
            f"align.trackers has {name}, which is no accelerate GeneralTracker; derive it from that"
        )
    tracker: Any = found
    if LOGGER_TYPE_TO_CLASS.get(tracker.name) is not tracker:
        register_tracker_class(tracker)
    return str(tracker.name)
