#!/usr/bin/env bash
# Sentences: do they praise or blame (SST-2), and what do they ask for (TREC, six classes). No pretrained vectors unless named.
#
#   0  the corpus: downloaded, unless --corpus names a copy
#   1  tables, and of TREC five folds of the training questions
#   2  with --folds yes: TREC's folds, trained and scored with --systems; settings are chosen there, test is not looked at
#   3  training: SST-2's weights are chosen on its dev part; TREC has none, its last epochs are averaged
#   4  test        5  tables of results
#
# Systems: bag (words and bigrams, hashed, no order beyond), cnn, rnn, cascade, or a fusion of the parallel network: concat, sum,
# gated, glu, bilinear, film, cross_attention, squeeze_excite.
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 5)
#   --corpus DIR      a copy: DIR/stsa.binary.{train,dev,test} and DIR/TREC.{train,test}.all
#   --sets NAMES      which of the two (default "sst2 trec")
#   --systems NAMES   (default "bag cnn rnn cascade concat gated")
#   --vectors FILE    pretrained vectors to begin with, in word2vec's or GloVe's text format
#   --dim N           their width (default: that of the random ones in the configuration)
#   --folds yes       also run stage 2 (default no)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --together N      also score the networks of every N seeds together, by their mean probability (default 1: no)
#   --exp-tag NAME    goes before the names of runs, exp/sst2/[NAME_]<set>_<system>_seed<N>
#   --set "A=B C=D"   configuration values to change, as in `asr classify train --set A=B --set C=D`
stage=0
stop_stage=5
corpus=""
sets="sst2 trec"
systems="bag cnn rnn cascade concat gated"
vectors=""
dim=""
folds=no
seed=1
seeds=""
together=1
exp_tag=""
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/sst2 data=data/sst2 exp=exp/sst2/${exp_tag:+${exp_tag}_}
all_sets=(sst2 trec) own_systems=(bag) with_dev=(sst2)
. recipes/utils/classify.sh

# system SET SYSTEM: each set has a configuration of its own; the bag is the same for both.
system() {
  case $2 in
    bag) system_options=(--config $here/conf/bag.yaml) ;;
    *) arrange "$here/conf/$1.yaml" "$2" ;;
  esac
  [ -z "$vectors" ] || system_options+=(--set "inputs.0.text.vectors=$vectors")
  [ -z "$dim" ] || system_options+=(--set "inputs.0.text.dim=$dim")
}

if begin 0 "corpus"; then
  if [ -z "$corpus" ]; then
    . $here/local/download.sh
    download_sentences $data/corpus
  fi
fi

if begin 1 "tables"; then
  python $here/local/prepare.py --corpus "${corpus:-$data/corpus}" --out $data
fi

classify_sets
