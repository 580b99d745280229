"""What `make mutate` changes, and which tests must notice: the quick ones that are about the module."""

from __future__ import annotations

TARGETS: dict[str, tuple[str, ...]] = {
    "vivid_core/masks/augment.py": ("tests/core/test_augment.py",),
    "vivid_core/masks/carry.py": ("tests/core/test_carry.py",),
    "vivid_core/masks/repair.py": ("tests/core/test_repair.py", "tests/core/test_repair_counts.py"),
    "vivid_core/masks/runs.py": ("tests/core/test_marks.py", "tests/core/test_run_lengths.py"),
    "vivid_core/masks/select.py": ("tests/core/test_select.py",),
    "vivid_core/masks/shapes.py": ("tests/core/test_augment.py",),
    "vivid_core/masks/strokes.py": ("tests/core/test_strokes.py", "tests/core/test_marks.py"),
    "vivid_core/video/windows.py": ("tests/core/test_windows.py",),
    "vivid_core/video/window_stitch.py": ("tests/core/test_native_windows.py",),
    "vivid_core/video/composite.py": ("tests/core/test_composite.py",),
    "vivid_core/video/feather.py": ("tests/core/test_composite.py",),
    "vivid_core/video/bands.py": ("tests/core/test_composite.py",),
    "vivid_core/editors/clip_windows.py": ("tests/core/test_clip_windows.py", "tests/core/test_clip_asks.py"),
    "vivid_core/editors/kive_plan.py": ("tests/core/test_kive_plan.py",),
    "vivid_core/diffusion/schedulers.py": ("tests/core/test_schedulers.py",),
    "vivid_core/training/settings.py": ("tests/core/test_training_schedule.py",),
}
