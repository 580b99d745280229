"""Makes `vivid_core` importable on its own, as a script would see it."""

from __future__ import annotations

from harness.packages import import_from_root

import_from_root("vivid_core")
