"""A graphics card for tests that have none.

`device.cpp` is the device, `build` compiles it, `accelerator` is what tests use, `takeover` makes ComfyUI take it for
its GPU. Where a real GPU is there, the same tests run on that.
"""
