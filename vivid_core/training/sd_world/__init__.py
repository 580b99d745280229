"""The world of the embedded Stable Diffusion: whole scenes with captions that name motion, true depth and true flow."""
