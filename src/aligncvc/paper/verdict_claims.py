"""The claims of the paper's abstract, the goals set beforehand and the controls, as lines to be judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aligncvc.evaluate.catalogue import CONTROL_PREFIX
from aligncvc.paper.table_rows import describe
from aligncvc.paper.verdict_rules import (
    MARGINS,
    RENDERINGS,
    Evidence,
    Line,
    apart,
    better,
    compare,
    equal,
    memory,
    ratio,
    rises,
)

OURS, PLAIN, LONG, SHORT = "aligncvc_4", "aware_4", "two_stage_50", "two_stage_4"
SOFT, HARD, FOIL, RELEASED = "soft_4", "hard_4", "regression_4", "released_asd_4"
TRUTH, COPY = f"{CONTROL_PREFIX}gt", f"{CONTROL_PREFIX}copy"

CLAIMS = {
    "a": "Generated views alone have weak cross-view consistency, renderings strong",
    "b": "Alignment closes the gap between generated views and renderings",
    "c": "Quality rises with soft and with hard alignment",
    "d": "Four aligned steps reach or beat fifty unaligned ones",
    "e": "The speed-up",
    "f": "The extra memory of post-training",
}
GOALS = {
    "goal": "AlignCVC at four steps against the two-stage baseline at fifty",
    "table1": "AlignCVC against 3D-aware sampling without alignment at four steps, on every row of table 1",
    "copy": "The pretrained generator at fifty steps against copying the input to the views it does not show",
}
CONTROLS = {"control": "Controls of the experiment itself"}
TITLES = {**CLAIMS, **GOALS, **CONTROLS}

CONSISTENCY = (
    "heldout_psnr", "split_ssim", "heldout_ssim", "split_psnr", "heldout_lpips", "split_lpips",
)  # fmt: skip
"""Consistency of views by themselves, in order of preference; the first that ranks the controls is used."""

RESIDUAL_GOAL_DB = 1.5
CALLS_GOAL = 8.0
SKIPPED = ("seconds", "peak_mb", "failed")
"""Beginnings of metrics that differ between two equal methods: clocks and memory."""


def consistency_metrics(evidence: Evidence) -> list[str]:
    """Two metrics of the views' own consistency: those that rank the controls, else the preferred ones."""
    good = [name for name in CONSISTENCY if evidence.verdicts.get(name) == "yes"]
    return [*good, *(name for name in CONSISTENCY if name not in good)][:2]


def claim_a(evidence: Evidence) -> Iterable[Line]:
    for i, metric in enumerate(consistency_metrics(evidence)):
        ranks = evidence.verdicts.get(metric, "n/a")
        note = {"yes": "the metric ranks the controls", "no": "the metric does not rank the controls"}.get(
            ranks, "whether the metric ranks the controls is not known"
        )
        heading = describe(metric).heading
        yield compare(
            evidence, "a", f"{heading} of renderings against that of the views they were made from ({LONG})",
            RENDERINGS + LONG, LONG, metric, main=i == 0, note=note,
        )  # fmt: skip
        yield compare(
            evidence, "a", f"{heading} of true views against that of generated ones ({LONG})",
            TRUTH, LONG, metric, main=i == 0, note=note,
        )  # fmt: skip


def claim_b(evidence: Evidence) -> Iterable[Line]:
    for other in (PLAIN, SHORT, LONG):
        yield compare(
            evidence, "b", f"Matched-pose residual of {OURS} against {other}", OURS, other, "residual_psnr"
        )
    for other in (PLAIN, LONG):
        yield compare(
            evidence, "b",
            f"Distance between views' and renderings' PSNR to ground truth, {OURS} against {other}",
            OURS, other, "gap_psnr",
        )  # fmt: skip
    yield apart(
        evidence, "b", f"Kernel distance between views and renderings as sets, {OURS} against {PLAIN}",
        OURS, PLAIN, "kernel_lite0_views_renders",
    )  # fmt: skip
    metric = consistency_metrics(evidence)[0]
    yield compare(
        evidence, "b", f"{describe(metric).heading} of the generated views, {OURS} against {PLAIN}",
        OURS, PLAIN, metric, main=False,
    )  # fmt: skip
    for other in (PLAIN, LONG):
        yield compare(
            evidence, "b", f"Agreement was not bought by blur: sharpness of renderings, {OURS} and {other}",
            OURS, other, "sharpness", margin=MARGINS["sharpness"], main=False,
        )  # fmt: skip


