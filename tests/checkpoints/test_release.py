"""AlignCVC's released layout: folders made by peft and by hand, as the authors' code implies them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aligncvc.checkpoints.__main__ import release
from aligncvc.errors import UserError
from aligncvc.models.ledger.release import convert_release, lora_keys


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_out = nn.Linear(6, 6), nn.ModuleList([nn.Linear(6, 6)])

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out[0](self.to_q(x))


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1 = Attention()

    def forward(self, x: Tensor) -> Tensor:
        return self.attn1(x)


def peft_unet(alpha: int = 4) -> nn.Module:
    """A network with the authors' LoRA configuration and random A and B."""
    torch.manual_seed(0)
    lora = LoraConfig(
        r=4, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=["to_q", "to_out.0"]
    )
    model = get_peft_model(Unet(), lora, adapter_name="lora")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


LAYERS = ("attn1.to_out.0", "attn1.to_q")
NAMES = [f"{layer}.lora_{side}.weight" for layer in LAYERS for side in "AB"]


@pytest.mark.parametrize("alpha", [4, 8])
def test_peft_folder_becomes_the_student(tmp_path: Path, alpha: int) -> None:
    """Written by peft itself under the authors' adapter name; applied by hand it gives what peft gives."""
    model = peft_unet(alpha)
    model.save_pretrained(tmp_path / "hub/guidance_ckpt", selected_adapters=["lora"])
    said = convert_release(tmp_path / "hub", tmp_path / "run")
    student = load_file(tmp_path / "run/student.safetensors")
    assert sorted(student) == sorted(NAMES)
    x = torch.randn(3, 6)
    y = x
    for layer in reversed(LAYERS):
        base = model.get_submodule(f"base_model.model.{layer}.base_layer")
        y = base(y) + y @ student[f"{layer}.lora_A.weight"].T @ student[f"{layer}.lora_B.weight"].T
    torch.testing.assert_close(y, model(x))
    assert any("not written" in line and "recon.safetensors" in line for line in said)
    assert any("system: no checkpoint" in line for line in said)
    assert any("scaled by alpha / rank" in line for line in said) == (alpha != 4)


def system_state(adapters: tuple[str, ...] = ("default", "lora")) -> dict[str, Tensor]:
    """What Lightning would save of the authors' system: the student inside peft, LGM, and the rest."""
    state: dict[str, Tensor] = {}
    for i, adapter in enumerate(adapters):
        for name in NAMES:
            key = name.replace(".weight", f".{adapter}.weight")
            state[f"guidance.unet.base_model.model.{key}"] = torch.full((4, 6), float(i))
    state["guidance.unet.base_model.model.attn1.to_q.base_layer.weight"] = torch.zeros(6, 6)
    state["guidance.vae.encoder.conv_in.weight"] = torch.zeros(1)
    state["geometry.gs_network.unet.conv_in.weight"] = torch.ones(2, 9, 3, 3)
    state["geometry.gs_network.conv.bias"] = torch.ones(14)
    state["net_disc.decoder.weight"] = torch.zeros(1)
    return state


def test_system_checkpoint_has_the_last_word(tmp_path: Path, capsys) -> None:
    (tmp_path / "hub/system_ckpt").mkdir(parents=True)
    torch.save(
        {"state_dict": system_state(), "epoch": 3, "loops": {}}, tmp_path / "hub/system_ckpt/final.ckpt"
    )
    peft_unet().save_pretrained(tmp_path / "hub/guidance_ckpt")
    release(tmp_path / "hub", tmp_path / "run")
    said = capsys.readouterr().out
    student = load_file(tmp_path / "run/student.safetensors")
    assert all(torch.equal(value, torch.ones(4, 6)) for value in student.values()), "the adapter `lora`"
    assert sorted(load_file(tmp_path / "run/recon.safetensors")) == ["conv.bias", "unet.conv_in.weight"]
    assert "taken from the system checkpoint" in said and "left alone" in said and "net_disc" in said


def test_a_system_without_student_or_reconstructor_says_so(tmp_path: Path) -> None:
    state = {k: v for k, v in system_state().items() if "lora" not in k and "gs_network" not in k}
    torch.save({"state_dict": state}, tmp_path / "final.ckpt")
    with pytest.raises(
        UserError, match=r"neither a student nor a reconstructor: reconstructor: nothing under"
    ):
        convert_release(tmp_path, tmp_path / "run")
    torch.save(
        {"state_dict": {k: v for k, v in system_state().items() if "lora" not in k}}, tmp_path / "final.ckpt"
    )
    said = convert_release(tmp_path, tmp_path / "run")
    assert any("student: no LoRA under guidance.unet." in line for line in said)
    assert any("no peft adapter below" in line for line in said)
    assert not (tmp_path / "run/student.safetensors").exists()


def test_files_that_are_not_what_they_seem_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        convert_release(tmp_path / "nowhere", tmp_path / "run")
    folder = tmp_path / "guidance_ckpt"
    folder.mkdir()
    save_file(
        {"base_model.model.attn1.to_q.lora_A.weight": torch.zeros(4, 6)}, folder / "adapter_model.safetensors"
    )
    with pytest.raises(UserError, match=r"attn1.to_q.lora_B.weight has no counterpart"):
        convert_release(tmp_path, tmp_path / "run")
    save_file({name: torch.zeros(4, 6) for name in NAMES}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 8}))
    with pytest.raises(UserError, match="says rank 8 and the tensors have 4"):
        convert_release(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match="holds no LoRA tensor"):
        lora_keys({"weight": torch.zeros(1)}, "x")


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": system_state(), "hyper_parameters": Path("x")}, tmp_path / "final.ckpt")
    with pytest.raises(UserError, match=r"not a readable torch file of plain tensors"):
        convert_release(tmp_path, tmp_path / "run")
