"""Denoising: the noise schedules of the families, guidance by text, and the one loop that all of them run."""
