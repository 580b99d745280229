"""ComfyUI's dynamic memory on the pretend accelerator: a stand-in for `comfy_aimdo`, which works on real GPUs only.

A newer ComfyUI leaves weights in host memory or on the disk and reserves addresses on the device for them. A layer that
runs asks for its page ("faults"): it may still be there, come empty, or be refused because the device is full. By its
signature ComfyUI knows whether it must fill it. All that stays ComfyUI's own code; only the pages are ours.

Where the stand-in differs: each layer's weights are one page, nothing is pinned in host memory, there are no streams,
and what tensors need beside the weights is kept free (`headroom`) instead of taken from the pages when it is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import os
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .accelerator import PretendAccelerator

PACKAGE = "comfy_aimdo"
ALIGNMENT = 512
POISON = 0xFF  # what a new page is full of: NaN in every floating dtype
CORE_LIMIT = 16 << 10  # bytes: smaller layers are put on the device whole, and most of a tiny model is smaller
TINY_LIMIT = 1 << 10


@contextlib.contextmanager
def dynamic_memory(accelerator: PretendAccelerator) -> Iterator[Pages]:
    """Within, ComfyUI's models are dynamic, on an accelerator that is its GPU already (`takeover`). Afterwards all
    models are unloaded and everything is as before.

    The real `comfy_aimdo` need not be installed and isn't touched. The core must have `ModelPatcherDynamic`.
    """
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    from comfy.cli_args import args

    pages = Pages(accelerator)
    patchers = comfy.model_patcher
    with contextlib.ExitStack() as changes:
        _install(_package(pages), changes)
        _set(comfy.memory_management, "aimdo_enabled", True, changes)
        _set(patchers, "CoreModelPatcher", patchers.ModelPatcherDynamic, changes)
        _set(patchers.ModelPatcher, "_load_list", _with_lower_limit(patchers.ModelPatcher._load_list), changes)
        _set(args, "disable_pinned_memory", True, changes)
        _allow_moves_of_data(changes)
        try:
            yield pages
        finally:
            comfy.model_management.unload_all_models()
            comfy.model_management.reset_cast_buffers()


class Pages:
    """All pages of all models. They leave `headroom` bytes free; the counts are of what layers asked for."""

    def __init__(self, accelerator: PretendAccelerator) -> None:
        self.device = accelerator.device
        self.headroom = 0
        self.asked = self.brought = self.refused = self.bytes_from_files = 0
        self._accelerator = accelerator
        self._spaces: weakref.WeakValueDictionary[int, AddressSpace] = weakref.WeakValueDictionary()
        self._signatures = itertools.count(1)

    def restart_counts(self) -> None:
        self.asked = self.brought = self.refused = self.bytes_from_files = 0

    @property
    def in_use(self) -> int:
        """How many times layers have asked for a page and not yet said that they are done with it."""
        return sum(page.users for space in self._spaces.values() for page in space.pages.values())

    def resident(self) -> int:
        """Bytes in pages that are there."""
        return sum(space.loaded_size() for space in self._spaces.values())

    def put_first(self, space: AddressSpace) -> None:
        """Take pages from this space last."""
        self._spaces.pop(id(space), None)
        self._spaces[id(space)] = space

    def bring(self, space: AddressSpace, page: Page) -> bool:
        """Have a page on the device, if need be at the cost of less important ones; False if there is no room."""
        self.asked += 1
        if page.signature is not None:
            return True
        for other in [one for one in self._spaces.values() if one is not space]:
            other.free_memory(self._missing(page))
        space.free_memory(self._missing(page), above=page)
        if self._missing(page) > 0:
            self.refused += 1
            return False
        self.brought += 1
        page.enter(next(self._signatures))
        return True

    def read_file(self, file: int, offset: int, size: int, stream: int, address: int, *_: Any, **__: Any) -> None:
        """From a file straight to the device, whose memory is the host's: `read_file_to_device`."""
        if os.preadv(file, [(ctypes.c_ubyte * size).from_address(address)], offset) != size:
            raise RuntimeError("the file ends too early")
        self.bytes_from_files += size

    def _missing(self, page: Page) -> int:
        return page.size + self.headroom + self._accelerator.allocated() - self._accelerator.capacity


class Page:
    """Memory that comes and goes under tensors that stay. To read it in between is an error, and nothing says so."""

    def __init__(self, address: int, size: int, device: torch.device) -> None:
        self.address, self.size, self.users = address, size, 0
        self.signature: tuple[int] | None = None
        with torch.inference_mode(False):
            self._bytes = torch.empty(0, dtype=torch.uint8, device=device)

    def enter(self, number: int) -> None:
        with torch.inference_mode(False):
            self._bytes.untyped_storage().resize_(self.size)
            self._bytes.resize_(self.size).fill_(POISON)
        self.signature = (number,)

    def leave(self) -> None:
        self._bytes.untyped_storage().resize_(0)
        self.signature = None

    def bytes(self) -> Tensor:
        return self._bytes.view(-1)


