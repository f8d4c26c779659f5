#!/usr/bin/env bash
# Which shape moves where: clips that the recipe makes, and that neither branch of a network can tell apart alone.
#
#   1  the clips      2  training      3  test      4  tables
#
# Systems: cnn (convolutions on frames, their mean over time), low (a recurrence on 4 x 4 means), raw (a recurrence on pixels),
# cascade (convolutions, then recurrence), parallel (cnn beside low, concatenated), gated and bilinear (the same, joined so).
#
# Options:
#   --stage N         first stage to run (default 1)
#   --stop-stage N    last stage to run (default 4)
#   --systems NAMES   (default "cnn low raw cascade parallel"; also gated, bilinear)
#   --clips "N N N"   clips of train, dev and test (default "3200 400 1600")
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    goes before the names of runs, exp/shape_motion/[NAME_]<system>_seed<N>
#   --set "A=B C=D"   configuration values to change, as in `asr classify train --set A=B --set C=D`
stage=1
stop_stage=4
systems="cnn low raw cascade parallel"
clips="3200 400 1600"
seed=1
seeds=""
exp_tag=""
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/shape_motion data=data/shape_motion exp=exp/shape_motion/${exp_tag:+${exp_tag}_}
read -r -a systems <<<"$systems"
read -r -a clips <<<"$clips"
read -r -a seeds <<<"${seeds:-$seed}"
train_options "$set"
check_names --systems "${systems[*]}" "cnn low raw cascade parallel gated bilinear"
[ ${#clips[@]} -eq 3 ] || die "--clips ${clips[*]}: how many of train, dev and test, three numbers"

# The configuration of a system, and what it changes there.
system() {
  case $1 in
    cnn) system_options=(--config $here/conf/frames.yaml --set model.rnn.layers=0) ;;
    cascade) system_options=(--config $here/conf/frames.yaml) ;;
    gated | bilinear) system_options=(--config $here/conf/parallel.yaml --set "model.fusion.kind=$1") ;;
    *) system_options=(--config "$here/conf/$1.yaml") ;;
  esac
}

if begin 1 "clips"; then
  python $here/local/make.py --out $data --train "${clips[0]}" --dev "${clips[1]}" --test "${clips[2]}"
fi

if begin 2 "training"; then
  for system in "${systems[@]}"; do
    for seed in "${seeds[@]}"; do
      system "$system"
      asr classify train "${system_options[@]}" --train $data/train.tsv --dev $data/dev.tsv --exp "$exp${system}_seed$seed" \
        "${train_options[@]}" --set "seed=$seed"
    done
  done
fi

if begin 3 "test"; then
  for system in "${systems[@]}"; do
    for seed in "${seeds[@]}"; do
      run=$exp${system}_seed$seed
      log "$run"
      asr classify evaluate --model "$run/model.safetensors" --table $data/test.tsv --out "$run/eval_test"
    done
  done
fi

if begin 4 "results"; then
  shopt -s nullglob
  runs=()
  for system in "${systems[@]}"; do runs+=("$exp$system"_seed*); done
  python recipes/utils/classified.py --title "Sixteen classes, test" --against cnn --label-parts shape,motion --dev "${runs[@]}"
fi
