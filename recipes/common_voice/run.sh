#!/usr/bin/env bash
# Common Voice, any language: sentences that volunteers read, mp3 of 32 or 48 kHz (CC0).
#
#   1  data directories; clips are read in place        2  what is suspicious in them; a language model
#   3  train        4  decode dev (weights tuned there) and test (once)        5  score        6  tables
#
# The corpus is not downloaded here: Mozilla gives it to those who have an account and accept its terms. Get the release of
# your language at https://datacollective.mozillafoundation.org (older ones: https://commonvoice.mozilla.org/datasets), unpack
# it, and name the folder that holds clips/ and the tables: --corpus cv-corpus-19.0-2024-09-13/eu
#
# Options:
#   --stage N         first stage to run (default 1)
#   --stop-stage N    last stage to run (default 6)
#   --corpus DIR      one language of a release: DIR/clips/*.mp3, DIR/train.tsv, dev.tsv, test.tsv, validated.tsv
#   --language NAME   what data and runs are called: data/common_voice/NAME (default: the name of that folder)
#   --split WHICH     official: the published parts; own: the clients of validated.tsv in 80, 10 and 10 % (default official)
#   --split-seed N    seed of --split own (default 1)
#   --normalizer NAME what is done to the sentences (docs/tokens.md has the names): basic, basic-de, ... (default basic)
#   --skip-bad WHICH  yes: go on without what is faulty, named and counted; no: stop (default no)
#   --conf NAME       configuration conf/NAME.yaml (default crnn)
#   --lm-order N      order of the language model of the training sentences (default 3)
#   --beam N          width of the beam search (default 16)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    runs are called exp/common_voice/<language>/NAME_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
stage=1
stop_stage=6
corpus=""
language=""
split=official
split_seed=1
normalizer=basic
skip_bad=no
conf=crnn
lm_order=3
beam=16
seed=1
seeds=""
exp_tag=crnn
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/common_voice
if [ -z "$language" ]; then
  [ -n "$corpus" ] || die "name the folder of a release with --corpus DIR; where to get one: ./run.sh common_voice --help"
  language=$(basename "$corpus")
fi
data=data/common_voice/$language exp=exp/common_voice/$language
dev=(dev) tests=(test) lm_file=$exp/lm.arpa.gz
. recipes/utils/speech.sh

if begin 1 "data directories"; then
  [ -n "$corpus" ] || die "name the folder of a release with --corpus DIR; where to get one: ./run.sh common_voice --help"
  prepare_options+=(--split "$split" --seed "$split_seed" --normalizer "$normalizer")
  python $here/local/prepare.py --corpus "$corpus" --out "$data" "${prepare_options[@]}"
  asr data check "$data"/{train,dev,test}
fi

if begin 2 "what is suspicious, and a language model"; then
  asr data info --deep "$data"/{train,dev,test} --out "$data/suspicious.tsv"
  asr lm build --kaldi --text "$data/train/text" --order "$lm_order" --out "$lm_file"
fi

train_decode_score
