"""Ratios against a peer. Each module with a `run(full)` is one benchmark; `make bench` runs them all."""
