"""The table of layers is the order in which a U-Net calls them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from branching import CHANNELS, WIDTH, image_unet, motion_unet
from torch import nn

from vivid_core.diffusion.layer_table import LayerTable

# The settings of the released models that matter here; on the meta device even these cost nothing.
SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8}
SD2 = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
SD2_DEPTH = SD2 | {"in_channels": 5}
MOTIONS = {"v1": (True, 24), "v2": (True, 32), "v3": (False, 32)}


def called(unet: nn.Module, latents: torch.Size | tuple[int, ...], text_rows: int) -> list[tuple[str, int, int]]:
    """(name, batch, tokens) of each self-attention in one forward, in order."""
    found: list[tuple[str, int, int]] = []
    width = unet.config.cross_attention_dim
    device = next(unet.parameters()).device

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if named.get("encoder_hidden_states") is None:
                found.append((name, *given[0].shape[:2]))

        return hook

    hooks = [
        module.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, module in unet.named_modules()
        if name.endswith((".attn1", ".attn2"))
    ]
    with torch.no_grad():
        unet(
            torch.empty(latents, device=device),
            torch.tensor(1, device=device),
            torch.empty(text_rows, 7, width, device=device),
        )
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("settings", (SD15, SD2, SD2_DEPTH), ids=("SD 1.5", "SD 2", "SD 2 depth"))
def test_the_table_is_the_order_of_calls_in_the_released_image_models(settings: dict[str, Any]) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**settings)
    table = LayerTable.make(unet)
    calls = called(unet, (1, settings.get("in_channels", 4), 64, 40), 1)
    assert [layer.name for layer in table.spatial] == [name for name, _, _ in calls]
    assert [layer.size(64, 40)[0] * layer.size(64, 40)[1] for layer in table.spatial] == [n for _, _, n in calls]
    assert [layer.index for layer in table.spatial] == list(range(16)) and table.temporal == ()


@pytest.mark.parametrize("version", MOTIONS)
def test_the_table_is_the_order_of_calls_with_each_motion_adapter(version: str) -> None:
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    middle, longest = MOTIONS[version]
    with torch.device("meta"):
        unet2d = UNet2DConditionModel(**SD15)
        adapter = MotionAdapter(use_motion_mid_block=middle, motion_max_seq_length=longest)
        unet = UNetMotionModel.from_unet2d(unet2d, adapter, load_weights=False)
    table = LayerTable.make(unet)
    calls = called(unet, (1, 4, 3, 16, 16), 3)
    spatial = [call for call in calls if ".attentions." in call[0]]
    temporal = [call for call in calls if ".motion_modules." in call[0]]
    assert [layer.name for layer in table.spatial] == [name for name, _, _ in spatial]
    assert [layer.name for layer in table.temporal] == [name for name, _, _ in temporal]
    assert len(temporal) == (42 if middle else 40)
    places = [layer.size(16, 16)[0] * layer.size(16, 16)[1] for layer in table.temporal]
    assert places == [batch for _, batch, _ in temporal]
    assert {tokens for _, _, tokens in temporal} == {3}


def test_the_processors_dictionary_would_have_given_other_numbers() -> None:
    by_dictionary = [name for name in image_unet().attn_processors if ".attn1." in name]
    by_table = [f"{layer.name}.processor" for layer in LayerTable.make(image_unet()).spatial]
    assert sorted(by_dictionary) == sorted(by_table) and by_dictionary != by_table


@pytest.mark.parametrize("size", ((8, 8), (9, 13), (5, 16)))
def test_sizes_of_layers_are_right_for_latents_that_halve_unevenly(size: tuple[int, int]) -> None:
    table, calls = LayerTable.make(motion_unet()), called(motion_unet(), (1, 4, 2, *size), 2)
    by_name = {name: (batch, tokens) for name, batch, tokens in calls}
    for layer in (*table.spatial, *table.temporal):
        rows, columns = layer.size(*size)
        batch, tokens = by_name[layer.name]
        assert rows * columns == (tokens if layer.kind == "spatial" else batch)


def other(**settings: Any) -> nn.Module:
    from diffusers import UNet2DConditionModel

    common = {"block_out_channels": CHANNELS, "norm_num_groups": 4, "cross_attention_dim": WIDTH}
    return UNet2DConditionModel(**(common | {"attention_head_dim": 2} | settings))


@pytest.mark.parametrize(
    "settings",
    (
        {"layers_per_block": 1},
        {"transformer_layers_per_block": 2},
        {
            "block_out_channels": CHANNELS[:3],
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
        },
        {"down_block_types": ("CrossAttnDownBlock2D",) * 4, "up_block_types": ("CrossAttnUpBlock2D",) * 4},
    ),
    ids=("one layer a block", "deeper transformers", "as SDXL", "attention on all levels"),
)
def test_a_unet_of_another_topology_is_refused_in_a_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Stable Diffusion 1.x and 2.x") as caught:
        LayerTable.make(other(**settings))
    assert str(caught.value).endswith(".")


def test_what_is_no_unet_is_refused_in_the_same_sentence() -> None:
    with pytest.raises(ValueError, match="this Linear are not those of Stable Diffusion"):
        LayerTable.make(nn.Linear(2, 2))
