"""Ground floor, masks over time: prompts, optical flow, tracking, augmentation, repair."""
