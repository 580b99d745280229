"""Families of editing models: how each one sees the hole, the mask and the keyframes. One file each."""
