"""What scoring reads: the protocol, the judge, and how much is measured along the steps."""

from __future__ import annotations

from aligncvc.config.jobs.base import Job, NetworkJob
from aligncvc.config.protocols import Protocol
from aligncvc.models.specs import ModelSpec


class EvaluateJob(NetworkJob):
    """One sample set or prediction.

    judge: the reconstructor behind held-out and split-half scores. curves: whether these are measured along
    the steps. reserved: names of the configuration's own methods, which predictions may not take.
    """

    protocol: Protocol
    judge: ModelSpec
    curves: bool = False
    reserved: list[str] = []


class DiscriminationJob(Job):
    """must_discriminate: metrics that must rank the controls, or the run fails."""

    must_discriminate: list[str] = []
