"""Ground floor, clips: windows, crop, composite, colour, keyframes, reading and writing files."""
