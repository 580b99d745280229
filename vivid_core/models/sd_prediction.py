"""What an SD 2.x checkpoint predicts: noise, or v. Nothing in its names says so; a statistic of one tensor does."""

from __future__ import annotations

from typing import Literal

from .files import WeightFiles, read_tensors
from .sd_names import UNET_PREFIX, in_diffusers_names

# A bias of the last attention: in models that predict v it scatters more (0.09 lies between those that were released;
# ComfyUI tells them apart in the same way).
TELLING = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
BORDER = 0.09
SAYS_V = "v_pred"  # a tensor that some files hold to say so
METADATA = "modelspec.prediction_type"


def guessed_prediction(unet: WeightFiles, linear: bool) -> Literal["epsilon", "v_prediction"]:
    """What the U-Net in `unet` predicts; `linear` says that it is one of SD 2.x (with linear projections): no other was
    trained for v."""
    said = unet.metadata.get(METADATA, "")
    if said or SAYS_V in unet.tensors:
        return "v_prediction" if said.startswith("v") or not said else "epsilon"
    names = in_diffusers_names({name: name for name in unet.tensors}, UNET_PREFIX)
    if not linear or TELLING not in names:
        return "epsilon"
    spread = read_tensors(unet)[names[TELLING]].float().std(unbiased=False)
    return "v_prediction" if float(spread) > BORDER else "epsilon"
