"""Claims as data: the file that says which lines a verdict consists of (config/claims/verdict.yaml)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CONTROL_PREFIX, Metric
from aligncvc.evaluate.scores import Key, control
from aligncvc.files import parse_yaml, read_text
from aligncvc.paper.table_rows import describe
from aligncvc.section import Section, faults

Rule = Literal[
    "better", "no_worse", "apart", "jointly", "one_better", "ratio", "rises", "equal", "more_memory"
]  # fmt: skip
MARGINS = ("no_worse", "one_better")
"""Rules whose metrics may be worse by a margin."""
Group = Literal["claims", "goals", "controls"]

DERIVED = {
    metric.name: metric
    for metric in (
        Metric("sharpness", "sharpness", 1, 4, "image"),
        Metric("views_sharpness", "views_sharpness", 1, 4, "views"),
        Metric("gap_psnr", "gap_psnr", -1, 2, "consistency"),
        Metric("unseen_psnr", "PSNR", 1, 2, "views"),
        Metric("unseen_fg_psnr", "Foreground PSNR", 1, 2, "views"),
        Metric("unseen_union_psnr", "Union PSNR", 1, 2, "views"),
    )
}
"""Metrics that only a verdict has: gap_psnr is |delta_psnr|; unseen_* leave out the input's pose."""


def described(metric: str) -> Metric:
    """The catalogue's entry, or that of a metric that only a verdict has."""
    return DERIVED.get(metric) or describe(metric)


Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class LineSpec(Section):
    """Lines of one claim; lists of methods, others and metrics stand for a line each."""

    statement: str
    rule: Rule
    method: Names
    against: Names = Field([""])
    metric: Names
    at_least: float | None = None
    ranking: bool = Field(False, description="say whether the metric ranks the controls")
    context: bool = Field(False, description="the claim does not hang on it")
    step: int | None = Field(None, ge=1, description="of the method's kept steps; left out: the last")
    against_step: int | None = Field(None, ge=1, description="of the other's; left out: as `step`")
    pair: Names | None = None
    against_pair: str | None = None

    @field_validator("statement")
    @classmethod
    def _words_are_known(cls, statement: str) -> str:
        try:
            statement.format(heading="", method="", against="", pair="")
        except (KeyError, IndexError, ValueError) as error:
            known = "{heading}, {method}, {against} and {pair}"
            raise ValueError(f"{statement!r} may hold {known} alone") from error
        return statement


class Claim(Section):
    """A claim of the paper, with the lines that decide whether it holds."""

    title: str
    group: Group
    lines: list[LineSpec] = Field(min_length=1)


class Claims(Section):
    """consistency: metrics of views by themselves, by preference; skipped: beginnings of clocks' names."""

    pair: str
    consistency: list[str] = Field(default_factory=list)
    margins: dict[str, float] = Field(default_factory=dict)
    skipped: list[str] = Field(default_factory=list)
    claims: dict[str, Claim]

    @model_validator(mode="after")
    def _margins_are_set(self) -> Claims:
        for key, claim in self.claims.items():
            metrics = {m for line in claim.lines if line.rule in MARGINS for m in line.metric}
            if lacking := sorted(metrics - set(self.margins)):
                raise ValueError(f"claims.{key} may be worse in {lacking[0]}, which has no margin: set one")
        return self

    @property
    def pairs(self) -> list[str]:
        """Every pair that a line names."""
        specs = [spec for claim in self.claims.values() for spec in claim.lines]
        own = [name for spec in specs for name in (*(spec.pair or []), spec.against_pair) if name]
        return list(dict.fromkeys([self.pair, *own]))


@dataclass(frozen=True)
class Line:
    """One sentence to be judged. main: whether the claim hangs on it.

    margin: how much worse it may be. metrics: of a rule about several, each with its margin.
    step, other_step: of either's kept steps; None: the last.
    """

    claim: str
    statement: str
    rule: Rule
    one: Key
    other: Key
    metric: str
    at_least: float | None = None
    margin: float = 0.0
    skipped: tuple[str, ...] = ()
    note: str = ""
    main: bool = True
    metrics: tuple[tuple[str, float], ...] = ()
    step: int | None = None
    other_step: int | None = None

    @property
    def named(self) -> str:
        """The metric, or all of several."""
        return ", ".join(metric for metric, _ in self.metrics) or self.metric


def load_claims(path: Path) -> Claims:
    """Read a file of claims. Raises UserError that names what is wrong in it."""
    try:
        return Claims.model_validate(parse_yaml(read_text(path)))
    except ValidationError as error:
        raise UserError(f"claims {path} are not valid: {faults(error)}; correct the file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"no claims can be read from {path} ({message}); give --claims") from None


def lines(claims: Claims, columns: Sequence[str], rankings: Mapping[str, str]) -> Iterator[Line]:
    """Every line, claim by claim.

    columns: metrics of the tables. rankings: whether a metric ranks the controls, which decides what
    `consistency 1` and `consistency 2` are.
    """
    ranked = sorted(claims.consistency, key=lambda name: rankings.get(name) != "yes")
    names = {f"consistency {i}": [name] for i, name in enumerate(ranked, start=1)}
    names["columns"] = [m for m in columns if described(m).better and described(m).family != "cost"]
    words = {"yes": "the metric ranks the controls", "no": "the metric does not rank the controls"}
    for key, spec in ((key, spec) for key, claim in claims.claims.items() for spec in claim.lines):
        pairs = spec.pair or [claims.pair]
        metrics = [metric for name in spec.metric for metric in names.get(name, [name])]
        several = tuple((metric, claims.margins.get(metric, 0.0)) for metric in metrics)
        if spec.rule == "one_better":
            metrics = metrics[:1]
        for pair, one, other, metric in product(pairs, spec.method, spec.against, metrics):
            known = described(metric)
            note = words.get(rankings.get(metric, ""), "whether the metric ranks the controls is not known")
            sets = spec.rule == "better" and known.set_level  # which have no pairs
            yield Line(
                claim=key,
                statement=spec.statement.format(heading=known.heading, method=one, against=other, pair=pair),
                rule="apart" if sets else spec.rule,
                one=_key(pair, one),
                other=_key(spec.against_pair or pair, other),
                metric=metric,
                at_least=spec.at_least,
                margin=claims.margins.get(metric, 0.0),
                skipped=tuple(claims.skipped),
                note=note if spec.ranking else "",
                main=not (spec.context or sets),
                metrics=several if spec.rule == "one_better" else (),
                step=spec.step,
                other_step=spec.against_step or spec.step,
            )


def _key(pair: str, method: str) -> Key:
    return control(method) if method.startswith(CONTROL_PREFIX) else Key(pair, method)
