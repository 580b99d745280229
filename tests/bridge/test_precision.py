"""The dtype weights are kept in and the one they compute in."""

from __future__ import annotations

import pytest
import torch
from harness import tiny
from harness.inprocess import bridge
from harness.pretend.accelerator import Accelerator

pytestmark = pytest.mark.usefixtures("comfy_base")
CPU = torch.device("cpu")
BILLION = 10**9


def choose(choice: str, role: str = "denoiser", in_file: torch.dtype = torch.bfloat16, device: torch.device = CPU):
    return bridge("precision").choose_precision(choice, role, in_file, BILLION, device)


def test_a_device_that_computes_in_it_gets_what_was_asked_for_without_a_word(accelerator: Accelerator) -> None:
    for choice, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        precision = choose(choice, device=accelerator.device)
        assert (precision.storage, precision.compute, precision.note) == (dtype, dtype, "")


def test_a_device_that_does_not_compute_in_it_keeps_it_and_says_what_it_computes_in() -> None:
    precision = choose("bf16")
    assert (precision.storage, precision.compute) == (torch.bfloat16, torch.float32)
    assert precision.note == "This device does not compute in bf16: the weights compute in float32."


def test_fp8_is_for_what_can_be_stored_so(accelerator: Accelerator) -> None:
    precision = choose("fp8_e4m3fn", device=accelerator.device)
    assert precision.storage == torch.float8_e4m3fn and precision.compute in (torch.bfloat16, torch.float16)
    vae = choose("fp8_e4m3fn", role="vae", device=accelerator.device)
    assert vae.storage == vae.compute and "vae can't be kept in fp8_e4m3fn" in vae.note


def test_left_to_comfyui_it_is_what_comfyui_says(accelerator: Accelerator) -> None:
    import comfy.model_management as management

    precision = choose("auto", device=accelerator.device)
    assert precision.storage == management.unet_dtype(
        accelerator.device, BILLION, [torch.float16, torch.bfloat16, torch.float32], weight_dtype=torch.bfloat16
    )
    assert choose("auto", role="vae").storage == management.vae_dtype(CPU, [torch.bfloat16, torch.float32])


@pytest.mark.parametrize("choice", ["auto", "fp16", "bf16", "fp8_e4m3fn"])
def test_a_text_encoder_computes_in_fp32_however_it_is_kept(accelerator: Accelerator, choice: str) -> None:
    precision = choose(choice, role="text_encoder", device=accelerator.device)
    kept = {"auto": torch.bfloat16, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8_e4m3fn": torch.float8_e4m3fn}
    assert (precision.storage, precision.compute, precision.note) == (kept[choice], torch.float32, "")


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float8_e4m3fn])
def test_wans_norms_times_and_modulation_stay_in_fp32_as_in_diffusers(storage: torch.dtype) -> None:
    module = tiny.BY_NAME["wan_vace"].make(torch.bfloat16)
    wide = bridge("precision").kept_in_fp32(module)
    assert set(wide) >= set(tiny.WAN_IN_FP32)
    stored = bridge("precision").Precision(storage, torch.bfloat16).stored(module.state_dict(), wide)
    expected = tiny.BY_NAME["wan_vace"].make().state_dict()
    for key, tensor in stored.items():
        assert (tensor.dtype == torch.float32) == bool(set(wide) & set(key.split("."))), key
        assert tensor.dtype != torch.float32 or torch.allclose(tensor, expected[key], rtol=0.01), key
    for name in ("cogvideox", "t5", "wan_vae"):
        assert bridge("precision").kept_in_fp32(tiny.BY_NAME[name].make()) == ()


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'int4'; use one of auto, fp32"):
        choose("int4")


@pytest.mark.parametrize("name", ["cogvideox", "wan_vace", "unet_motion", "unet2d", "t5", "umt5"])
def test_in_fp8_only_matrices_inside_blocks_are_kept(name: str) -> None:
    weights = tiny.BY_NAME[name].make(torch.bfloat16).state_dict()
    precision = bridge("precision").Precision(torch.float8_e4m3fn, torch.bfloat16)
    stored = precision.stored(weights)
    small = {key for key, tensor in stored.items() if tensor.dtype == torch.float8_e4m3fn}
    assert all(stored[key].dim() >= 2 for key in small)
    assert not any(word in key for key in small for word in ("norm", "embed", "proj_out", "shared", "bias"))
    saved = sum(tensor.numel() for key, tensor in weights.items() if key in small)
    assert saved > 0.5 * sum(tensor.numel() for tensor in weights.values())


def test_weights_that_have_the_dtype_already_are_not_copied() -> None:
    weights = tiny.BY_NAME["cogvideox"].make(torch.bfloat16).state_dict()
    stored = bridge("precision").Precision(torch.bfloat16, torch.bfloat16).stored(weights)
    assert all(stored[key].data_ptr() == tensor.data_ptr() for key, tensor in weights.items())
