"""Blender processes that can hang or crash without harming the run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aligncvc
from aligncvc.config.jobs.render import RenderJob
from aligncvc.render.jobs import SourceObject, blender_job

SCENE = "aligncvc.render.blender_scene"
"""What a process runs."""
START_SECONDS = 180.0
"""Longest time Blender may take to start; generous, since a cold disk reads 350 MB first."""
LARGEST = 256
"""Objects that one process takes at most: a start costs as much as dozens of small objects."""


def kept_in(temporary: Path) -> dict[str, str]:
    """Variables that keep Blender's temporary files and its thumbnails' folders below `temporary`."""
    names = ("TMPDIR", "TMP", "TEMP", "TEMPDIR", "XDG_CACHE_HOME")  # Blender prefers TMP, snakemake sets it
    return dict.fromkeys(names, str(temporary))


@dataclass
class Worker:
    """One Blender process working through a shard, in a session (and process group) of its own."""

    job: RenderJob
    shard: list[tuple[int, SourceObject]]
    threads: int
    scratch: Path = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    current: int | None = None
    finished: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)
    _read: int = 0

    def __post_init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="aligncvc-render-"))
        try:
            self._start()
        except BaseException:  # the disk is full, or a signal came
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise

    def _start(self) -> None:
        for name in ("output", "tmp", "blender"):
            (self.scratch / name).mkdir()
        (self.scratch / "progress.jsonl").touch()
        path = self.scratch / "job.json"
        task = blender_job(self.job, self.shard, self.threads, self.scratch)
        path.write_text(json.dumps(task), encoding="utf-8")
        with (self.scratch / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", SCENE, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
            )

    def _environment(self) -> dict[str, str]:
        source = str(Path(aligncvc.__file__).resolve().parents[1])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
        own["BLENDER_USER_RESOURCES"] = str(self.scratch / "blender")
        return {**os.environ, **kept_in(self.scratch / "tmp"), **own}

    def events(self) -> list[dict[str, Any]]:
        """New progress events; keeps `current` and the object's clock up to date."""
        with (self.scratch / "progress.jsonl").open("rb") as handle:
            handle.seek(self._read)
            text = handle.read()
        complete = text[: text.rfind(b"\n") + 1]  # the last line may be half written
        self._read += len(complete)
        events = [json.loads(line) for line in complete.splitlines()]
        for event in events:
            self._follow(event)
        return events

    def _follow(self, event: Mapping[str, Any]) -> None:
        self.since = time.monotonic()
        if event["event"] == "ready":
            self.versions = {k: str(event[k]) for k in ("blender", "blenderproc")}
        elif event["event"] == "start":
            self.current = event["index"]
        elif event["event"] in ("done", "failed"):
            self.shard = [(i, s) for i, s in self.shard if i != event["index"]]
            self.current = None
            self.finished += 1

    @property
    def overdue(self) -> bool:
        """Has the current object, or the start, taken longer than it may?"""
        limit = START_SECONDS if not self.versions else self.job.render.timeout_seconds
        return time.monotonic() - self.since > limit

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of Blender's output that are not progress chatter, joined by " | "."""
        text = (self.scratch / "log").read_text(encoding="utf-8", errors="replace")
        said = [x.strip() for x in text.splitlines() if not x.startswith(("Fra:", "Saved:", " Time"))]
        return " | ".join([x for x in said if x][-lines:])

    def stop(self) -> None:
        """Kill the whole process group and remove the scratch folder. Safe to call twice."""
        # The group outlives its leader as long as a child does, so it is signalled even after an exit.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


def split(
    items: Sequence[tuple[int, SourceObject]], workers: int, largest: int = LARGEST
) -> list[list[tuple[int, SourceObject]]]:
    """Shards of at most `largest` objects, at least one per worker where there are enough objects."""
    size = max(1, min(largest, -(-len(items) // max(1, workers))))
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
