#!/usr/bin/env bash
# Your own recordings: a folder of audio and a table of what is said in it, to a recogniser and its word error rate.
#
#   1  data directories        2  what is suspicious in them; a language model        3  train
#   4  decode dev (weights tuned there) and test (once)        5  score        6  tables
#
#   ./run.sh template --corpus recordings --table transcripts.csv --name mine
#
# The table is a .csv, or its columns are parted by tabs. With a first line that names them: file, text, and if you have them
# speaker and split (train, dev, test); without one, a row is a file and its text. Without a split it is drawn: 80, 10 and 10 %, by
# speaker where three or more are known.
#
# Options:
#   --stage N         first stage to run (default 1)
#   --stop-stage N    last stage to run (default 6)
#   --corpus DIR      the folder of the recordings (wav, flac, mp3, ogg, opus, ...)
#   --table FILE      what is said in them
#   --name NAME       what data and runs are called: data/NAME, exp/NAME (default mine)
#   --split-seed N    seed of the split (default 1)
#   --normalizer NAME what is done to the texts; docs/tokens.md has the names (default basic: lower case, no punctuation)
#   --skip-bad WHICH  yes: go on without what is faulty, named and counted; no: stop (default no)
#   --conf NAME       configuration conf/NAME.yaml (default crnn)
#   --lm-order N      order of the language model of the training texts (default 2)
#   --beam N          width of the beam search (default 16)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    runs are called exp/<name>/NAME_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
stage=1
stop_stage=6
corpus=""
table=""
name=mine
split_seed=1
normalizer=basic
skip_bad=no
conf=crnn
lm_order=2
beam=16
seed=1
seeds=""
exp_tag=crnn
set=""
called_from=$PWD

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/template data=data/$name exp=exp/$name
dev=(dev) tests=(test) lm_file=$exp/lm.arpa.gz
. recipes/utils/speech.sh

if begin 1 "data directories"; then
  { [ -n "$corpus" ] && [ -n "$table" ]; } || die "name your recordings and their transcripts: --corpus DIR --table FILE"
  case $table in /*) ;; *) table=$called_from/$table ;; esac
  prepare_options+=(--seed "$split_seed" --normalizer "$normalizer")
  python $here/local/prepare.py --corpus "$corpus" --table "$table" --out "$data" "${prepare_options[@]}"
  asr data check "$data"/{train,dev,test}
fi

if begin 2 "what is suspicious, and a language model"; then
  asr data info --deep "$data"/{train,dev,test} --out "$data/suspicious.tsv"
  asr lm build --kaldi --text "$data/train/text" --order "$lm_order" --out "$lm_file"
fi

train_decode_score
