"""The recipe by which VIVID is trained, and the small world in which it can be trained and judged anywhere."""
