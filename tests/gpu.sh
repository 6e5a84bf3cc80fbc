#!/usr/bin/env bash
# What only an NVIDIA GPU can show, the most important first, for a machine that is rented by the minute:
#
#   bash tests/gpu.sh LOGS [STEP ...]
#
# Writes the output of each step to LOGS/STEP.txt and its result and seconds to LOGS/summary.txt. Nothing is
# installed or downloaded, except Tiny Shakespeare if it is not in data/. All steps take at most 25 minutes; given
# steps are run in the given order.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
logs=$1
shift
mkdir -p "$logs"

charlstm() { "$python" -m charlstm "$@"; }

goals() { # microseconds per step, forward and backward, of the sizes for which there are goals
  charlstm bench --loops --device cuda --cell lstm --size 1x256,32,128 --size 1x512,64,128 --size 1x768,16,1024
}
train() { charlstm train configs/tinyshakespeare.yaml --name gpu --overwrite; }
train_graphs() { CHARLSTM_MEASURE=0 charlstm train configs/tinyshakespeare.yaml --name gpu-graphs --overwrite; }
train_large() { # the sizes for which there are goals of training
  for size in "512 64" "256 128"; do
    read -r units batch <<< "$size"
    charlstm train configs/tinyshakespeare.yaml --name "gpu-$units" --overwrite --set "model.hidden_size=$units" \
      --set "training.batch_size=$batch" --set training.sequence_length=128 --set training.budget.minutes=0.3
  done
}
tests() { "$python" -m pytest -q -n 8 tests/executors tests/training/test_training_cuda.py tests/generation tests/benchmark; }
training() { charlstm bench --device cuda --training --cell lstm --cell gru --cell peephole; }
cells() { # within 1.15 times the lstm
  local cells=(--cell lstm --cell peephole --cell coupled --cell leaky --cell gru --cell gru_reset_before)
  charlstm bench --loops --device cuda --rounds 3 --size 1x256,32,128 --size 1x512,64,128 "${cells[@]}"
}
loops() { charlstm bench --loops --device cuda --cell lstm; }
sampling() { charlstm bench --device cuda --sampling --cell lstm; }
memory() { charlstm compare configs/compare/long-term-memory.yaml --quick --overwrite; }

step() {
  local begin=$SECONDS
  export -f charlstm "$2"
  export python
  timeout --signal=INT --kill-after=20 "$1" bash -c "$2" > "$logs/$2.txt" 2>&1
  echo "$2: exit code $?, $((SECONDS - begin)) s" | tee -a "$logs/summary.txt"
}

declare -A limits=([goals]=120 [train]=120 [tests]=240 [train_graphs]=90 [train_large]=90 [training]=180 [cells]=180
  [loops]=300 [sampling]=90 [memory]=150)
[ $# -gt 0 ] || set -- goals train tests train_graphs train_large training cells loops sampling memory
charlstm doctor > "$logs/doctor.txt" 2>&1
for name in "$@"; do step "${limits[$name]}" "$name"; done
