"""Engines compared on a folder of clips: the same frames, masks and seeds for all, tables with intervals, and pages."""
