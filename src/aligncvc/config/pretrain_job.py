"""From a configuration to the jobs of pretraining: which networks it trains, and the settings of each."""

from __future__ import annotations

from aligncvc.config.jobs.pretrain import VAE, Part, PretrainJob
from aligncvc.config.plan import ALWAYS, Plan, chosen
from aligncvc.errors import UserError
from aligncvc.models.kinds import trained_part
from aligncvc.models.specs import PairSpec


def pretrained_networks(plan: Plan) -> dict[str, tuple[Part, PairSpec]]:
    """What `snakemake pretrain` trains, by name: the part, and the first pair that has it.

    UserError if the configuration names a model that is in no pair.
    """
    everything: dict[str, tuple[Part, PairSpec]] = {}
    for pair in plan.pairs.values():
        everything.setdefault(VAE, ("vae", pair))
        part = trained_part(pair.generator.kind)
        everything.setdefault(pair.generator.id or pair.generator.kind, (part, pair))
    for pair in plan.pairs.values():
        everything.setdefault(pair.reconstructor.id or pair.reconstructor.kind, ("recon", pair))
    names = plan.config.pretrain.models or list(everything)
    return {name: chosen(everything, name, "pretrain.models") for name in names}


def pretrain_job(plan: Plan, name: str) -> PretrainJob:
    """Training `vae`, a generator or a reconstructor of the pairs. UserError if a set has no list."""
    pretrain = plan.config.pretrain
    part, pair = chosen(pretrained_networks(plan), name, "pretrain.models")
    lists = _object_lists(plan)
    model = pair.reconstructor if part == "recon" else pair.generator
    kept = {} if part == VAE else {k: v for k, v in model.weights.items() if k != part}
    start = pretrain.start_from.get(name)
    others = {"recon": pair.generator.weights, "maps": pair.reconstructor.weights}.get(part, {})
    return PretrainJob(
        **plan.common,
        part=part,
        model=model.model_copy(update={"weights": kept}),
        generator=pair.generator if part == "recon" else None,
        pair=pair if part == "maps" else None,
        training=getattr(pretrain, part),
        object_lists=lists,
        rig=pair.rig,
        size_px=plan.config.render.size_px,
        guidance=pair.guidance,
        start_from=start,
        weights=plan.hashes([*kept.values(), *others.values(), *([start] if start else []), *ALWAYS]),
    )


def _object_lists(plan: Plan) -> list[str]:
    """The list of each set that networks are trained on, in order. UserError for a set without one."""
    sets = plan.config.objects.sets
    lists = {name: chosen(sets, name, "objects.sets").list for name in plan.config.pretrain.sets}
    for unlisted in [name for name, listing in lists.items() if listing is None]:
        raise UserError(
            f"the set {unlisted!r}, which pretraining uses, has no list; name one in "
            f"objects.sets.{unlisted}.list, whose split column says what is held out"
        )
    return [str(listing) for listing in lists.values()]
