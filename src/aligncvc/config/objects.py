"""Configuration of the object sets and of their rendering."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aligncvc.config.protocols import Rendering
from aligncvc.section import Section

EVALUATION_SET = "eval"
"""The object set whose objects and rendering the protocol decides."""


class ObjectSet(Section):
    """Where one named set of 3D objects comes from."""

    source: Literal[
        "bundled", "sweethome3d", "objaverse", "folder", "gobjaverse", "published", "pictures"
    ] = Field(
        "bundled",
        description="where the objects come from: the files of this repository, the furniture package, "
        "Objaverse, a folder of meshes, frames of GObjaverse, the archives that a list names, or pictures",
    )
    list: str | None = Field(None, description="TSV of objects (id, source, sha256, licence, creator, split)")
    split: Literal["train", "eval", "all"] = Field(
        "all", description="rows of the list that are taken, by its column split"
    )
    limit: int | None = Field(None, ge=1, description="use only the first n objects of the list")
    path: str | None = Field(
        None,
        description="folder of meshes (folder), of the list's GLBs in place of downloads (published), "
        "dataset's root (gobjaverse), folder of objects (pictures), .deb or URL (sweethome3d)",
    )
    up: Literal["y", "z"] | None = Field(
        None,
        description="source folder: the axis that points up in its OBJ, PLY and STL files, where a list's "
        "column `up` does not say; null: y, the front at +z; with z the front is at -y; glTF is always y up",
    )
    variants: int = Field(
        1, ge=1, description="looks that are rendered: the object's own, others with random colours and sizes"
    )


class Objects(Section):
    """Which 3D objects there are."""

    shard_size: int | None = Field(
        None,
        ge=1,
        description="cut every set that has a list, but `eval`, into shards of so many objects: one job and "
        "one archive each (docs/scale.md); null: a set is one job, with a folder for each object",
    )
    attempts: int = Field(6, ge=1, description="times that a download is tried, waiting longer each time")
    stall_seconds: float = Field(30.0, gt=0, description="a download that brings nothing for so long stalls")
    sets: dict[str, ObjectSet] = Field(
        default_factory=lambda: {
            "train": ObjectSet(list="config/objects/bundled.tsv", split="train"),
            "eval": ObjectSet(),
            "furniture": ObjectSet(source="sweethome3d", list="config/objects/furniture.tsv", variants=3),
        },
        description="named sets; `train` feeds alignment, `eval` is held out (which objects: see "
        "evaluate.protocol), `furniture` feeds pretraining",
    )

    @model_validator(mode="after")
    def _protocol_chooses(self) -> Objects:
        held_out = self.sets.get(EVALUATION_SET, ObjectSet())
        if held_out != ObjectSet(source=held_out.source, path=held_out.path):
            raise ValueError(
                f"list, split, limit and up of the set {EVALUATION_SET!r} are the protocol's: leave them out "
                "here and set them in the file that evaluate.protocol names, and `up` in a column of its list"
            )
        return self


class Render(Rendering):
    """BlenderProc settings of every set but `eval`, which the protocol renders. Models work at this size."""

    timeout_seconds: float = Field(120.0, gt=0, description="an object that takes longer is killed")
    max_failure_rate: float = Field(
        0.1, ge=0, le=1, description="the rule fails above this share of bad objects"
    )
