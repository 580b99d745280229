"""Judging an edit: what changed outside the mask, seams, flicker, drift, and pictures to look at."""
