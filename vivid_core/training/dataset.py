"""A folder of clips, masks and captions as a source of training samples."""

from __future__ import annotations

import statistics
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..editors.contract import Traits
from ..masks.augment import augment_mask, size_verdict
from .draws import Draws
from .media import FRAMES, MASK, MediaInfo, media_info, read_media
from .pasting import LEAST_BACKGROUND, background_share, pasted_mask
from .published import is_published, read_published
from .sample_files import INDEX, Entry, read_index
from .tasks import DELETION, ENTITY, Recipe, Sample, SamplePlan, finished
from .world.words import DELETION_CAPTION

TRIES = 20
VARIANTS = 4  # amounts by which a mask is widened in each mode; few, so that the cache of latents is of use
ONLY = 1e9  # a ratio that means: nothing else
KEPT_BYTES = 2_000_000_000


class Dataset:
    """Samples of one size and length: call it with a plan, as a trainer does.

    Clips are scaled until they cover `height` x `width` and cut around what is edited; those that are shorter than
    `frames` stay on their last frame, of longer ones a part is drawn.
    """

    def __init__(self, entries: Mapping[Entry, MediaInfo], height: int, width: int, frames: int) -> None:
        self.infos, self.height, self.width, self.frames = dict(entries), height, width, frames
        self.entries = list(entries)
        self._kept: OrderedDict[tuple[Path, str], Tensor] = OrderedDict()

    @property
    def captions(self) -> set[str]:
        """Every text that a sample may have."""
        told = {caption for entry in self.entries for caption in entry.captions.values()}
        return told | {DELETION_CAPTION, ""}

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe without what this dataset has nothing for: clips where all are single images, captions where all
        are deletions."""
        if not any(entry.task == ENTITY for entry in self.entries):
            recipe = replace(recipe, entities_per_deletion=0.0)
        if self.frames == 1:
            recipe = replace(recipe, images_per_video=ONLY)
        return recipe

    def __call__(self, plan: SamplePlan) -> Sample:
        """The sample that a plan describes.

        Where a place for a deletion can't be found, the clip's own object is trained instead. Raises ValueError when
        no sample has a mask that can be trained on.
        """
        draws = Draws(f"sample/{plan.clip}", plan.seed)
        for attempt in range(TRIES):
            made = self._made(plan, draws, attempt)
            if made is not None:
                entry, frames_fhwc, mask_fhw, caption = made
                return finished(plan, entry.name, frames_fhwc, mask_fhw, caption)
        raise ValueError(
            f"Training: none of {TRIES} samples had a mask that can be trained on (seen on half of the frames, 0.5 % "
            "to 60 % of the frame large); save samples with other masks."
        )

    def _made(self, plan: SamplePlan, draws: Draws, attempt: int) -> tuple[Entry, Tensor, Tensor, str] | None:
        pastes = plan.task == DELETION and attempt < TRIES // 2
        fitting = [one for one in self.entries if plan.is_image or self.infos[one].frames > 1] or self.entries
        if not pastes:
            fitting = [one for one in fitting if one.task == ENTITY] or fitting
        entry = fitting[(plan.clip + (draws.below(len(fitting)) if attempt else 0)) % len(fitting)]
        if pastes and entry.task == ENTITY:
            return self._pasted(plan, entry, draws)
        frames_fhwc, mask_fhw = self._cut(entry, plan, draws)
        mask_fhw = self._widened(mask_fhw, plan, entry)
        if size_verdict(mask_fhw):
            return None
        caption = DELETION_CAPTION if entry.task == DELETION else entry.captions[plan.caption_length]
        return entry, frames_fhwc, mask_fhw, caption

    def _pasted(self, plan: SamplePlan, entry: Entry, draws: Draws) -> tuple[Entry, Tensor, Tensor, str] | None:
        """A deletion: another sample's mask on this one's background."""
        donors = [one for one in self.entries if one.clip != entry.clip and one.task == ENTITY] or [entry]
        own = [one for one in self.entries if one.clip == entry.clip and one.task == ENTITY]
        start = self._start(entry, plan, draws)
        clip = self._window(entry.clip, FRAMES, plan, start)
        rows, columns = (_one_of_three(total, side, draws) for total, side in zip(clip.shape[1:3], self._size))
        frames_fhwc = self._float(clip[:, rows, columns])
        foreground = [self._window(one.mask, MASK, plan, start)[:, rows, columns] for one in own]
        foreground_fhw = (torch.stack(foreground).amax(0) > 0).float()
        donor = draws.one_of(donors)
        _, donor_fhw = self._cut(donor, plan, draws)
        mask_fhw = pasted_mask(frames_fhwc, foreground_fhw, donor_fhw, plan.paste_motion, draws)
        if mask_fhw is None:
            return None
        mask_fhw = self._widened(mask_fhw, plan, entry)
        if size_verdict(mask_fhw) or background_share(mask_fhw, foreground_fhw) < LEAST_BACKGROUND:
            return None
        return entry, frames_fhwc, mask_fhw, DELETION_CAPTION

    def _cut(self, entry: Entry, plan: SamplePlan, draws: Draws) -> tuple[Tensor, Tensor]:
        """frames_fhwc and mask_fhw of the plan's part of a clip, at the dataset's size."""
        start = self._start(entry, plan, draws)
        mask = self._window(entry.mask, MASK, plan, start)
        rows, columns = self._place(mask)
        frames = self._window(entry.clip, FRAMES, plan, start)[:, rows, columns]
        return self._float(frames), (mask[:, rows, columns] > 0).float()

    def _start(self, entry: Entry, plan: SamplePlan, draws: Draws) -> int:
        """Where the part begins: on a grid of half its length, so that the same parts come again."""
        count = self.infos[entry].frames
        if plan.is_image:
            return round(plan.moment * (count - 1))
        hop = max(1, self.frames // 2)
        return min(hop * draws.below(max(0, count - self.frames) // hop + 2), max(0, count - self.frames))

    def _window(self, path: Path, tensor: str, plan: SamplePlan, start: int) -> Tensor:
        """uint8, scaled but not cut yet; the last frame is repeated where the clip is shorter."""
        clip = self._read(path, tensor)
        places = torch.arange(start, start + (1 if plan.is_image else self.frames))
        return clip[places.clamp(max=len(clip) - 1)]

    def _place(self, mask_fhw: Tensor) -> tuple[slice, slice]:
        """The part of the scaled frame that holds the middle of the mask."""
        slices = []
        for side, line in zip(self._size, (mask_fhw.amax((0, 2)), mask_fhw.amax((0, 1)))):
            marked = line.nonzero()[:, 0]
            middle = float(marked.float().mean()) if len(marked) else len(line) / 2
            corner = min(max(0, round(middle - side / 2)), len(line) - side)
            slices.append(slice(corner, corner + side))
        return slices[0], slices[1]

    def _widened(self, mask_fhw: Tensor, plan: SamplePlan, entry: Entry) -> Tensor:
        amounts = Draws(f"mask/{entry.name}", plan.seed % VARIANTS).below(1 << 31)
        return augment_mask(mask_fhw, plan.mask_mode, randomise=True, seed=amounts)

    def _read(self, path: Path, tensor: str) -> Tensor:
        """A whole clip or mask, scaled to cover the size; the last ones that were used are kept."""
        key = (path, tensor)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = torch.stack(list(self._scaled(path, tensor)))
        self._kept[key] = made
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return made

    def _scaled(self, path: Path, tensor: str) -> Iterator[Tensor]:
        for frame in read_media(path, tensor):
            image = frame.permute(2, 0, 1).float() if frame.ndim == 3 else frame[None].float()
            if tensor == MASK:
                image = (image.amax(0, keepdim=True) > 127).float() * 255
            scale = max(self.height / image.shape[1], self.width / image.shape[2])
            size = (max(self.height, round(image.shape[1] * scale)), max(self.width, round(image.shape[2] * scale)))
            if size != image.shape[1:]:
                image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
            if tensor == MASK:
                yield ((image[0] > 127) * 255).to(torch.uint8)
            else:
                yield image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)

    @property
    def _size(self) -> tuple[int, int]:
        return self.height, self.width

    @staticmethod
    def _float(levels: Tensor) -> Tensor:
        return (levels.float() / 255).contiguous()


def _one_of_three(total: int, side: int, draws: Draws) -> slice:
    """The begin, the middle or the end of a side; few places, so that the cache of latents is of use."""
    corner = (total - side) * draws.below(3) // 2
    return slice(corner, corner + side)


def open_dataset(folder: str | Path, traits: Traits, frames: int = 0) -> Dataset:
    """The dataset in `folder` (an index.jsonl, or folders named as VIVID-10M was published) for a model.

    Its size is the model's at the usual aspect of the clips; `frames` is how many a sample has, 0 for as many as the
    model takes. Raises ValueError, naming file and line, for what can't be trained on.
    """
    folder = Path(folder)
    if (folder / INDEX).is_file():
        entries = read_index(folder)
    elif is_published(folder):
        entries = read_published(folder)
    else:
        raise ValueError(
            f"{folder} is no dataset: it has no {INDEX}, nor folders of eight digits with source_video.mp4; make one "
            "with Save Training Sample."
        )
    if frames < 0:
        raise ValueError(f"Training: got {frames} frames for a sample; give 0 (as many as the model takes) or more.")
    infos = {entry: _checked(entry) for entry in entries}
    shape = statistics.median(info.height / info.width for info in infos.values())
    longest = max(info.frames for info in infos.values())
    count = traits.frames_for(min(longest, frames or traits.longest))
    return Dataset(infos, *traits.size_for(round(1000 * shape), 1000), count)


def _checked(entry: Entry) -> MediaInfo:
    """The clip's length and size. Raises ValueError unless its mask has the same."""
    try:
        clip, mask = media_info(entry.clip), media_info(entry.mask, MASK)
    except ValueError as fault:
        raise ValueError(f"{entry.where}: {fault}") from fault
    if clip != mask:
        raise ValueError(
            f"{entry.where}: the clip {entry.clip.name} has {clip.frames} frames of {clip.width}x{clip.height}, but "
            f"its mask has {mask.frames} of {mask.width}x{mask.height}; they must agree, so save it again."
        )
    return clip
