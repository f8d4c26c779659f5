#!/usr/bin/env bash
# Yes and no, the classic of Kaldi: one speaker, 60 recordings of eight words.
#
#   0  the corpus: downloaded (OpenSLR 1), unless --corpus names a copy
#   1  data directories        2  train        3  decode dev and test        4  score        5  table
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 5)
#   --corpus DIR      a copy of the corpus: the folder of the wav files, or the one above it
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    runs are called exp/yesno/NAME_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
stage=0
stop_stage=5
corpus=""
seed=1
seeds=""
exp_tag=crnn
set=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/yesno data=data/yesno exp=exp/yesno
read -r -a seeds <<<"${seeds:-$seed}"
train_options "$set"

if begin 0 "corpus"; then
  if [ -z "$corpus" ]; then
    fetch https://www.openslr.org/resources/1/waves_yesno.tar.gz $data/corpus.tar.gz
    unpack $data/corpus.tar.gz $data/corpus
  fi
fi

if begin 1 "data directories"; then
  python $here/local/prepare.py --corpus "${corpus:-$data/corpus}" --out $data
  asr data check $data/{train,dev,test}
fi

if begin 2 "training"; then
  for seed in "${seeds[@]}"; do
    asr train --config $here/conf/crnn.yaml --train $data/train --dev $data/dev --exp "$exp/${exp_tag}_seed$seed" \
      "${train_options[@]}" --set seed="$seed"
  done
fi

if begin 3 "decoding"; then
  for seed in "${seeds[@]}"; do
    run=$exp/${exp_tag}_seed$seed
    for part in dev test; do
      asr decode --model "$run/model.safetensors" --data $data/$part --out "$run/decode_${part}_greedy"
    done
  done
fi

if begin 4 "scoring"; then
  for seed in "${seeds[@]}"; do
    for part in dev test; do
      out=$exp/${exp_tag}_seed$seed/decode_${part}_greedy
      log "$out"
      asr score --ref $data/$part/text --hyp "$out/text" --out "$out"
    done
  done
fi

if begin 5 "results"; then
  shopt -s nullglob
  for part in dev test; do
    python recipes/utils/results.py --title "Yes and no, $part" $exp/"$exp_tag"_seed*/decode_${part}_greedy
  done
fi
