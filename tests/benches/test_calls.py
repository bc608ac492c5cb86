"""One call of a network: what is counted, and that counting without computing counts the same."""

from __future__ import annotations

import pytest
import torch

from aligncvc.bench import calls
from aligncvc.bench.calls import Call, attention_flops, counted, measured, spec_of, teraflops
from aligncvc.models.kinds import Role, complete
from aligncvc.models.specs import ModelSpec


def tiny(role: Role, kind: str) -> ModelSpec:
    kind, network = complete(role, {"kind": kind, "preset": "tiny"}, "the test")
    return ModelSpec(kind=kind, network=network)


@pytest.mark.parametrize("kind", ["wonder3d", "sv3d"])
def test_counting_without_computing_counts_the_same(kind: str) -> None:
    spec, call = tiny("generators", kind), Call(4, 32)
    found = measured(spec, "generators", call)
    assert found["seconds"] > 0 and found["peak_mb"] > 0
    assert counted(spec, call) == pytest.approx(found["tflop"], rel=0.02) and found["tflop"] > 0
    assert counted(spec, Call(8, 32)) > 1.9 * found["tflop"]


def test_a_reconstructors_call_is_views_to_gaussians() -> None:
    assert measured(tiny("reconstructors", "lgm"), "reconstructors", Call(4, 32))["tflop"] > 0


def test_a_linear_layer_and_attention_count_two_for_a_multiply_add() -> None:
    layer = torch.nn.Linear(8, 16)
    assert teraflops(lambda: layer(torch.rand(10, 8))) * 1e12 == 2 * 10 * 8 * 16
    q, k = torch.rand(1, 2, 5, 8), torch.rand(1, 2, 7, 8)
    whole = teraflops(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, k)) * 1e12
    assert whole == attention_flops(q.shape, k.shape, k.shape) == 2 * 2 * 2 * 5 * 7 * 8


def test_every_network_of_the_table_is_in_the_ledger(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {spec_of(name)[0] for name in calls.PUBLISHED} == {"generators", "reconstructors"}
    monkeypatch.setattr(calls, "PUBLISHED", {"sv3d-p": Call(2, 64), "lgm-big": Call(4, 256)})
    monkeypatch.setattr(calls, "SMALL", Call(4, 32))

    def apart(work, spec, *rest):
        if spec.kind == "lgm":
            raise RuntimeError("no memory")
        return 2.0 if work is counted else {"seconds": 3.0, "peak_mb": 4.0, "tflop": 1.0}

    monkeypatch.setattr(calls, "measured_apart", apart)
    rows = {row["name"]: (row["value"], row["note"]) for row in calls.bench_calls()}
    assert "lgm-big: left out: no memory" in capsys.readouterr().out
    assert rows["call_sv3d-p_tflop"] == (2.0, "2 views of 64 px")
    if not torch.cuda.is_available():
        assert rows["call_sv3d-p"] == (3.0, "4 views of 32 px")
        assert rows["call_sv3d-p_memory"] == (4.0, "4 views of 32 px")
