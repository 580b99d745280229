"""UniEdit (Bai et al. 2024): a frozen video model edits a clip, steered through its own attention.

The clip is inverted to noise once. From that noise the edit is denoised with the target prompt beside the
reconstruction of the clip, from which it takes queries and keys of spatial attention (its layout), or values (its
content); for a new motion, beside a third clip that only follows the prompt, from which it takes queries and keys of
attention over time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..checks import checked_mask
from ..diffusion.attention_rules import AnyRule, Letter, Region, Rule, SplitRule
from ..diffusion.branches import Mode, run_branches
from ..diffusion.ddim import Inversion
from ..diffusion.guidance import MOST as MOST_GUIDANCE
from ..diffusion.roles import Role, RolePlan
from ..runtime import Runtime
from .backbone import Backbone
from .clip_windows import ClipAsk
from .inverted import InvertedClip

MODES = ("appearance", "motion")
SOURCE, EDIT, MOTION = "source", "edit", "motion"
LAYERS = 16  # of spatial self-attention
LOOKS: frozenset[Letter] = frozenset({"q", "k"})  # what decides where is looked
VALUES: frozenset[Letter] = frozenset({"v"})  # what is seen there
USUAL_STRUCTURE = {"appearance": 0.5, "motion": 0.3}  # 25 and 15 of 50 steps


@dataclass(frozen=True)
class UniEditSettings:
    """How the edit is steered; shares are of all steps, from the noisy end, 0 is off.

    `structure` (t1 in the paper; None: 0.5 for appearance, 0.3 for motion): queries and keys of every spatial layer
    come from the source. Only in motion mode: `content` (t0) with values of the spatial layers from `content_from` (L)
    on from the source; `injection` with queries and keys of all attention over time from the motion reference. Only
    with masks, in appearance mode: `background`, with values outside the object from the source.

    `replayed`: the source shows its stored latents at each step, which costs one pass instead of two and lets nothing
    drift; without it the source is denoised along, as the paper does. `side_by_side` asks for all roles in one batch,
    else one after the other, in less memory.
    """

    mode: str = "appearance"
    guidance: float = 7.5
    structure: float | None = None
    content: float = 1.0
    content_from: int = 10
    injection: float = 1.0
    background: float = 0.5
    replayed: bool = True
    side_by_side: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"UniEdit: got the mode {self.mode!r}; use one of {', '.join(MODES)}.")
        for name in ("structure", "content", "injection", "background"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"UniEdit: got {name} {share:g}; use a share of the steps, 0 (off) to 1 (all).")
        if not 0 <= self.content_from <= LAYERS:
            raise ValueError(f"UniEdit: got content_from {self.content_from}; use 0 (all layers) to {LAYERS} (none).")
        if not 1 <= self.guidance <= MOST_GUIDANCE:
            raise ValueError(
                f"UniEdit: got guidance {self.guidance:g}; use 1 (the prompt alone, half the work) to "
                f"{MOST_GUIDANCE:g} (7.5 is usual)."
            )

    @property
    def of_motion(self) -> bool:
        return self.mode == "motion"

    @property
    def run_mode(self) -> Mode:
        return "lockstep" if self.side_by_side else "sequential"


@dataclass(frozen=True, eq=False)
class UniEditMasks:
    """Where the object is in the source, and where it will be once it moves (None: in the same places): masks
    [F, H, W] of any size, 1 = object, in 0..1."""

    source_fhw: Tensor
    motion_fhw: Tensor | None = None

    @property
    def target_fhw(self) -> Tensor:
        return self.source_fhw if self.motion_fhw is None else self.motion_fhw


@dataclass(frozen=True)
class UniEdit:
    """The edited clip and its diagnostics, each at the size that the model sees: `source_fhwc` is the reconstruction,
    `motion_fhwc` the motion reference, which should show the wanted action, if with the wrong content; None in
    appearance mode. `latents` has z_0 of each role by name."""

    frames_fhwc: Tensor
    source_fhwc: Tensor
    motion_fhwc: Tensor | None
    latents: dict[str, Tensor]
    report: str


def rules_for(settings: UniEditSettings, steps: int, masks: UniEditMasks | None = None) -> tuple[AnyRule, ...]:
    """The attention rules of a run of so many steps (section 4.2; with masks, 4.3 with equations 5 and 6).

    A rule that is off is left out.
    """
    made = _motion_rules(settings, steps, masks) if settings.of_motion else _appearance_rules(settings, steps, masks)
    return tuple(rule for rule in made if rule.steps != range(0) and rule.layers != ())


def _appearance_rules(settings: UniEditSettings, steps: int, masks: UniEditMasks | None) -> list[AnyRule]:
    rules: list[AnyRule] = [_structure(settings, steps, (EDIT,))]
    if masks is not None:
        outside = Region(masks.source_fhw, inside=False)
        early = _first(settings.background, steps)
        rules.append(Rule("spatial", VALUES, SOURCE, (EDIT,), steps=early, region=outside))
    return rules


def _motion_rules(settings: UniEditSettings, steps: int, masks: UniEditMasks | None) -> list[AnyRule]:
    layers, while_content = tuple(range(settings.content_from, LAYERS)), _first(settings.content, steps)
    inside = None if masks is None else Region(masks.target_fhw)
    moving = _first(settings.injection, steps)
    rules: list[AnyRule] = [
        _structure(settings, steps, (EDIT, MOTION)),
        Rule("spatial", VALUES, SOURCE, (EDIT,), layers, while_content),
        Rule("temporal", LOOKS, MOTION, (EDIT,), steps=moving, region=inside),
    ]
    if masks is not None:
        rules.append(SplitRule("spatial", (EDIT,), masks.target_fhw, masks.source_fhw, layers, while_content))
    return rules


def _structure(settings: UniEditSettings, steps: int, targets: tuple[str, ...]) -> Rule:
    share = USUAL_STRUCTURE[settings.mode] if settings.structure is None else settings.structure
    return Rule("spatial", LOOKS, SOURCE, targets, steps=_first(share, steps))


def _first(share: float, steps: int) -> range:
    return range(round(share * steps))


def uniedit(
    backbone: Backbone,
    clip: InvertedClip,
    prompt: str,
    negative: str = "",
    settings: UniEditSettings | None = None,
    masks: UniEditMasks | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> UniEdit:
    """Edit an inverted clip by `prompt`.

    Appearance mode keeps the motion and the layout and changes what things look like; motion mode keeps what things
    look like and changes what they do. With an empty source prompt, or with a source that is replayed, the source is
    asked once for both halves of guidance. Where no rule needs the source any more, it is not asked. Steps on
    `runtime`: `steps_of`.

    Raises ValueError for motion mode without motion modules, for masks of another clip, and as the inversion, the
    backbone and `run_branches` do.
    """
    settings, runtime = settings or UniEditSettings(), runtime or Runtime()
    notes = [] if notes is None else notes
    if settings.of_motion and not backbone.motion:
        raise ValueError(
            f"UniEdit: {backbone.title} has no motion modules, which a new motion comes from; choose some in Load "
            "Diffusion Model, or the mode appearance."
        )
    masks = None if masks is None else _checked(masks, clip)
    with clip.asked(backbone, not backbone.motion, "UniEdit") as asked:
        texts = (backbone.encoded(prompt, runtime, notes), backbone.encoded(negative, runtime, notes))
        roles = roles_for(settings, clip.inversion, clip.text_bld, *texts)
        rules = rules_for(settings, clip.steps, masks)
        latents = denoised(asked, clip, roles, rules, settings, runtime)
        report = described(settings, clip, roles, rules)
        if asked.windowed:
            notes.append(asked.described())
    shown = {name: backbone.decode(made, runtime) for name, made in latents.items()}
    return UniEdit(shown[EDIT], shown[SOURCE], shown.get(MOTION), latents, report)


def steps_of(settings: UniEditSettings, clip: InvertedClip) -> int:
    """What `uniedit` counts: the steps of denoising, and one for each frame of each clip that is decoded."""
    return clip.steps + (3 if settings.of_motion else 2) * clip.frame_count


def roles_for(
    settings: UniEditSettings, inversion: Inversion, source_bld: Tensor, text_bld: Tensor, negative_bld: Tensor
) -> list[Role]:
    """The clips that go through denoising together, all from the noise of the inversion; `source_bld` is its text.

    A source that is denoised along has guidance 1: with its own text that is what brings it back.
    """
    start = inversion.noisiest
    if settings.replayed:
        roles = [Role.replay(SOURCE, inversion, source_bld)]
    else:
        roles = [Role(SOURCE, source_bld, start=start)]
    roles.append(Role(EDIT, text_bld, negative_bld, settings.guidance, start))
    if settings.of_motion:
        roles.append(Role(MOTION, text_bld, negative_bld, settings.guidance, start))
    return roles


def denoised(
    asked: ClipAsk,
    clip: InvertedClip,
    roles: list[Role],
    rules: tuple[AnyRule, ...],
    settings: UniEditSettings,
    runtime: Runtime,
) -> dict[str, Tensor]:
    """z_0 [1, C, F, h, w] of every role."""
    plan = RolePlan.make(roles, rules, clip.steps)
    rows = plan.most_rows if settings.side_by_side else plan.most_rows_of_one
    latents = run_branches(
        asked.backbone.unet,
        asked.ask,
        clip.inversion.times,
        roles,
        rules,
        runtime,
        mode=settings.run_mode,
        chunk=asked.chunk,
        windows=asked.weighted,
        **asked.named(rows),
    )
    return {SOURCE: clip.inversion.latents[0]} | latents


def described(settings: UniEditSettings, clip: InvertedClip, roles: list[Role], rules: tuple[AnyRule, ...]) -> str:
    """For the report: what steers the edit, and what that costs against asking every role in both halves always."""
    steps, parts = clip.steps, [f"{_counted(clip.steps, 'step')}, guidance {settings.guidance:g}"]
    for rule in rules:
        if isinstance(rule, Rule):
            letters = "queries and keys" if rule.takes == {"q", "k"} else "values"
            over = " over time" if rule.kind == "temporal" else ""
            when = (
                "all steps" if rule.steps in (None, range(steps)) else f"the first {_counted(len(rule.steps), 'step')}"
            )
            parts.append(f"{letters}{over} of the {_SAID[rule.source]} in {when}")
    plan = RolePlan.make(roles, rules, steps)
    asked = sum(len(plan.rows_at(step)) for step in range(steps))
    naive = 2 * len(roles) * steps
    return f"UniEdit, {settings.mode}: {'; '.join(parts)}.\nAsked {asked} times for a clip; {naive} without savings."


_SAID = {SOURCE: "source", MOTION: "motion reference"}


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _checked(masks: UniEditMasks, clip: InvertedClip) -> UniEditMasks:
    def fitting(mask: Tensor, what: str) -> Tensor:
        mask = checked_mask(mask, what)
        if len(mask) not in (1, clip.frame_count):
            raise ValueError(
                f"{what}: got {len(mask)} masks for {clip.frame_count} frames; each frame needs one, so trim both "
                "alike."
            )
        return mask

    motion = None if masks.motion_fhw is None else fitting(masks.motion_fhw, "UniEdit, motion mask")
    return replace(masks, source_fhw=fitting(masks.source_fhw, "UniEdit, mask"), motion_fhw=motion)
