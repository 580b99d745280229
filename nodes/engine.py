"""Load the models that edit by a mask, and tell them what to show there."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..vivid_core.editors.texts import TASKS, prompt_for
from . import sockets
from .comfy_bridge import engine_files
from .comfy_bridge.conditioning import as_conditioning, cut_short, encoded_by_clip
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.engine_loading import EngineFiles, load_engine
from .comfy_bridge.memory import explained_out_of_memory
from .comfy_bridge.precision import CHOICES as PRECISIONS
from .comfy_bridge.progress import say
from .comfy_bridge.shared import fingerprint_of
from .schema import expert, node_schema

EMBEDDED = "embedded (comes with the pack)"
WITH_MODEL, WITHOUT_TEXT, NO_LORA = "with the model", "none (use CLIP)", "none"


class LoadEngine(io.ComfyNode):
    """Transformer, VAE, text encoder and LoRA, found by their content and kept in ComfyUI's memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividLoadEngine",
            display_name="Load Edit Engine",
            search_aliases=["load vivid", "cogvideox fun inp", "wan vace", "video inpaint model", "kive"],
            description="Loads a model that edits video inside a mask: the small one that comes with the pack, VIVID "
            "trained parts on CogVideoX, CogVideoX-Fun InP, or Wan2.1-VACE. The family is found by the file itself.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[EMBEDDED, *engine_files.models()],
                    default=EMBEDDED,
                    tooltip="A file or diffusers folder of diffusion_models, vivid or diffusers; a name that ends with "
                    "/ is a folder. The embedded model runs anywhere, but knows only plain shapes and colours.",
                ),
                io.Combo.Input(
                    "vae",
                    options=[WITH_MODEL, *engine_files.files("vae")],
                    default=WITH_MODEL,
                    tooltip="with the model: the one in the same diffusers folder. A single file needs one chosen.",
                ),
                io.Combo.Input(
                    "text_encoder",
                    options=[WITH_MODEL, WITHOUT_TEXT, *engine_files.files("text_encoders")],
                    default=WITH_MODEL,
                    tooltip="with the model: the one in the same diffusers folder, if any. none (use CLIP): Encode "
                    "Prompt takes a CLIP that other nodes may share, and nothing is loaded twice.",
                ),
                io.Combo.Input(
                    "lora",
                    options=[NO_LORA, *engine_files.files(*engine_files.LORA_FOLDERS)],
                    default=NO_LORA,
                    tooltip="Trained parts of VIVID, which teach a CogVideoX text-to-video model to edit, or a plain "
                    "LoRA, for instance a few-step one for Wan.",
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.01,
                    tooltip="How much the LoRA counts; 1 is as it was trained. Of trained parts, the patch projection "
                    "always counts in full.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="auto",
                    tooltip="How the transformer is kept. auto: as ComfyUI chooses. fp8 halves the memory of bf16 and "
                    "loses a little quality. The embedded model is always fp32.",
                    **expert(),
                ),
                io.Boolean.Input(
                    "tiled_vae",
                    default=False,
                    tooltip="Encode and decode in tiles: a quarter of the memory, slower, faint seams are possible.",
                    **expert(),
                ),
            ],
            outputs=[
                sockets.Engine.Output("engine", display_name="engine", tooltip="For Encode Prompt and the editors."),
                io.String.Output(
                    "report", display_name="report", tooltip="What was loaded, what fits, and what the model likes."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **named: Any) -> Any:
        if None in named.values():
            return None  # from other nodes, which have not run yet: what they give decides
        return fingerprint_of(lambda: engine_files.inside(*_chosen(**named).paths()))

    @classmethod
    def execute(cls, **named: Any) -> io.NodeOutput:
        engine = load_engine(_chosen(**named))
        report = engine.report()
        say([report])
        return io.NodeOutput(engine, report)


def _chosen(
    model: str, vae: str, text_encoder: str, lora: str, lora_strength: float, precision: str, tiled_vae: bool
) -> EngineFiles:
    """Names from the lists as files."""
    path_of = engine_files.path_of
    return EngineFiles(
        model=None if model == EMBEDDED else path_of(model, *engine_files.MODEL_FOLDERS),
        vae=None if vae == WITH_MODEL else path_of(vae, "vae"),
        text=None if text_encoder in (WITH_MODEL, WITHOUT_TEXT) else path_of(text_encoder, "text_encoders"),
        lora=None if lora == NO_LORA else path_of(lora, *engine_files.LORA_FOLDERS),
        strength=lora_strength,
        precision=precision,
        tiled=tiled_vae,
        without_text=text_encoder == WITHOUT_TEXT,
    )


class EncodePrompt(io.ComfyNode):
    """A text, or the task of removing, in the words of the engine's family."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividEncodePrompt",
            display_name="Encode Prompt",
            search_aliases=["local caption", "edit prompt", "text encode video", "remove prompt"],
            description="Encodes what must be seen inside the mask, as the engine's model was trained to read it. "
            "Describe the region, not the whole picture.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="From Load Edit Engine."),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    tooltip="What must be seen inside the mask: a red ball. For remove: not needed with VIVID; with "
                    "Wan VACE and CogVideoX-Fun, what is behind the object.",
                ),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default="modify",
                    tooltip="modify and add use the text. remove uses the sentence that VIVID was trained with, where "
                    "the model knows it.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    tooltip="What must not be seen. Empty is usual; it counts only while guidance is above 1.",
                    **expert(),
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="A native CLIP with t5xxl (CogVideoX) or umt5xxl (Wan), used instead of the engine's own "
                    "text encoder. Of any type: the embedding is the same.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive"),
                io.Conditioning.Output("negative_out", display_name="negative"),
            ],
        )

    @classmethod
    def execute(cls, engine: ManagedEngine, text: str, task: str, negative: str, clip: Any = None) -> io.NodeOutput:
        traits, notes = engine.adapter.traits, list[str]()
        prompt = prompt_for(traits, task, text, notes)
        if clip is not None:
            pair = encoded_by_clip(clip, traits, [prompt, negative], notes).split(1)
        else:
            encoder, runtime = engine.engine(), engine.runtime()
            with explained_out_of_memory("the precision of the text encoder in Load Edit Engine"):
                pair = tuple(encoder.encoded(one, runtime) for one in (prompt, negative))
            if encoder.text is not None:
                notes += _strange(encoder.text.unknown(f"{prompt} {negative}"), traits.label)
                for one in (prompt, negative):
                    notes += cut_short(encoder.text.excess(one), traits)
        say(notes)
        return io.NodeOutput(*(as_conditioning(one) for one in pair))


def _strange(words: list[str], label: str) -> list[str]:
    if not words:
        return []
    named = ", ".join(dict.fromkeys(words))
    return [f"{label} has never seen these words and can't follow them: {named}; see the help page for those it knows."]
