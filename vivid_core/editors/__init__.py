"""Engines for the middle of the loop: frames, a mask and keyframes in; frames out."""
