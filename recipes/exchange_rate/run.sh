#!/usr/bin/env bash
# Daily exchange rates of eight countries, 1990 to 2016, LSTNet's protocol: one step, 3 to 24 days ahead.
#
#   0  the table: downloaded, unless --corpus names a copy
#   1  baselines on test: last value, the same weekday, mean of the window, autoregression, NLinear
#   2  train a network for each horizon and seed; the validation part chooses its weights
#   3  score them on test, every window
#   4  tables: baselines, published figures and ours
#
# Options:
#   --stage N          first stage to run (default 0)
#   --stop-stage N     last stage to run (default 4)
#   --corpus DIR       a copy of the table: DIR/exchange_rate.txt.gz
#   --horizons LIST    rows ahead (default "3 6 12 24")
#   --seed N           seed of the training (default 1)
#   --seeds "1 2 3"    several seeds, one run each; takes the place of --seed
#   --exp-tag NAME     runs are called exp/exchange_rate/NAME_<horizon>_seed<N> (default gru)
#   --baselines LIST   those of stage 1 (default: last, five rows before, mean of 168, AR-24, NLinear)
#   --set "A=B C=D"    configuration values to change, as in `asr forecast train --set A=B --set C=D`
stage=0
stop_stage=4
corpus=""
horizons="3 6 12 24"
seed=1
seeds=""
exp_tag=gru
baselines="last seasonal:5 mean:168 ar:24 nlinear:24"
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/exchange_rate table=${corpus:-data/exchange_rate}/exchange_rate.txt.gz exp=exp/exchange_rate
read -r -a horizons <<<"$horizons"
read -r -a seeds <<<"${seeds:-$seed}"
read -r -a baselines <<<"$baselines"
train_options "$set"
config=$here/conf/exchange_rate.yaml

if begin 0 "table"; then
  if [ -z "$corpus" ]; then
    fetch https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master/exchange_rate/exchange_rate.txt.gz \
      "$table" 6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d
  fi
fi

if begin 1 "baselines"; then
  for horizon in "${horizons[@]}"; do
    asr forecast evaluate --config $config "${train_options[@]:1}" --set "forecast.horizon=$horizon" --data "$table" \
      --out "$exp/baselines_$horizon/test" "${baselines[@]/#/--baseline=}"
  done
fi

if begin 2 "training"; then
  for horizon in "${horizons[@]}"; do
    for seed in "${seeds[@]}"; do
      asr forecast train --config $config --data "$table" --exp "$exp/${exp_tag}_${horizon}_seed$seed" "${train_options[@]}" \
        --set "forecast.horizon=$horizon" --set "seed=$seed"
    done
  done
fi

if begin 3 "test"; then
  for horizon in "${horizons[@]}"; do
    for seed in "${seeds[@]}"; do
      run=$exp/${exp_tag}_${horizon}_seed$seed
      asr forecast evaluate --model "$run/model.safetensors" --data "$table" --out "$run/test"
    done
  done
fi

if begin 4 "results"; then
  shopt -s nullglob
  runs=()
  for horizon in "${horizons[@]}"; do
    runs+=("$exp/${exp_tag}_${horizon}"_seed*/test)  # by horizon: exp_tag_*_seed* takes those of exp_tag_more as well
  done
  python recipes/utils/forecasts.py --title "exchange_rate, test" --metrics rse,corr --published $here/conf/published.yaml \
    --key exchange_rate --baselines $exp/baselines_*/test --runs "${runs[@]}"
fi
