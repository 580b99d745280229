"""LoRAs as weight patches: equal to peft's own, in every key format, and gone without trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness import tiny
from harness.inprocess import bridge
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor, nn

COGVIDEOX = tiny.BY_NAME["cogvideox"]
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"]
CPU = torch.device("cpu")


def with_peft(dtype: torch.dtype, alpha: float = 8.0, **named: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """The tiny CogVideoX with a random LoRA by peft, and its state dict in peft's keys."""
    config = LoraConfig(r=4, lora_alpha=alpha, target_modules=TARGETS, **named)
    model = inject_adapter_in_model(config, COGVIDEOX.make(dtype))
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.1).to(dtype)
    return model.eval().requires_grad_(False), get_peft_model_state_dict(model)


def merged(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if hasattr(module, "merge") and hasattr(module, "lora_A"):
            module.merge()
    return model


@torch.inference_mode()
def output(model: Any, *, device: torch.device = CPU) -> Tensor:
    """What a bare module or a managed model answers."""
    if isinstance(model, nn.Module):
        return COGVIDEOX.run(model, next(model.parameters()).dtype, device)
    with bridge("memory").loaded(model):
        return COGVIDEOX.run(model.module, model.compute_dtype, device)


def managed(dtype: torch.dtype = torch.float32) -> Any:
    return bridge("patcher").manage(COGVIDEOX.make(dtype), role="denoiser", compute_dtype=dtype)


def saved(tensors: dict[str, Tensor], folder: Path, **metadata: str) -> dict[str, Tensor]:
    from vivid_core.models.lora_files import read_lora

    path = folder / "lora.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata or None)
    return read_lora(path)


def with_alpha(tensors: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    names = {key.partition(".lora_")[0] for key in tensors}
    return tensors | {f"{name}.alpha": torch.tensor(alpha) for name in names}


def changes_of(layer: nn.Module) -> dict[str, Tensor]:
    """A random change of a layer as a LoRA file holds it: two matrices, or the whole difference of what is small."""
    generator = torch.Generator().manual_seed(5)
    weight, bias = (getattr(layer, name, None) for name in ("weight", "bias"))
    changes = {} if bias is None else {"diff_b": torch.randn(bias.shape, generator=generator) * 0.1}
    if weight is not None and weight.ndim == 1:
        changes["diff"] = torch.randn(weight.shape, generator=generator) * 0.1
    if weight is not None and weight.ndim == 2:
        changes["lora_down.weight"] = torch.randn(4, weight.shape[1], generator=generator) * 0.1
        changes["lora_up.weight"] = torch.randn(weight.shape[0], 4, generator=generator) * 0.1
    return changes


@pytest.mark.usefixtures("comfy_base")
class TestLora:
    def test_in_fp32_it_is_what_peft_merges(self) -> None:
        reference, tensors = with_peft(torch.float32)
        model = bridge("lora").with_lora(managed(), with_alpha(tensors, 8.0))
        expected = output(merged(reference))
        assert float((output(model) - expected).abs().max()) <= 1e-6 * float(expected.abs().max())

    @pytest.mark.parametrize(
        "form",
        [
            "{name}.lora_{side}.weight",
            "transformer.{name}.lora_{side}.weight",
            "base_model.model.{name}.lora_{side}.default.weight",
            "diffusion_model.{name}.lora_{side}.weight",
            "transformer.{name}.lora.{way}.weight",
            "lora_unet_{flat}.lora_{way}.weight",
        ],
    )
    def test_every_key_format_means_the_same(self, form: str, tmp_path: Path) -> None:
        _, tensors = with_peft(torch.float32)
        renamed = {}
        for key, tensor in tensors.items():
            name, _, rest = key.partition(".lora_")
            side = rest[0]
            way = {"A": "down", "B": "up"}[side]
            renamed[form.format(name=name, side=side, way=way, flat=name.replace(".", "_"))] = tensor
        base = managed()
        expected = output(bridge("lora").with_lora(base, tensors))
        assert torch.equal(output(bridge("lora").with_lora(base, saved(renamed, tmp_path))), expected)

    def test_the_scale_in_a_peft_folder_counts(self, tmp_path: Path) -> None:
        from vivid_core.models.lora_files import read_lora

        reference, tensors = with_peft(torch.float32, alpha=3.0, use_rslora=True)
        reference.peft_config["default"].save_pretrained(tmp_path)
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        model = bridge("lora").with_lora(managed(), read_lora(tmp_path))
        expected = output(merged(reference))
        assert float((output(model) - expected).abs().max()) <= 1e-6 * float(expected.abs().max())

    def test_strength_scales_it_and_several_add_up(self) -> None:
        _, tensors = with_peft(torch.float32)
        with_lora, base = bridge("lora").with_lora, managed()
        halves = with_lora(with_lora(base, tensors, 0.5), tensors, 0.5)
        whole, plain = output(with_lora(base, tensors, 1.0)), output(base)
        assert torch.allclose(output(halves), whole, atol=1e-6)
        assert not torch.allclose(whole, plain, atol=1e-3)
        assert torch.equal(output(with_lora(base, tensors, 0.0)), plain)

    def test_it_leaves_no_trace_in_the_weights_or_in_other_clones(self) -> None:
        _, tensors = with_peft(torch.float32)
        base = managed()
        before = {key: tensor.clone() for key, tensor in base.module.state_dict().items()}
        plain = output(base)
        patched = bridge("lora").with_lora(base, tensors)
        first = output(patched)
        assert torch.equal(output(base), plain)
        assert torch.equal(output(patched), first)
        assert torch.equal(output(base.clone()), plain)
        assert all(torch.equal(before[key], tensor) for key, tensor in base.module.state_dict().items())

    def test_in_bf16_it_is_close_to_peft_and_the_notes_say_that_merging_rounds(self) -> None:
        reference, tensors = with_peft(torch.bfloat16)
        model = bridge("lora").with_lora(managed(torch.bfloat16), with_alpha(tensors, 8.0))
        expected = output(merged(reference)).float()
        assert float((output(model).float() - expected).norm() / expected.norm()) < 2e-2
        assert any("rounds" in note for note in model.notes)

    def test_the_notes_count_the_updates(self) -> None:
        _, tensors = with_peft(torch.float32)
        updates = sum("lora_B" in key for key in tensors)
        strangers = {"elsewhere.lora_A.weight": torch.zeros(4, 8), "elsewhere.lora_B.weight": torch.zeros(8, 4)}
        model = bridge("lora").with_lora(managed(), tensors | strangers, 0.7, name="style.safetensors")
        assert model.notes == [f"style.safetensors: {updates} of {updates + 1} updates in use at strength 0.7."]

    @pytest.mark.parametrize("form", ["diffusion_model.{name}", "lora_unet_{flat}"])
    def test_wans_own_names_mean_the_same_layers(self, form: str) -> None:
        from vivid_core.models.wan_names import own_layer

        wan = tiny.BY_NAME["wan_vace"]
        base = bridge("patcher").manage(wan.make(), role="denoiser")
        theirs: dict[str, Tensor] = {}
        own: dict[str, Tensor] = {}
        updates = 0
        for name, layer in base.module.named_modules():
            changes = changes_of(layer)
            updates += len(changes) - ("lora_down.weight" in changes)
            written = form.format(name=own_layer(name), flat=own_layer(name).replace(".", "_"))
            theirs |= {f"{name}.{kind}": tensor for kind, tensor in changes.items()}
            own |= {f"{written}.{kind}": tensor for kind, tensor in changes.items()}
        patched = [bridge("lora").with_lora(base, tensors, 0.5) for tensors in (theirs, own)]
        assert updates > 100
        for model in patched:
            assert model.notes == [f"LoRA: {updates} of {updates} updates in use at strength 0.5."]
        results = []
        for model in (*patched, base):
            with torch.inference_mode(), bridge("memory").loaded(model):
                results.append(wan.run(model.module, model.compute_dtype, CPU))
        assert torch.equal(results[0], results[1]) and not torch.allclose(results[0], results[2], atol=1e-3)

    @pytest.mark.parametrize("shape", ["another name", "another size"])
    def test_a_lora_for_another_model_is_refused(self, shape: str) -> None:
        _, tensors = with_peft(torch.float32)
        if shape == "another name":
            wrong = {f"single_{key}": tensor for key, tensor in tensors.items()}
        else:
            wrong = {key: torch.zeros([side + 1 for side in tensor.shape]) for key, tensor in tensors.items()}
        with pytest.raises(ValueError, match=r"wan\.safetensors: 0 of its \d+ updates fit this denoiser"):
            bridge("lora").with_lora(managed(), wrong, name="wan.safetensors")


def test_a_file_without_a_lora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lora\.safetensors holds no LoRA"):
        saved({"weight": torch.zeros(2)}, tmp_path)
