#!/usr/bin/env bash
# Spoken digits, one label each: cascade, parallel with every fusion, attention, and each stage alone, of equal size.
#
#   0  the corpus: downloaded (CC BY-SA 4.0), unless --corpus names a copy
#   1  tables of recordings: the official split, and leave-one-speaker-out
#   2  train every variant on the official split     3  score on test
#   4  leave one speaker out: train and score --loso variants for each of the six speakers
#   5  tables, and a picture of the variants
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 5)
#   --corpus DIR      a copy of the corpus: DIR/recordings/<digit>_<speaker>_<index>.wav
#   --variants NAMES  of conf/variants.tsv (default: all)
#   --loso NAMES      variants for stage 4 (default "cnn cascade parallel_concat")
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --set "A=B C=D"   configuration values to change, as in `asr classify train --set A=B --set C=D`
#   --speakers NAMES  the speakers to leave out in turn (default: all six)
stage=0
stop_stage=5
corpus=""
variants=""
loso="cnn cascade parallel_concat"
seed=1
seeds=""
set=""
speakers="george jackson lucas nicolas theo yweweler"

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/fsdd_parallel data=data/fsdd_parallel exp=exp/fsdd_parallel
read -r -a variants <<<"${variants:-$(cut -f 1 $here/conf/variants.tsv | tr '\n' ' ')}"
read -r -a loso <<<"$loso"
read -r -a seeds <<<"${seeds:-$seed}"
read -r -a speakers <<<"$speakers"

# What conf/variants.tsv says a variant is: the array variant_options.
variant() {
  local keys
  keys=$(awk -F '\t' -v name="$1" '$1 == name { print $2 }' $here/conf/variants.tsv)
  [ -n "$keys" ] || die "no such variant: $1; conf/variants.tsv has $(cut -f 1 $here/conf/variants.tsv | tr '\n' ' ')"
  train_options "$keys $set"
}

# train VARIANT SEED TABLES RUN
train() {
  variant "$1"
  asr classify train --config $here/conf/base.yaml --train "$3/train/items.tsv" --dev "$3/dev/items.tsv" --exp "$4" \
    "${train_options[@]}" --set "seed=$2"
}

# score RUN TABLES
score() {
  log "$1"
  asr classify evaluate --model "$1/model.safetensors" --table "$2/test/items.tsv" --out "$1/eval_test"
}

for name in "${variants[@]}" "${loso[@]}"; do variant "$name"; done

if begin 0 "corpus"; then
  if [ -z "$corpus" ]; then
    . recipes/fsdd/local/download.sh
    download_fsdd $data/corpus
  fi
fi

if begin 1 "tables"; then
  python recipes/fsdd/local/prepare.py --corpus "${corpus:-$data/corpus}" --out $data --strings 0
  python $here/local/tables.py $data/{train,dev,test} $data/loso/*/{train,dev,test}
fi

if begin 2 "training"; then
  for seed in "${seeds[@]}"; do
    for name in "${variants[@]}"; do
      train "$name" "$seed" $data "$exp/${name}_seed$seed"
    done
  done
fi

if begin 3 "test"; then
  for seed in "${seeds[@]}"; do
    for name in "${variants[@]}"; do
      score "$exp/${name}_seed$seed" $data
    done
  done
fi

if begin 4 "leave one speaker out"; then
  for seed in "${seeds[@]}"; do
    for name in "${loso[@]}"; do
      folds=()
      for speaker in "${speakers[@]}"; do
        run=$exp/loso_$speaker/${name}_seed$seed
        [ -d "$data/loso/$speaker" ] || die "no such speaker: $speaker"
        train "$name" "$seed" "$data/loso/$speaker" "$run"
        score "$run" "$data/loso/$speaker"
        folds+=("$run/eval_test")
      done
      python $here/local/join.py --out "$exp/loso/${name}_seed$seed/eval_test" "${folds[@]}"
    done
  done
fi

if begin 5 "results"; then
  shopt -s nullglob
  runs=()
  for name in "${variants[@]}"; do runs+=("$exp/$name"_seed*); done
  python recipes/utils/classified.py --title "Official split, test" --dev --seconds --against cascade "${runs[@]}"
  [ ${#runs[@]} -eq 0 ] || python $here/local/picture.py --out $exp/variants.png "${runs[@]}"
  runs=()
  for name in "${loso[@]}"; do runs+=("$exp/loso/$name"_seed*); done
  python recipes/utils/classified.py --title "Leave one speaker out" --against cnn "${runs[@]}"
  for speaker in "${speakers[@]}"; do
    runs=()
    for name in "${loso[@]}"; do runs+=("$exp/loso_$speaker/$name"_seed*); done
    python recipes/utils/classified.py --title "Without $speaker" "${runs[@]}"
  done
fi
