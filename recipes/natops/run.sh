#!/usr/bin/env bash
# Gestures and voices as series of sensors: NATOPS and JapaneseVowels, one label each; every network on the same data and budget.
#
#   0  the data sets: downloaded, unless --corpus names a copy
#   1  tables of items, and five folds of the training items
#   2  with --folds yes: train and score --systems on the folds, where settings are chosen; test is not looked at
#   3  train on all training items       4  score on test
#   5  tables
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 5)
#   --corpus DIR      a copy of the data sets: DIR/natops/*.ts and DIR/japanese_vowels/*.ts
#   --sets NAMES      which of them (default "natops japanese_vowels")
#   --systems NAMES   cnn, rnn, cascade, transformer, or a fusion of the parallel network: concat, sum, gated, glu, bilinear,
#                     film, cross_attention, squeeze_excite
#   --folds yes       also run stage 2 (default no)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --together N      also score the networks of every N seeds together, by their mean probability (default 1: no)
#   --exp-tag NAME    goes before the names of runs, exp/natops/[NAME_]<set>_<system>_seed<N>
#   --set "A=B C=D"   configuration values to change, as in `asr classify train --set A=B --set C=D`
stage=0
stop_stage=5
corpus=""
sets="natops japanese_vowels"
systems="cnn rnn cascade concat gated bilinear film"
folds=no
seed=1
seeds=""
together=1
exp_tag=""
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/natops data=data/natops exp=exp/natops/${exp_tag:+${exp_tag}_}
all_sets=(natops japanese_vowels) own_systems=(transformer) with_dev=()
. recipes/utils/classify.sh

# system SET SYSTEM: both sets have the one configuration.
system() {
  case $2 in
    transformer)
      arrange $here/conf/parallel.yaml cascade
      system_options+=(--set model.rnn.layers=0 --set "model.attention={layers: 1, dim: 96, feedforward: 192}") ;;
    *) arrange $here/conf/parallel.yaml "$2" ;;
  esac
}

if begin 0 "data sets"; then
  if [ -z "$corpus" ]; then
    . $here/local/download.sh
    download_sets $data/corpus
  fi
fi

if begin 1 "tables"; then
  python $here/local/prepare.py --corpus "${corpus:-$data/corpus}" --out $data
fi

classify_sets
