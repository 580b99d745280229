"""Pictures of an edit for people: a mask outline, a contact sheet, before/after frames for a video, a chart."""

from __future__ import annotations

from torch import Tensor

from ..checks import checked_frames, checked_mask_for
from . import drawing
from .charts import series_strip
from .comparison import LAYOUTS, wipe_frames
from .sheet import contact_sheet

__all__ = ["LAYOUTS", "contact_sheet", "outline", "series_strip", "wipe_frames"]


def outline(image_hwc: Tensor, mask_hw: Tensor, colour: drawing.Colour = drawing.MASK, width_px: float = 0.0) -> Tensor:
    """The picture [H, W, 3] with a smooth line along the border of the mask (where it crosses 0.5).

    `colour` is RGB in 0..255. `width_px` 0 chooses a width that suits the size of the picture.

    Raises ValueError when the mask has another size, and on values outside 0..1.
    """
    image = checked_frames(image_hwc[None], "Outline, image")
    mask = checked_mask_for(mask_hw, image, "Outline, mask")
    width_px = width_px or drawing.line_width(image.shape[2], image.shape[1])
    picture = drawing.outlined(drawing.to_bytes(image[0]), (mask[0] > 0.5).numpy(), colour, width_px)
    return drawing.to_image(picture)
