"""Object sets outside a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.objects import ObjectSet
from aligncvc.objects import fetch
from aligncvc.objects.listing import ManifestRow


def fetch_set(objects: ObjectSet, out: Path, **options: Any) -> list[ManifestRow]:
    """The rows of a set that no configuration names."""
    return fetch.fetch_set(ObjectsJob(set="own", objects=objects), out, **options)
