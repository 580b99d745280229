"""A procedural world: plain shapes that move over textured backgrounds, with exact masks, and the truth of any edit."""
