"""`python -m aligncvc.paper table|costs|reported|figures|report|verdict`: the paper from files alone."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.config.option import Changes
from aligncvc.errors import cli
from aligncvc.ownership import claim_files, claim_folder, remove_rest
from aligncvc.paper.inputs import FigureInputs, ReportInputs, TableInputs, VerdictInputs

TWINS = (".md", ".tex", ".json")
"""Of a table's CSV."""


@dataclass(kw_only=True)
class Command(ABC):
    """What every command can be given."""

    out: Path
    """File to write (twins of a table come beside its CSV), or folder of figures or of the verdict."""
    settings: Path | None = None
    """Settings of this stage, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from; config/config.yaml if both are left out."""
    changes: Changes = ()
    force: bool = False
    """Replace files of another origin where the results go."""

    def claim(self, *suffixes: str, inputs: Iterable[Path] = ()) -> None:
        """Claim the file to write and those beside it, before any work."""
        claim_files([self.out, *map(self.out.with_suffix, suffixes)], inputs=inputs, force=self.force)

    @property
    def job(self) -> PaperJob:
        """The settings file, else those that the plan makes of a configuration."""
        if self.settings is not None:
            return PaperJob.read(self.settings, self.changes)
        from aligncvc.config.paper_job import paper_job
        from aligncvc.config.plan import Plan

        return paper_job(Plan.read(self.config, self.changes))

    @abstractmethod
    def run(self) -> None: ...


@dataclass(kw_only=True)
class Table(Command, TableInputs):
    """Aggregate records into one table: CSV, with Markdown, LaTeX and JSON beside it."""

    def run(self) -> None:
        from aligncvc.paper.tables import write_table

        self.claim(*TWINS, inputs=self.metrics)
        table = write_table(self.job, self, self.out)
        print(self.out.with_suffix(".md").read_text(encoding="utf-8"), end="")
        for row in table.rows:
            if not row.objects:
                print(f"{row.key.method} of {row.key.pair} has no records: n/a", file=sys.stderr)


@dataclass(kw_only=True)
class Costs(Command):
    """Seconds by part, network calls, peak memory and hardware of each method: CSV and twins."""

    metrics: list[Path]
    """CSVs of records that python -m aligncvc.evaluate wrote."""
    samples: list[Path]
    """manifest.json of each pair and method."""

    def run(self) -> None:
        from aligncvc.paper.tables import write_costs

        self.claim(*TWINS, inputs=self.metrics)
        write_costs(self.job, self.metrics, self.samples, self.out)
        print(self.out.with_suffix(".md").read_text(encoding="utf-8"), end="")


@dataclass(kw_only=True)
class Reported(Command):
    """List published numbers with their protocols as a Markdown page, with .json beside it."""

    reported: list[Path]
    """CSVs such as config/reported/*.csv."""

    def run(self) -> None:
        from aligncvc.paper.reported import write_reported

        self.claim(".json", inputs=self.reported)
        print(f"{self.out}: {write_reported(self.reported, self.out)} published numbers")


@dataclass(kw_only=True)
class Figures(Command, FigureInputs):
    """Draw the figures of each pair as PNG, SVG and PDF, and list them in index.json."""

    def run(self) -> None:
        from aligncvc.paper.figures import INDEX, write_figures

        claim_folder(self.out, [INDEX], force=self.force)
        for entry in write_figures(self.job, self, self.out):
            print(f"{entry['name']}: {entry['caption']}")
        remove_rest(self.out)


@dataclass(kw_only=True)
class Report(Command, ReportInputs):
    """Put tables, figures and models to turn into one self-contained HTML page."""

    def run(self) -> None:
        from aligncvc.paper.report import write_report

        self.claim(inputs=[*self.tables, self.figures, *self.samples, *self.renders])
        write_report(self.job, self, self.out)


@dataclass(kw_only=True)
class Verdict(Command, VerdictInputs):
    """Judge claims by the records of a run: verdict.json, README.md, tables and pictures."""

    def run(self) -> None:
        from aligncvc.paper.verdict import write_verdict

        claim_folder(self.out, ["README.md", "verdict.json"], force=self.force)
        verdict = write_verdict(self.job, self, self.out)
        remove_rest(self.out)
        words = {True: "holds", False: "does not hold", None: "n/a"}
        for key, claim in verdict["claims"].items():
            print(f"{key}: {words[claim['holds']]}: {claim['title']}")
        print(json.dumps({"page": str(self.out / "README.md"), "lines": len(verdict["lines"])}))


COMMANDS: dict[str, Callable[..., Command]] = {
    command.__name__.lower(): command for command in (Table, Costs, Reported, Figures, Report, Verdict)
}


def main() -> None:
    tyro.extras.subcommand_cli_from_dict(COMMANDS).run()


if __name__ == "__main__":
    cli(main)
