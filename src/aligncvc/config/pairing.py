"""From names in a configuration to the networks behind them: pairs, and the judge of a protocol. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligncvc.config.protocols import Protocol
from aligncvc.config.root import Config, InlineModel
from aligncvc.errors import UserError
from aligncvc.models.kinds import Role, complete, telling
from aligncvc.models.ledger.ledger import Ledger, load_ledger
from aligncvc.models.specs import ModelSpec, PairSpec


def model_spec(
    ledger: Ledger, role: Role, choice: str | InlineModel | Mapping[str, Any], where: str
) -> ModelSpec:
    """A model of the ledger, or one written into the configuration, with all its settings; else UserError."""
    if isinstance(choice, str):
        model = ledger.model(choice, role)
        kind, network = complete(role, model.network, f"the network of {choice} in the ledger")
        return ModelSpec(id=choice, kind=kind, network=network, weights=dict(model.weights))
    inline = choice if isinstance(choice, InlineModel) else InlineModel.parsed(choice, where)
    kind, network = complete(role, inline.network, f"{where}.network")
    return ModelSpec(kind=kind, network=network, weights=inline.weights)


def judge_of(protocol: Protocol, ledger: Ledger) -> ModelSpec:
    """The reconstructor that a protocol judges by."""
    return model_spec(ledger, "reconstructors", protocol.judge, f"protocol {protocol.name}: judge")


def judged(protocol: Protocol, ledger: Ledger | None = None) -> Protocol:
    """The protocol with what its judge is, which its hash covers. ledger: None: the project's."""
    ledger = ledger or load_ledger()
    spec = judge_of(protocol, ledger)
    hashes = {part: ledger.entry(name).sha256 for part, name in spec.weights.items()}
    network = telling("reconstructors", spec.kind, spec.network)
    facts = {"kind": spec.kind, "network": network, "weights": hashes}
    return protocol.model_copy(update={"judge_facts": facts})


def pair_spec(config: Config, ledger: Ledger, name: str) -> PairSpec:
    """A pair with all settings of its networks. UserError, in a sentence that says why, if it cannot work."""
    pair, render, protocol = config.pairs[name], config.render, config.protocol
    generator = model_spec(ledger, "generators", pair.generator, f"pairs.{name}.generator")
    rig = config.rigs[pair.rig]
    for rendering in (render, protocol.render):
        if rendering.pictures is None:
            rig.indices(rendering.ring_views)
        if rig.elevation_deg not in (None, rendering.elevation_deg):
            raise UserError(
                f"rig {pair.rig} of pair {name} stands at elevation {rig.elevation_deg:g} and the views "
                f"are rendered at {rendering.elevation_deg:g}; set both alike, or leave the rig's out"
            )
    if protocol.render.size_px != render.size_px:
        raise UserError(
            f"protocol {protocol.name} renders with size_px {protocol.render.size_px} and the "
            f"pairs of this configuration work with render.size_px {render.size_px}; choose another "
            "evaluate.protocol or other models"
        )
    views = len(rig.azimuths_deg)
    if pair.reconstruct is not None and not set(pair.reconstruct) <= set(range(views)):
        raise UserError(
            f"pairs.{name}.reconstruct = {pair.reconstruct} names views that the rig {pair.rig} does not "
            f"have; it has 0 to {views - 1}"
        )
    if pair.input_view and rig.azimuths_deg[0] % 360:
        raise UserError(
            f"pairs.{name}.input_view needs a rig whose first view is the input's, and that of {pair.rig} "
            f"stands at azimuth {rig.azimuths_deg[0]:g}; set it to false or choose another rig"
        )
    return PairSpec(
        name=name,
        generator=generator,
        reconstructor=model_spec(ledger, "reconstructors", pair.reconstructor, f"pairs.{name}.reconstructor"),
        rig=rig,
        reconstruct=pair.reconstruct,
        reconstruct_fov_y_deg=pair.reconstruct_fov_y_deg,
        input_view=pair.input_view,
        views_px=generator.network.get("size_px") or render.size_px,
        renderings_px=render.size_px,
        guidance=pair.guidance,
        seed=config.seed,
    )
