#!/usr/bin/env bash
# LibriSpeech: read English books, 960 hours to train on, the published dev and test sets.
#
#   0  the corpus (OpenSLR 12, CC BY 4.0) and a language model (OpenSLR 11): downloaded, unless --corpus names a copy
#   1  data directories; FLAC files are read in place        2  language model, where it is built from the transcripts
#   3  train        4  decode dev (weights tuned there) and test (once)        5  score        6  tables
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 6)
#   --corpus DIR      a copy of the corpus: DIR/LibriSpeech/<part>/<speaker>/<chapter>/*.flac, or DIR/<part>/...
#   --mirror URL      where it is downloaded from: URL/12/<part>.tar.gz, URL/11/<lm>.arpa.gz
#   --parts "A B"     training parts (default "train-clean-100 train-clean-360 train-other-500")
#   --dev "A B"       dev parts; the first chooses checkpoints and search weights (default "dev-clean dev-other"); or
#                     "speakers": a tenth of the training speakers is held out
#   --tests "A B"     test parts (default "test-clean test-other")
#   --skip-bad WHICH  yes: go on without what is faulty, named and counted; no: stop (default no)
#   --conf NAME       configuration conf/NAME.yaml (default crnn; tiny shows the way in minutes)
#   --lm NAME         3-gram.pruned.3e-7, 3-gram.pruned.1e-7, 3-gram or 4-gram as published; train: built from the training
#                     transcripts; or an ARPA file (default 3-gram.pruned.1e-7)
#   --lm-order N      order of --lm train (default 3)
#   --beam N          width of the beam search (default 32)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    runs are called exp/librispeech/NAME_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
stage=0
stop_stage=6
corpus=""
mirror=https://www.openslr.org/resources
parts="train-clean-100 train-clean-360 train-other-500"
dev="dev-clean dev-other"
tests="test-clean test-other"
skip_bad=no
conf=crnn
lm=3-gram.pruned.1e-7
lm_order=3
beam=32
seed=1
seeds=""
exp_tag=crnn
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
. recipes/librispeech/local/stages.sh
