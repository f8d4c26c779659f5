#!/usr/bin/env bash
# Electricity transformers, hour by hour: ETTh1 and ETTh2, the standard protocol, horizons of 4 to 30 days.
#
#   0  the tables: downloaded (CC BY-ND 4.0), unless --corpus names a copy
#   1  baselines on test: last value, seasonal naive, daily profile, autoregression, linear
#   2  train a network for each table, horizon and seed; the validation part chooses its weights
#   3  score them on test, every window
#   4  tables: baselines, published figures and ours
#
# Options:
#   --stage N          first stage to run (default 0)
#   --stop-stage N     last stage to run (default 4)
#   --corpus DIR       a copy of the tables: DIR/ETTh1.csv and DIR/ETTh2.csv
#   --tables NAMES     which of the two (default "ETTh1 ETTh2")
#   --horizons LIST    rows ahead (default "96 192 336 720")
#   --seed N           seed of the training (default 1)
#   --seeds "1 2 3"    several seeds, one run each; takes the place of --seed
#   --exp-tag NAME     runs are called exp/etth1/NAME_<table>_<horizon>_seed<N> (default gru)
#   --baselines LIST   those of stage 1 (default: last, day and week before, 14-day profile, AR, linear and NLinear)
#   --set "A=B C=D"    configuration values to change, as in `asr forecast train --set A=B --set C=D`
stage=0
stop_stage=4
corpus=""
tables="ETTh1 ETTh2"
horizons="96 192 336 720"
seed=1
seeds=""
exp_tag=gru
baselines="last seasonal:24 seasonal:168 profile:24x14 ar:24 linear:336 nlinear:336 nlinear:504 nlinear:720"
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/etth1 data=${corpus:-data/etth1} exp=exp/etth1
read -r -a tables <<<"$tables"
read -r -a horizons <<<"$horizons"
read -r -a seeds <<<"${seeds:-$seed}"
read -r -a baselines <<<"$baselines"
train_options "$set"

# The configuration of a table at a horizon: conf/<table>_long.yaml from two weeks on, where there is one.
config_of() {
  if [ "$2" -ge 336 ] && [ -f "$here/conf/$1_long.yaml" ]; then echo "$here/conf/$1_long.yaml"; else echo "$here/conf/$1.yaml"; fi
}

if begin 0 "tables"; then
  if [ -z "$corpus" ]; then
    source=https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small
    fetch $source/ETTh1.csv "$data/ETTh1.csv" f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066
    fetch $source/ETTh2.csv "$data/ETTh2.csv" a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b
  fi
fi

if begin 1 "baselines"; then
  for table in "${tables[@]}"; do
    for horizon in "${horizons[@]}"; do
      asr forecast evaluate --config "$(config_of "$table" "$horizon")" "${train_options[@]:1}" --set "forecast.horizon=$horizon" \
        --data "$data/$table.csv" --out "$exp/baselines_${table}_$horizon/test" "${baselines[@]/#/--baseline=}"
    done
  done
fi

if begin 2 "training"; then
  for table in "${tables[@]}"; do
    for horizon in "${horizons[@]}"; do
      for seed in "${seeds[@]}"; do
        asr forecast train --config "$(config_of "$table" "$horizon")" --data "$data/$table.csv" \
          --exp "$exp/${exp_tag}_${table}_${horizon}_seed$seed" "${train_options[@]}" \
          --set "forecast.horizon=$horizon" --set "seed=$seed"
      done
    done
  done
fi

if begin 3 "test"; then
  for table in "${tables[@]}"; do
    for horizon in "${horizons[@]}"; do
      for seed in "${seeds[@]}"; do
        run=$exp/${exp_tag}_${table}_${horizon}_seed$seed
        asr forecast evaluate --model "$run/model.safetensors" --data "$data/$table.csv" --out "$run/test"
      done
    done
  done
fi

if begin 4 "results"; then
  shopt -s nullglob
  for table in "${tables[@]}"; do
    python recipes/utils/forecasts.py --title "$table, test" --metrics mse,mae --published $here/conf/published.yaml --key "$table" \
      --baselines $exp/baselines_"${table}"_*/test --runs $exp/"${exp_tag}_${table}"_*_seed*/test
  done
fi
