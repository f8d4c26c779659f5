#!/usr/bin/env bash
# Mini LibriSpeech: five hours of LibriSpeech to train on; the stages are those of recipes/librispeech.
#
#   0  the corpus (OpenSLR 31, CC BY 4.0) and a language model (OpenSLR 11): downloaded, unless --corpus names a copy
#   1  data directories; a tenth of the training speakers is dev, the published dev-clean-2 is test, as in Kaldi's recipe
#   2  language model, where it is built from the transcripts
#   3  train        4  decode dev (weights tuned there) and test (once)        5  score        6  tables
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 6)
#   --corpus DIR      a copy of the corpus: DIR/LibriSpeech/<part>/<speaker>/<chapter>/*.flac, or DIR/<part>/...
#   --mirror URL      where it is downloaded from: URL/31/<part>.tar.gz, URL/11/<lm>.arpa.gz
#   --parts "A B"     training parts (default train-clean-5)
#   --dev "A B"       dev parts; the first chooses checkpoints and search weights (default "speakers": a tenth of the training
#                     speakers is held out)
#   --tests "A B"     test parts (default dev-clean-2)
#   --skip-bad WHICH  yes: go on without what is faulty, named and counted; no: stop (default no)
#   --conf NAME       configuration conf/NAME.yaml (default crnn)
#   --lm NAME         3-gram.pruned.3e-7, 3-gram.pruned.1e-7, 3-gram or 4-gram as published; train: built from the training
#                     transcripts; or an ARPA file (default 3-gram.pruned.3e-7, Kaldi's tgsmall)
#   --lm-order N      order of --lm train (default 3)
#   --beam N          width of the beam search (default 32)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    runs are called exp/mini_librispeech/NAME_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
stage=0
stop_stage=6
corpus=""
mirror=https://www.openslr.org/resources
parts=train-clean-5
dev=speakers
tests=dev-clean-2
skip_bad=no
conf=crnn
lm=3-gram.pruned.3e-7
lm_order=3
beam=32
seed=1
seeds=""
exp_tag=crnn
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
. recipes/librispeech/local/stages.sh
