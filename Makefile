# make demo   a real clip, edited by a real ComfyUI, into output/demo/
# make test   everything, in a real ComfyUI and a real browser
# Both set everything up by themselves, the first time in a few minutes and then in seconds.
PYTHON3 ?= python3
IN_ENV = $(PYTHON3) tests/harness/environment.py run
export COMFYUI_PATH PYTHON VIDEO BOX FRAME BENCH

.PHONY: demo test coverage mutate audit torture bench env clean-env lint templates fits train-embedded train-segmenter judge-segmenter train-embedded-sd judge-embedded-sd claims ablations teach evaluate
demo:
	@$(IN_ENV) python tests/harness/demo.py

# Two halves side by side, each file in one of them and in the usual order. One thread each: torch's threads of two
# processes wait for each other. WORKERS=0 runs all in one process, which a debugger needs.
WORKERS ?= 2
test: lint
	@$(IN_ENV) env OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The same tests while every line of vivid_core that runs is noted; the figure and the files that miss lines. Below 90 %
# it fails. ARGS=tests/core measures what the tests without ComfyUI reach:
COVERAGE = $(IN_ENV) env VIVID_ROOT="$(CURDIR)" OMP_NUM_THREADS=1 coverage
coverage:
	@mkdir -p output/coverage
	@$(COVERAGE) erase
	@$(COVERAGE) run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS); ended=$$?; \
		$(COVERAGE) combine --quiet && $(COVERAGE) report && exit $$ended

# Whether the tests of masks, windows, composite and schedules notice small faults: 300 of them, one at a time, in memory.
# Resumable, in output/mutate/. ARGS="--sample 40 --only masks/":
mutate:
	@$(IN_ENV) env OMP_NUM_THREADS=1 python tests/mutation/mutate.py $(ARGS)

# The locked packages against today's databases of known holes; needs the network, which tests/security does without:
audit:
	@$(PYTHON3) -m venv output/audit/venv
	@output/audit/venv/bin/python -m pip install --quiet pip-audit==2.10.1
	@output/audit/venv/bin/pip-audit --no-deps --disable-pip --requirement tests/harness/environment.lock $(ARGS)

lint:
	@$(IN_ENV) ruff check .
	@$(IN_ENV) ruff format --check .
	@$(IN_ENV) mypy

# Random graphs, every number at its edges, full disks, cancels, killed servers, hundreds of prompts; resumable, in
# output/torture/. PART=fuzz (or sweep, disks, cancels, kills, mixed), COUNT=50, HOURS=1; SEED=123 COUNT=1 runs that
# graph again:
torture:
	@$(IN_ENV) env OMP_NUM_THREADS=1 python tests/torture/__main__.py $(if $(filter command%,$(origin HOURS)),--hours $(HOURS)) \
		$(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED)) $(if $(PART),--part $(PART))

# All benchmarks in about 15 minutes, into docs/benchmarks.md; BENCH=full takes more pairs. ARGS="stitch load_peak" runs
# those and leaves the other rows; --unrecorded among them leaves the page alone:
bench:
	@VIVID_COMMIT="$$($(PYTHON3) tests/harness/commit.py)" $(IN_ENV) python benchmarks $(ARGS)

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

# The embedded model, for HOURS more, from where the last call stopped; the files are in output/embedded/.
# ARGS="--begin-with vivid_core/models/embedded_vivid.safetensors --seed 6 --rate-share 0.4 --decay-from 0 ..." goes on
# from the shipped one, as a run of its own; MEASURED.md has the whole line:
HOURS ?= 1
train-embedded:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training output/embedded --hours $(HOURS) $(ARGS)

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

# What holds of the papers' claims by the embedded models, into docs/claims.md; FULL=1 has many trials. Answers are kept
# in output/claims/: a run that was stopped goes on there. With ARGS the page is left alone, as in
# ARGS="--model FILE --trials 16 --sheets FOLDER", or ARGS="--only steering --sd FILE --trials 4":
claims:
	@VIVID_COMMIT="$$($(PYTHON3) tests/harness/commit.py)" $(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training.claims $(if $(FULL),--full) \
		$(if $(ARGS),$(ARGS),--document docs/claims.md)

# The paper's ablations: one run of STEPS steps an arm, resumable, then many sampling seeds; in output/ablations/:
STEPS ?= 2000
ablations:
	@VIVID_COMMIT="$$($(PYTHON3) tests/harness/commit.py)" $(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.training.claims.ablations output/ablations --steps $(STEPS) \
		--results vivid_core/training/claims/ablations.json $(ARGS)

# A shape that the embedded model has never seen, through Train VIVID LoRA in a real ComfyUI; in output/teach/:
teach:
	@$(IN_ENV) python tests/harness/teach.py $(ARGS)

# Engines compared on the clips of FOLDER, with tables and pages in FOLDER/evaluation; resumable. docs/evaluate.md:
# make evaluate FOLDER=clips ARGS="--engine vivid --engine kive:steps=20 --seeds 0,1"
evaluate:
	@$(IN_ENV) env -u PYTHONSAFEPATH python -m vivid_core.evaluate "$(FOLDER)" $(ARGS)
