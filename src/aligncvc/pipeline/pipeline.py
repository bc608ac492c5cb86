"""`Pipeline`: a pair with a method, ready to make 3D Gaussians of pictures, saved and shared as a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
from PIL import Image

from aligncvc.config.jobs.sample import PhotoJob
from aligncvc.config.plan import PHOTO_METHOD, Plan
from aligncvc.errors import UserError
from aligncvc.files import write_text
from aligncvc.loop.unroll import KeptStep
from aligncvc.models.ledger.ledger import Ledger
from aligncvc.models.pair import PairOfModels
from aligncvc.models.specs import CheckpointAccess
from aligncvc.ownership import MARK, claim_folder
from aligncvc.pipeline.saved_pair import CONFIG, LEDGER, licence_of, pair_ids, read_pair, save_pair
from aligncvc.sample.photo import Prepared, make_model, name_of, prepare
from aligncvc.sample.photo_model import PhotoModel
from aligncvc.sample.sets import pair_for

DEMO = "demo"
CARD = "README.md"
TEMPLATE = Path(__file__).with_name("model_card.md")
TAGS = ["image-to-3d", "gaussian-splatting", "multi-view"]


class Pipeline(ModelHubMixin):
    """One picture to 3D Gaussians.

        pipe = Pipeline.from_pretrained("demo")
        pipe("chair.jpg", steps=4).save("chair.ply")

    Args:
        job: what is done with a picture (`Plan.photo`).
        pair: both networks (`sample.sets.pair_for`).
        aligned: folder of the alignment run whose weights the pair has, if they are not in the ledger.
        licence: of that run's weights, for whoever is given them (`saved_pair.save_pair`).
    """

    def __init__(
        self, job: PhotoJob, pair: PairOfModels, aligned: Path | None = None, licence: str | None = None
    ) -> None:
        self.job, self.pair, self.aligned, self.licence = job, pair, aligned, licence

    def __call__(
        self,
        photo: Path | str | Image.Image,
        *,
        steps: int | None = None,
        seed: int = 0,
        on_step: Callable[[KeptStep], None] | None = None,
    ) -> PhotoModel:
        """A picture of one object -> its model. Its background is removed unless it is transparent.

        steps: another number than the method's. seed: of the noise; the same seed gives the same model.
        on_step: told each kept step as it is made. What is likely to go wrong with the picture is warned of,
        and stands in the model's `doubts`. Raises UserError for a picture that cannot be handled.
        """
        prepared = self.prepare(photo)
        for sentence in prepared.doubts:
            warnings.warn(f"{name_of(photo)}: {sentence}", stacklevel=2)
        return self.model_of(prepared, steps=steps, seed=seed, on_step=on_step)

    def prepare(self, photo: Path | str | Image.Image) -> Prepared:
        """A picture cut out, as the networks see it, and what is doubtful. Raises UserError."""
        return prepare(photo, self.job.sample.pair.renderings_px)

    def model_of(
        self,
        prepared: Prepared,
        *,
        steps: int | None = None,
        seed: int = 0,
        on_step: Callable[[KeptStep], None] | None = None,
    ) -> PhotoModel:
        """The model of a prepared picture; options as when called."""
        return make_model(self.job.with_steps(steps), self.pair, prepared, seed, on_step)

    @classmethod
    def from_config(
        cls,
        config: Path | str | None = None,
        *,
        changes: Sequence[str] = (),
        pair: str | None = None,
        method: str | None = None,
        aligned: Path | str | None = None,
        licence: str | None = None,
    ) -> Self:
        """A pair of a configuration, as `aligncvc sample` takes it. config: None: the demo's.

        pair: the first if left out. method: `PHOTO_METHOD` if left out. aligned: folder of the method's run.
        changes: as in `--set`. Raises UserError for unknown names and missing weights.
        """
        plan = Plan.read(None if config is None else Path(config), changes)
        job = plan.photo(pair or next(iter(plan.config.pairs)), method or PHOTO_METHOD)
        folder = None if aligned is None else Path(aligned)
        return cls(job, pair_for(job.sample, folder), folder, licence)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | Path = DEMO,
        *,
        revision: str | None = None,
        offline: bool = False,
        accept_licences: Sequence[str] = (),
        trust_code: bool = False,
    ) -> Self:
        """The bundled "demo", a folder that `save_pretrained` wrote, or a repository "owner/name" of the hub.

        revision: branch, tag or commit of a repository. offline: nothing is fetched. accept_licences: of
        weights that need it, by name. trust_code: allow a pair that names code outside this package.
        Raises UserError in one sentence for what is not there.
        """
        if str(name) == DEMO and not Path(DEMO).is_dir():
            return cls.from_config()
        folder = Path(name)
        if not folder.is_dir():
            folder = fetched(str(name), revision, offline)
        access = CheckpointAccess(offline=offline, accept_licences=list(accept_licences))
        job = read_pair(folder, access, trust_code)
        return cls(job, pair_for(job.sample))

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        *,
        model_card_kwargs: dict[str, Any] | None = None,
        force: bool = False,
        **of_the_mixin: Any,
    ) -> None:
        """Write the pair into a folder: settings, ledger, weights and model card (`saved_pair`).

        Raises UserError, unless force, if files of another origin are there.
        """
        folder = Path(save_directory)
        claim_folder(folder, [CONFIG, LEDGER, CARD], force=force)
        ledger = save_pair(self.job, folder, self.aligned, self.licence)
        said = {"repo": folder.name} | (model_card_kwargs or {})
        write_text(folder / CARD, str(self.generate_model_card(ledger=ledger, **said)) + "\n")

    def push_to_hub(self, repo_id: str, **options: Any) -> str:  # type: ignore[override]
        """Save the pair into a repository "owner/name" of the hub; returns the commit's address.

        options: as the mixin takes them, such as private, token, branch. Raises UserError if that fails.
        """
        options |= {"model_card_kwargs": {"repo": repo_id}, "ignore_patterns": [f"{MARK}*"]}
        try:
            return super().push_to_hub(repo_id, **options)
        except UserError:
            raise
        except Exception as error:  # the client raises many kinds
            raise UserError(
                f"the pair could not be pushed to {repo_id} ({reason(error)}); check the name, the network "
                "and that you are logged in with the right to write there"
            ) from error

    def generate_model_card(self, *, ledger: Ledger, repo: str = DEMO, **said: Any) -> ModelCard:
        """The card of a saved pair: what it is, how it is used, and the licence of each of its weights."""
        job, pair = self.job.sample, self.job.sample.pair
        ids = [name for name in ledger.checkpoints if name not in self.job.weights or name in pair_ids(job)]
        facts = ModelCardData(
            license=licence_of(ledger, ids).lower(),
            library_name="aligncvc",
            tags=TAGS,
            pipeline_tag="image-to-3d",
        )
        about = {
            **job.model_dump(include={"feedback", "steps", "run", "guidance", "timesteps"}),
            **self.job.model_dump(include={"elevation_deg", "distance", "fov_y_deg"}),
            **pair.model_dump(include={"name", "views_px", "renderings_px"}),
            "generator": pair.generator.id or pair.generator.kind,
            "reconstructor": pair.reconstructor.id or pair.reconstructor.kind,
            "views": len(pair.rig.azimuths_deg),
            "entries": {name: ledger.checkpoints[name] for name in ids},
            "demo": any(name.startswith("demo-") for name in ids),
        }
        template = TEMPLATE.read_text(encoding="utf-8")
        return ModelCard.from_template(facts, template_str=template, repo=repo, **about, **said)


def fetched(name: str, revision: str | None = None, offline: bool = False) -> Path:
    """A repository of the hub as a local folder. Raises UserError if it cannot be had."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(
            f"there is no saved pair at {name}; give {DEMO!r}, an existing folder, or a repository of the "
            "hub as owner/name"
        )
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=offline))
    except Exception as error:  # the client raises many kinds (HTTP, name resolution, missing repository)
        raise UserError(
            f"the pair {name} could not be fetched ({reason(error)}); check its name, the network and your "
            "access to it, or give a folder"
        ) from error


def reason(error: Exception) -> str:
    """The first line of what the hub's client says."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
