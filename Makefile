# make demo   a real clip, edited by a real ComfyUI, into output/demo/
# make test   everything, in a real ComfyUI and a real browser
# Both set everything up by themselves, the first time in a few minutes and then in seconds.
PYTHON3 ?= python3
IN_ENV = $(PYTHON3) tests/harness/environment.py run
export COMFYUI_PATH PYTHON VIDEO BOX FRAME BENCH

.PHONY: demo test bench env clean-env lint templates fits train-embedded train-segmenter judge-segmenter train-embedded-sd judge-embedded-sd claims claims-steered ablations teach
demo:
	@$(IN_ENV) python tests/harness/demo.py

# Two halves side by side, each file in one of them and in the usual order. One thread each: torch's threads of two
# processes wait for each other. WORKERS=0 runs all in one process, which a debugger needs.
WORKERS ?= 2
test: lint
	@$(IN_ENV) env OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint:
	@$(IN_ENV) ruff check .
	@$(IN_ENV) ruff format --check .
	@$(IN_ENV) mypy

bench:
	@$(IN_ENV) python benchmarks

env:
	@$(PYTHON3) tests/harness/environment.py build

clean-env:
	@$(PYTHON3) tests/harness/environment.py clean

# After a template was changed in the page and saved to workflows/, and make demo has run:
templates:
	@$(IN_ENV) python tests/harness/templates.py

# What of the released models fits on which card, computed; the README shows this table:
fits:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.fits

# The embedded model, for HOURS more, from where the last call stopped; the files are in output/embedded/:
HOURS ?= 1
train-embedded:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training output/embedded --hours $(HOURS)

# A tiny SAM 2 in the embedded world, likewise, in output/segmenter/; and how well it follows objects from one click:
MODEL ?= vivid_core/models/embedded_sam2.safetensors
train-segmenter:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training segmenter output/segmenter --hours $(HOURS)

judge-segmenter:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training judge-segmenter $(MODEL) $(ARGS)

# A tiny Stable Diffusion with motion, depth and a ControlNet, stage by stage, in output/embedded_sd/; and what it holds.
# ARGS="--stage images --steps 9000" trains one stage alone, and for longer than usual:
SD ?= vivid_core/models/embedded_sd.safetensors
train-embedded-sd:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training sd output/embedded_sd --hours $(HOURS) $(ARGS)

judge-embedded-sd:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training judge-sd $(SD) $(ARGS)

# What the embedded model holds of its claims, on held-out clips; ARGS="--model FILE --trials 16 --sheets FOLDER":
claims:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training.claims $(ARGS)

# UniEdit's and Pix2Video's claims on an embedded Stable Diffusion (make train-embedded-sd makes one; the pack ships none
# yet). FULL=1 has many trials, keeps their answers in output/claims/, and goes on from there; STEERED="--trials 12":
claims-steered:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training.claims.steered --model $(SD) $(if $(FULL),--full) $(STEERED)

# The paper's ablations: one run of STEPS steps an arm, resumable, then many sampling seeds; in output/ablations/:
STEPS ?= 2000
ablations:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training.claims.ablations output/ablations --steps $(STEPS) \
		--results vivid_core/training/claims/ablations.json $(ARGS)

# A shape that the embedded model has never seen, through Train VIVID LoRA in a real ComfyUI; in output/teach/:
teach:
	@$(IN_ENV) python tests/harness/teach.py $(ARGS)