class AddressSpace:
    """The device addresses of one model's weights: `ModelVBAR`. `alloc` gives (space, address, bytes)."""

    def __init__(self, pages: Pages, size: int) -> None:
        self.pages: dict[int, Page] = {}
        self._all, self._size, self._end = pages, size, 0
        pages.put_first(self)

    def prioritize(self) -> None:
        self._all.put_first(self)

    def alloc(self, size: int) -> tuple[AddressSpace, int, int]:
        address = -(-self._end // ALIGNMENT) * ALIGNMENT
        self._end = address + size
        if self._end > self._size:
            raise MemoryError("more addresses are wanted than were reserved")
        self.pages[address] = Page(address, size, self._all.device)
        return self, address, size

    def fault(self, address: int) -> tuple[int] | None:
        page = self.pages[address]
        if not self._all.bring(self, page):
            return None
        page.users += 1
        return page.signature

    def unpin(self, address: int) -> None:
        page = self.pages[address]
        page.users = max(0, page.users - 1)

    def loaded_size(self) -> int:
        return sum(page.size for page in self.pages.values() if page.signature is not None)

    def free_memory(self, size: float, above: Page | None = None) -> int:
        """Give back at least `size` bytes, from the highest address down to that of `above`; what is in use stays."""
        freed = 0
        for page in sorted(self.pages.values(), key=lambda page: -page.address):
            if freed >= size or page is above:
                break
            if page.signature is not None and not page.users:
                page.leave()
                freed += page.size
        return freed


class HostBuffer:
    """Pinned host memory, of which there is none: ComfyUI was told not to use it, but keeps its lists."""

    size = 0

    def __init__(self, *_: Any) -> None: ...


class MappedFile:
    """`ModelMMAP`: a weights file in memory, and the handle by which the device reads it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (open as long as weights lie in it)
        self._memory = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)

    def get(self) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def get_file_handle(self) -> int:
        return self._file.fileno()

    def bounce(self) -> bool:
        return True


def _package(pages: Pages) -> dict[str, types.ModuleType]:
    """The modules of `comfy_aimdo` with what the core asks of them on a device without streams."""
    contents: dict[str, dict[str, Any]] = {
        "control": {"analyze": lambda: None},
        "model_vbar": {
            "ModelVBAR": lambda size, device: AddressSpace(pages, size),
            "vbar_fault": lambda place: place[0].fault(place[1]),
            "vbar_unpin": lambda place: None if place is None else place[0].unpin(place[1]),
            "vbar_signature_compare": lambda one, other: None not in (one, other) and one == other,
            "vbars_analyze": lambda device=None: pages.resident(),
            "vbars_reset_watermark_limits": lambda: None,
        },
        "torch": {"aimdo_to_tensor": lambda place, device: place[0].pages[place[1]].bytes()},
        "host_buffer": {"HostBuffer": HostBuffer, "read_file_to_device": pages.read_file},
        "model_mmap": {"ModelMMAP": MappedFile},
        "vram_buffer": {},
    }
    package = types.ModuleType(PACKAGE)
    modules = {PACKAGE: package}
    for name, members in contents.items():
        module = modules[f"{PACKAGE}.{name}"] = types.ModuleType(f"{PACKAGE}.{name}")
        module.__dict__.update(members)
        setattr(package, name, module)
    return modules


def _install(package: dict[str, types.ModuleType], changes: contextlib.ExitStack) -> None:
    """Put the package where imports look for it, and into each module that has imported it, or has tried to."""
    for module in list(sys.modules.values()):
        if PACKAGE in getattr(module, "__dict__", {}):
            _set(module, PACKAGE, package[PACKAGE], changes)
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == PACKAGE}
    changes.callback(sys.modules.update, before)
    changes.callback(lambda: [sys.modules.pop(name, None) for name in package])
    sys.modules.update(package)


def _set(owner: Any, name: str, value: Any, changes: contextlib.ExitStack) -> None:
    changes.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _allow_moves_of_data(changes: contextlib.ExitStack) -> None:
    """Let `parameter.data = parameter.data.to(device)` be, which torch refuses for devices that it doesn't know."""
    library = torch.library.Library("aten", "IMPL")
    changes.callback(library._destroy)
    library.impl("_has_compatible_shallow_copy_type", lambda tensor, other: True, "PrivateUse1")


def _with_lower_limit(listed: Any) -> Any:
    """ComfyUI's list of a model's layers, in which each is said to be as much larger as its limit is for tiny models.
    Nothing else depends on that number."""

    def _load_list(self: Any, for_dynamic: bool = False, **named: Any) -> list[Any]:
        entries = listed(self, for_dynamic=for_dynamic, **named)
        if not for_dynamic:
            return entries
        larger = CORE_LIMIT // TINY_LIMIT
        return [(*before, size * larger, name, layer, own) for *before, size, name, layer, own in entries]

    return _load_list
