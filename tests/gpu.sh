#!/usr/bin/env bash
# What only an NVIDIA GPU can show, the most important first, for a machine that is rented by the minute:
#
#   [MINUTES=9] bash tests/gpu.sh LOGS [STEP ...]
#
# Writes LOGS/log.txt, with the output of all steps, and LOGS/summary.txt, with their exit codes and seconds. The default
# steps take about nine minutes; given steps are run in the given order. When MINUTES are over, the running step is
# interrupted and the others are left out. Nothing is installed or downloaded, except Tiny Shakespeare if it is not in
# data/. Packages that the machine's Python lacks may be in PYTHONPATH.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export python=${PYTHON:-python3} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
logs=$1
shift
mkdir -p "$logs"
end=$((SECONDS + ${MINUTES:-9} * 60))

charlstm() { "$python" -m charlstm "$@"; }
shakespeare() { # a GPU takes thousands of steps a second: evaluations would take as long as the training
  charlstm train configs/tinyshakespeare.yaml --overwrite --set training.evaluate_every=1000 "$@"
}

can_run() { # all packages are there, and a GPU
  "$python" -c "import torch, charlstm.benchmark, charlstm.cli; torch.zeros(1, device='cuda')"
}
doctor() {
  nvidia-smi --query-gpu=name,driver_version,compute_mode,memory.used --format=csv
  charlstm doctor
}
goals() { # microseconds per step, forward and backward, of the sizes for which there are goals
  charlstm bench --loops --device cuda --size 1x256,32,128 --size 1x512,64,128 --size 1x768,16,1024
}
tests() {
  "$python" -m pytest -n 14 --maxprocesses 14 -k "not cpp" --tb=short -rfE --durations=5 tests/training/test_training_cuda.py \
    tests/executors/test_{persistent_cuda,cuda_graph,triton,laws,vendor,autograd,frozen,stop_gradient}.py \
    tests/generation/test_step_decoder.py tests/benchmark/test_captured_run.py
}
train() { shakespeare --name gpu; }
train_graphs() { CHARLSTM_MEASURE=0 shakespeare --name gpu-graphs --set training.budget.minutes=0.5; }
train_large() { # the sizes for which there are goals of training
  for size in "512 64" "256 128"; do
    read -r units batch <<< "$size"
    shakespeare --name "gpu-$units" --set "model.hidden_size=$units" --set "training.batch_size=$batch" \
      --set training.sequence_length=128 --set training.budget.minutes=0.3
  done
}
training() { against_torch --cell lstm; }
training_cells() { against_torch --cell gru --cell peephole; }
against_torch() {
  charlstm bench --device cuda --training --rounds 3 --size 1x512,64,128 --size 1x256,128,128 --executor torch.nn \
    --executor torch.nn-captured --executor triton "$@"
}
cells() { # within 1.15 times the lstm; compiled side by side first, as one after the other takes a minute
  local sizes=(--size 1x256,32,128 --size 1x512,64,128) all=() cell
  for cell in lstm peephole coupled leaky gru gru_reset_before; do
    all+=(--cell "$cell")
    charlstm bench --loops --device cuda --rounds 1 "${sizes[@]}" --cell "$cell" > /dev/null 2>&1 &
  done
  wait
  charlstm bench --loops --device cuda --rounds 3 "${sizes[@]}" "${all[@]}"
}
loops() { charlstm bench --loops --device cuda --rounds 3; }
sampling() { charlstm bench --device cuda --sampling --cell lstm --rounds 3 --size 1x512,64,128; }
memory() { charlstm compare configs/compare/long-term-memory.yaml --quick --overwrite; }

step() {
  local begin=$SECONDS left=$((end - SECONDS)) code
  if [ "$left" -lt 15 ]; then
    echo "$2: left out, no time" | tee -a "$logs/summary.txt"
    return
  fi
  export -f charlstm shakespeare against_torch "$2"
  echo "===== $2" >> "$logs/log.txt"
  timeout --signal=INT --kill-after=10 "$((left < $1 ? left : $1))" bash -c "$2" >> "$logs/log.txt" 2>&1
  code=$?
  echo "$2: exit code $code, $((SECONDS - begin)) s" | tee -a "$logs/summary.txt"
  return "$code"
}

declare -A limits=([goals]=120 [tests]=200 [train]=120 [training]=150 [cells]=120 [train_large]=100 [train_graphs]=70
  [training_cells]=240 [sampling]=60 [loops]=240 [memory]=150 [doctor]=60)
[ $# -gt 0 ] || set -- doctor goals tests train training cells train_large train_graphs sampling training_cells loops memory
for name in "$@"; do
  if [ -z "${limits[$name]:-}" ]; then
    echo "no step $name; there are: ${!limits[*]}" >&2
    exit 2
  fi
done
if ! step 120 can_run; then
  tail -n 20 "$logs/log.txt"
  exit 1
fi
for name in "$@"; do step "${limits[$name]}" "$name"; done
exit 0
