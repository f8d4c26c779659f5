#!/usr/bin/env bash
# AN4: letters, numbers and commands, 74 speakers for training and ten strangers for test; 0.8 hours (CMU, 1991).
#
#   0  the corpus: downloaded, unless --corpus names a copy
#   1  data directories (dev: eight of the training speakers)        2  language model and words, from the training transcripts
#   3  with --strings N: a first network, and strings of the words that it finds in the training utterances (asr data recombine)
#   4  train        5  decode dev and test: greedy, beam search, and beam search with language
#   model and closed vocabulary        6  score        7  tables
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 7)
#   --corpus DIR      a copy of the corpus: the folder of etc/ and wav/, as in an4_sphere.tar.gz
#   --conf NAME       configuration, conf/NAME.yaml (default crnn: pieces of words; char: characters; strings: for --strings)
#   --strings N       strings of words to train on beside the 848 utterances (default 0: none)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --methods NAMES   ways of decoding (default "greedy beam beam_lm")
#   --order N         of the language model (default 3)
#   --exp-tag NAME    runs are called exp/an4/NAME_seed<N> (default: the name of the configuration)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
stage=0
stop_stage=7
corpus=""
conf=crnn
strings=0
seed=1
seeds=""
methods="greedy beam beam_lm"
order=3
exp_tag=""
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/an4 data=data/an4 exp=exp/an4
exp_tag=${exp_tag:-$conf}
lm=$exp/lm_$order.arpa.gz
read -r -a seeds <<<"${seeds:-$seed}"
read -r -a methods <<<"$methods"
train_options "$set"
[ -f "$here/conf/$conf.yaml" ] || die "--conf $conf: there is no $here/conf/$conf.yaml"

# The options of a way of decoding; the array decode_options.
method() {
  case $1 in
    greedy) decode_options=() ;;
    beam) decode_options=(--method beam) ;;
    beam_lm) decode_options=(--method beam --lm "$lm" --lexicon $exp/words.txt) ;;
    *) die "--methods $1: choose among greedy, beam and beam_lm" ;;
  esac
}

if begin 0 "corpus"; then
  if [ -z "$corpus" ]; then
    fetch https://dldata-public.s3.us-east-2.amazonaws.com/an4_sphere.tar.gz $data/corpus.tar.gz \
      a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12
    unpack $data/corpus.tar.gz $data/corpus
  fi
fi

if begin 1 "data directories"; then
  python $here/local/prepare.py --corpus "${corpus:-$data/corpus}" --out $data
  asr data check $data/{train,dev,test}
fi

if begin 2 "language model"; then
  mkdir -p $exp
  asr lm build --kaldi --text $data/train/text --order "$order" --out "$lm"
  cut -d ' ' -f 2- $data/train/text | tr ' ' '\n' | LC_ALL=C sort -u >$exp/words.txt.part
  mv $exp/words.txt.part $exp/words.txt
fi

train=$data/train
[ "$strings" = 0 ] || train=$data/train_strings
if [ "$strings" != 0 ] && begin 3 "strings"; then
  # One network and one set of strings for all seeds, so that these differ in nothing but their own.
  run=$exp/first_seed1
  asr train --config $here/conf/crnn.yaml --train $data/train --dev $data/dev --exp $run "${train_options[@]}" --set seed=1
  asr align --model $run/model.safetensors --data $data/train --out $run/align_train
  asr data recombine $data/train --ctm $run/align_train/words.ctm --count "$strings" --seed 1 --out $data/strings
  asr data combine $data/train $data/strings --out $data/train_strings
fi

if begin 4 "training"; then
  for seed in "${seeds[@]}"; do
    asr train --config "$here/conf/$conf.yaml" --train "$train" --dev $data/dev --exp "$exp/${exp_tag}_seed$seed" \
      "${train_options[@]}" --set seed="$seed"
  done
fi

if begin 5 "decoding"; then
  for seed in "${seeds[@]}"; do
    run=$exp/${exp_tag}_seed$seed
    for method in "${methods[@]}"; do
      method "$method"
      # Weights of the search are found on dev, and test is decoded once, with them.
      tune=() tuned=()
      if [ "$method" != greedy ]; then tune=(--tune) tuned=(--tuned "$run/decode_dev_$method/tuned.json"); fi
      asr decode --model "$run/model.safetensors" --data $data/dev --out "$run/decode_dev_$method" \
        ${decode_options[@]+"${decode_options[@]}"} ${tune[@]+"${tune[@]}"}
      asr decode --model "$run/model.safetensors" --data $data/test --out "$run/decode_test_$method" \
        ${decode_options[@]+"${decode_options[@]}"} ${tuned[@]+"${tuned[@]}"}
    done
  done
fi

if begin 6 "scoring"; then
  for seed in "${seeds[@]}"; do
    for part in dev test; do
      for method in "${methods[@]}"; do
        out=$exp/${exp_tag}_seed$seed/decode_${part}_$method
        log "$out"
        asr score --ref $data/$part/text --hyp "$out/text" --utt2spk $data/$part/utt2spk --out "$out"
      done
    done
  done
fi

if begin 7 "results"; then
  shopt -s nullglob
  for part in dev test; do
    for method in "${methods[@]}"; do
      python recipes/utils/results.py --title "AN4, $part, $method" $exp/"$exp_tag"_seed*/decode_${part}_$method
    done
  done
fi
