# shellcheck shell=bash
# Stages 2 to 5 of a recipe that classifies the items of several sets: sourced after recipe.sh. It uses their options sets, systems,
# folds, seed, seeds, together, set, and
#
#   all_sets            array of the sets there are
#   own_systems         array of the systems there are beside cnn, rnn, cascade and the fusions
#   data, exp           the folder of the sets' tables, and the beginning of the names of runs
#   with_dev            array of the sets with a dev table, on which weights are chosen; of the others the last epochs are averaged,
#                       and settings are chosen on five folds of the training items
#   system SET SYSTEM   a function: the configuration of a system, as the array system_options; `arrange CONFIG SYSTEM` makes it of that
#                       of a parallel network, for cnn, rnn, cascade and the fusions
read -r -a sets <<<"$sets"
read -r -a systems <<<"$systems"
read -r -a seeds <<<"${seeds:-$seed}"
train_options "$set"
fusions=$(python -c 'from typing import get_args; from asr.config import FusionConfig as F
print(*get_args(F.model_fields["kind"].annotation))')
check_names --sets "${sets[*]}" "${all_sets[*]}"
check_names --systems "${systems[*]}" "cnn rnn cascade ${own_systems[*]-} $fusions"
case $folds in
  yes | no) ;;
  *) die "--folds $folds: choose yes or no" ;;
esac
case $together in
  "" | *[!0-9]* | 0*) die "--together $together: how many networks, 1 for none" ;;
esac
[ $((${#seeds[@]} % together)) -eq 0 ] || die "--together $together: ${#seeds[@]} seeds cannot be put into groups of $together"

# arrange CONFIG SYSTEM
arrange() {
  local network=(--config "$1")
  local alone=("${network[@]}" --set model.architecture=cascade)
  case $2 in
    cnn) system_options=("${alone[@]}" --set model.rnn.layers=0) ;;
    rnn) system_options=("${alone[@]}" --set "model.conv={over: time, layers: []}") ;;
    cascade) system_options=("${alone[@]}") ;;
    *) system_options=("${network[@]}" --set "model.fusion.kind=$2") ;;
  esac
}

# train_classifier SET SYSTEM SEED RUN TABLE [DEV]
train_classifier() {
  system "$1" "$2"
  asr classify train "${system_options[@]}" --train "$data/$1/$5.tsv" ${6:+--dev "$data/$1/$6.tsv"} --exp "$4" \
    "${train_options[@]}" --set "seed=$3"
}

# score_classifier SET RUN TABLE [MEMBER ...]: the run's own network, or the networks of these runs together
score_classifier() {
  local set=$1 run=$2 table=$3 member models=()
  shift 3
  for member in "${@:-$run}"; do models+=(--model "$member/model.safetensors"); done
  log "$run"
  asr classify evaluate "${models[@]}" --table "$data/$set/$table.tsv" --out "$run/eval_$table"
}

# has_dev SET
has_dev() { case " ${with_dev[*]-} " in *" $1 "*) ;; *) return 1 ;; esac }

classify_sets() {
  local each system seed fold run dev runs columns first members
  if [ "$folds" = yes ] && begin 2 "folds"; then
    for each in "${sets[@]}"; do
      if has_dev "$each"; then continue; fi
      for system in "${systems[@]}"; do
        for fold in 0 1 2 3 4; do
          run=$exp${each}_${system}_fold$fold
          train_classifier "$each" "$system" "${seeds[0]}" "$run" "fold${fold}_train"
          score_classifier "$each" "$run" "fold${fold}_test"
        done
      done
    done
  fi

  if begin 3 "training"; then
    for each in "${sets[@]}"; do
      dev=""
      if has_dev "$each"; then dev=dev; fi
      for system in "${systems[@]}"; do
        for seed in "${seeds[@]}"; do
          train_classifier "$each" "$system" "$seed" "$exp${each}_${system}_seed$seed" train "$dev"
        done
      done
    done
  fi

  if begin 4 "test"; then
    for each in "${sets[@]}"; do
      for system in "${systems[@]}"; do
        for seed in "${seeds[@]}"; do
          score_classifier "$each" "$exp${each}_${system}_seed$seed" test
        done
        for ((first = 0; together > 1 && first < ${#seeds[@]}; first += together)); do
          members=("${seeds[@]:first:together}")
          score_classifier "$each" "$exp${each}_${system}_x${together}_seed${members[0]}" test "${members[@]/#/$exp${each}_${system}_seed}"
        done
      done
    done
  fi

  if begin 5 "results"; then
    shopt -s nullglob
    for each in "${sets[@]}"; do
      runs=() columns=()
      for system in "${systems[@]}"; do runs+=("$exp${each}_$system"_seed*); done
      if has_dev "$each"; then columns=(--dev); fi
      python recipes/utils/classified.py --title "$each, test" --against cnn ${columns[@]+"${columns[@]}"} "${runs[@]}"
      [ "$together" -gt 1 ] || continue
      runs=()
      for system in "${systems[@]}"; do runs+=("$exp${each}_${system}_x$together"_seed*); done
      python recipes/utils/classified.py --title "$each, test, $together networks together" --against "cnn_x$together" "${runs[@]}"
    done
  fi
}
