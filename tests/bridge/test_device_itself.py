"""The pretend accelerator is as strict as a graphics card, and computes what the CPU computes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from harness.pretend.accelerator import Accelerator, PretendAccelerator
from harness.pretend.takeover import gpu_of_comfyui
from torch import Tensor

CPU = torch.device("cpu")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MIXTURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda there, here: there + here,
    "sum, the other way round": lambda there, here: here + there,
    "in place": lambda there, here: there.add_(here),
    "matrix product": lambda there, here: there @ here,
    "cat": lambda there, here: torch.cat([there, here]),
    "linear": lambda there, here: F.linear(there, here),
    "bias of a linear": lambda there, here: F.linear(there, there, here[0]),
    "norm": lambda there, here: F.layer_norm(there, (8,), here[0]),
    "convolution": lambda there, here: F.conv1d(there[None], here[:, :, None]),
    "bias of a convolution": lambda there, here: F.conv1d(there[None], there[:, :, None], here[0]),
    "embedding": lambda there, here: F.embedding(here[0].long().abs(), there),
    "where": lambda there, here: torch.where(there > 0, there, here),
    "values put at indices": lambda there, here: there.index_put_((torch.tensor([1]),), here[0]),
    "attention": lambda there, here: F.scaled_dot_product_attention(there[None], here[None], here[None]),
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_tensors_of_two_devices_are_refused(pretend: PretendAccelerator, mix: Callable[..., Tensor]) -> None:
    there, here = numbers(8, 8).to(pretend.device), numbers(8, 8)
    with pytest.raises(RuntimeError, match="same device"):
        mix(there, here)


def test_numbers_and_indices_may_stay_on_the_host(pretend: PretendAccelerator) -> None:
    here = numbers(8, 8)
    there = here.to(pretend.device)
    assert torch.equal((there + torch.tensor(2.0)).cpu(), here + 2)
    assert torch.equal(there[torch.tensor([3, 1])].cpu(), here[[3, 1]])


def test_every_byte_is_counted_once_and_given_back(pretend: PretendAccelerator) -> None:
    gc.collect()
    before = pretend.allocated()
    pretend.reset_peak()
    first = torch.zeros(1000, device=pretend.device)
    view, second = first[10:].view(-1, 2), torch.zeros(500, dtype=torch.bfloat16, device=pretend.device)
    assert pretend.allocated() - before == 4000 + 1000
    del first, second
    assert pretend.allocated() - before == 4000, "the view still needs it"
    del view
    assert pretend.allocated() == before
    assert pretend.peak() - before == 5000


def test_more_than_the_capacity_is_comfyuis_out_of_memory_error(accelerator: Accelerator) -> None:
    import comfy.model_management

    if accelerator.is_real:
        pytest.skip("a real GPU enforces its own limit")
    accelerator.set_capacity(accelerator.allocated() + 1000)
    before = accelerator.allocated()
    with pytest.raises(torch.OutOfMemoryError, match="out of memory") as caught:
        torch.zeros(251, device=accelerator.device)
    assert isinstance(caught.value, comfy.model_management.OOM_EXCEPTION)
    assert accelerator.allocated() == before
    assert torch.zeros(250, device=accelerator.device).nbytes == 1000


def test_what_crosses_is_counted(pretend: PretendAccelerator) -> None:
    to_device, to_host = pretend.traffic()
    there = numbers(100).to(pretend.device)
    (there * 2 + 1).sort()
    assert pretend.traffic() == (to_device + 400, to_host)
    there.cpu()
    assert pretend.traffic() == (to_device + 400, to_host + 400)


COMPUTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "product": lambda x: x @ x.mT,
    "convolution": lambda x: F.conv2d(x, x[:, :, :3, :3], x[0, :, 0, 0], padding=1),
    "transposed convolution": lambda x: F.conv_transpose2d(x, x[:, :, :3, :3], stride=2),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    "norms": lambda x: F.group_norm(F.layer_norm(x, (8,)), 2),
    "interpolation": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "views": lambda x: x.transpose(0, 1).flip(-1).unfold(2, 2, 1)[..., ::2],
    "in place": lambda x: x.clone().mul_(3).clamp_(min=0).index_fill_(0, torch.tensor([1]).to(x.device), 5),
    "into a slice": lambda x: _into_a_slice(x),
    "out=": lambda x: torch.add(x, x, out=torch.empty(0).to(x.device)),
    "complex": lambda x: torch.view_as_real(torch.view_as_complex(x.reshape(-1, 2)) * 1j),
    "several results": lambda x: torch.cat([*x.sort().values.chunk(2), *x.topk(8).values.chunk(2)], dim=-1),
    "fp8": lambda x: x.to(torch.float8_e4m3fn).to(torch.bfloat16),
    "for each": lambda x: torch.stack(torch._foreach_mul(list(x), 2)),
    "a range": lambda x: torch.arange(3, 9, device=x.device) * x[0, 0, 0, 0],
}


def _into_a_slice(x: Tensor) -> Tensor:
    result = torch.zeros_like(x)
    result[:, 1:, ::2] = x[:, :-1, 1::2]
    result[0].add_(x[1])
    return result


@pytest.mark.parametrize("compute", COMPUTATIONS.values(), ids=COMPUTATIONS)
def test_results_are_those_of_the_cpu(pretend: PretendAccelerator, compute: Callable[[Tensor], Tensor]) -> None:
    x = numbers(4, 4, 8, 8)
    there = compute(x.to(pretend.device))
    assert there.device == pretend.device
    torch.testing.assert_close(there.cpu(), compute(x), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_cpu(pretend: PretendAccelerator) -> None:
    def gradients(device: torch.device) -> list[Tensor]:
        x, kernel, matrix = (
            numbers(*shape, seed=seed).to(device).requires_grad_()
            for seed, shape in enumerate([(2, 4, 8, 8), (6, 4, 3, 3), (6, 5)])
        )
        (F.conv2d(x, kernel, padding=1).mean((2, 3)) @ matrix).square().sum().backward()
        return [tensor.grad.cpu() for tensor in (x, kernel, matrix) if tensor.grad is not None]

    for there, here in zip(gradients(pretend.device), gradients(CPU), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)


def test_comfyui_takes_it_for_its_gpu(accelerator: Accelerator) -> None:
    import comfy.model_management as management

    accelerator.set_capacity(123 << 20)
    held = torch.zeros(1 << 20, device=accelerator.device)
    free, total = management.get_free_memory(), management.get_total_memory(accelerator.device)
    assert (free, total) == (accelerator.capacity - accelerator.allocated(), accelerator.capacity)
    assert accelerator.allocated() >= held.nbytes
    chosen = {management.get_torch_device(), management.vae_device(), management.text_encoder_device()}
    assert chosen == {accelerator.device}
    waiting = {management.unet_offload_device(), management.vae_offload_device()}
    assert waiting == {CPU} and management.get_free_memory(CPU) > 0


def test_comfyui_is_as_before_afterwards(comfy_base: Path, pretend: PretendAccelerator) -> None:
    import comfy.model_management as management

    before = dict(vars(management))
    with gpu_of_comfyui(pretend):
        assert management.get_torch_device() == pretend.device
    changed = {name for name, value in vars(management).items() if before.get(name) is not value}
    assert changed == set() and vars(management).keys() == before.keys()
    assert management.get_torch_device() == CPU