def claim_c(evidence: Evidence) -> Iterable[Line]:
    pairs = [
        (OURS, SOFT, "hard alignment on top of soft"), (OURS, HARD, "soft alignment on top of hard"),
        (SOFT, PLAIN, "soft alignment alone"), (HARD, PLAIN, "hard alignment alone"),
    ]  # fmt: skip
    for one, other, words in pairs:
        for metric in ("psnr", "lpips", "residual_psnr"):
            text = f"What {words} does to {describe(metric).heading}: {one} against {other}"
            yield compare(evidence, "c", text, one, other, metric)


def claim_d(evidence: Evidence) -> Iterable[Line]:
    for metric in ("psnr", "lpips", "fg_psnr", "residual_psnr"):
        text = f"{describe(metric).heading} of {OURS} against {LONG}"
        yield compare(evidence, "d", text, OURS, LONG, metric, margin=MARGINS[metric])


def claim_e(evidence: Evidence) -> Iterable[Line]:
    yield ratio(evidence, "e", f"Network calls, {LONG} over {OURS}", LONG, OURS, "network_calls")
    yield ratio(evidence, "e", f"Seconds an object, {LONG} over {OURS}", LONG, OURS, "seconds")


def claim_f(evidence: Evidence) -> Iterable[Line]:
    yield memory(
        evidence, "f", "Peak memory of one step: soft and hard alignment against the reconstructor alone",
        "both", "reconstructor",
    )  # fmt: skip
    yield memory(
        evidence, "f", "Peak memory that a teacher of its own would add to switching LoRA off",
        "both_teacher_copy", "both", main=False,
    )  # fmt: skip


def goals(evidence: Evidence) -> Iterable[Line]:
    yield compare(
        evidence, "goal", f"Matched-pose residual better by {RESIDUAL_GOAL_DB:g} dB or more", OURS, LONG,
        "residual_psnr", at_least=RESIDUAL_GOAL_DB,
    )  # fmt: skip
    yield compare(evidence, "goal", "Renderings' PSNR to ground truth better", OURS, LONG, "psnr")
    yield compare(evidence, "goal", "Renderings' LPIPS to ground truth better", OURS, LONG, "lpips")
    yield ratio(
        evidence, "goal", f"At least {CALLS_GOAL:g} times fewer network calls", LONG, OURS, "network_calls",
        at_least=CALLS_GOAL,
    )  # fmt: skip
    yield rises(evidence, "goal", "The residual improves over each of the steps", OURS, "residual_psnr")


def table1(evidence: Evidence, columns: Sequence[str]) -> Iterable[Line]:
    """Every metric of quality in table 1 that has a better side and belongs to objects; costs are equal."""
    for metric in columns:
        known = describe(metric)
        if better(metric) and known.family != "cost":
            text = f"{known.heading} of {OURS} against {PLAIN}"
            if known.set_level:
                yield apart(evidence, "table1", text, OURS, PLAIN, metric)
            else:
                yield compare(evidence, "table1", text, OURS, PLAIN, metric)


def against_copy(evidence: Evidence) -> Iterable[Line]:
    """The bar set for pretraining, and the same question for the four-step methods."""
    for method in (LONG, PLAIN, OURS):
        for metric, words in (("unseen_psnr", "PSNR"), ("unseen_fg_psnr", "Foreground PSNR")):
            text = f"{words} of generated views, all but the input's, {method} against {COPY}"
            yield compare(evidence, "copy", text, method, COPY, metric, main=method == LONG)


def controls(evidence: Evidence) -> Iterable[Line]:
    yield equal(
        evidence, "control", "ASD as the released code sets it changes nothing", RELEASED, PLAIN, SKIPPED
    )
    for metric in ("psnr", "lpips", "sharpness"):
        heading = describe(metric).heading
        yield compare(
            evidence, "control", f"{heading} of {OURS} against regression to ground truth ({FOIL})",
            OURS, FOIL, metric, main=False,
        )  # fmt: skip


def judge(evidence: Evidence, columns: Sequence[str]) -> list[Line]:
    """Every line: claims, goals, controls. columns: the metrics of table 1 (paper.columns)."""
    found = [claim_a, claim_b, claim_c, claim_d, claim_e, claim_f, goals]
    lines = [line for make in found for line in make(evidence)]
    return [*lines, *table1(evidence, columns), *against_copy(evidence), *controls(evidence)]
