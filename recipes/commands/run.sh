#!/usr/bin/env bash
# Spoken commands, synthesised here: nothing to download, a recogniser in minutes.
#
#   0  synthesise the corpus        1  check it        2  train        3  decode dev and test        4  score
#   5  table, and one recording transcribed
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 5)
#   --jobs N          processes that synthesise (default 0: one for each core)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --exp-tag NAME    runs are called exp/commands/NAME_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
#   --data-seed N     seed of the corpus (default 1)
#   --train N         training utterances (default 4000)
#   --dev N           development utterances (default 300)
#   --test N          test utterances (default 480)
stage=0
stop_stage=5
jobs=0
seed=1
seeds=""
exp_tag=crnn
set=""
data_seed=1
train=4000
dev=300
test=480

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/commands data=data/commands exp=exp/commands
read -r -a seeds <<<"${seeds:-$seed}"
train_options "$set"

if begin 0 "corpus"; then
  OMP_NUM_THREADS=1 python $here/local/synthesize.py --out $data --jobs "$jobs" --seed "$data_seed" \
    --train "$train" --dev "$dev" --test "$test"
fi

if begin 1 "data directories"; then
  asr data check $data/{train,dev,test}
  asr data info $data/{train,dev,test}
fi

if begin 2 "training"; then
  for seed in "${seeds[@]}"; do
    asr train --config $here/conf/crnn.yaml --train $data/train --dev $data/dev --exp "$exp/${exp_tag}_seed$seed" \
      "${train_options[@]}" --set seed="$seed"
  done
fi

if begin 3 "decoding"; then
  asr lm build --kaldi --text $data/train/text --order 3 --out $exp/lm.arpa.gz
  for seed in "${seeds[@]}"; do
    run=$exp/${exp_tag}_seed$seed
    for part in dev test; do
      asr decode --model "$run/model.safetensors" --data $data/$part --out "$run/decode_${part}_greedy"
    done
    # The weights of the search are found on dev, and test is decoded once, with them.
    asr decode --model "$run/model.safetensors" --data $data/dev --out "$run/decode_dev_beam" --method beam \
      --lm $exp/lm.arpa.gz --tune
    asr decode --model "$run/model.safetensors" --data $data/test --out "$run/decode_test_beam" --method beam \
      --lm $exp/lm.arpa.gz --tuned "$run/decode_dev_beam/tuned.json"
  done
fi

if begin 4 "scoring"; then
  for seed in "${seeds[@]}"; do
    for part in dev test; do
      for method in greedy beam; do
        out=$exp/${exp_tag}_seed$seed/decode_${part}_$method
        log "$out"
        asr score --ref $data/$part/text --hyp "$out/text" --utt2spk $data/$part/utt2spk --out "$out"
      done
    done
  done
fi

if begin 5 "results"; then
  shopt -s nullglob
  for part in dev test; do
    for method in greedy beam; do
      python recipes/utils/results.py --title "Spoken commands, $part, $method" $exp/"$exp_tag"_seed*/decode_${part}_$method
    done
  done

  run=$exp/${exp_tag}_seed${seeds[0]}
  read -r utterance words <$data/test/text
  wav=$data/test/wav/$utterance.wav
  printf '\nasr transcribe --model %s %s\n' "$run/model.safetensors" "$wav"
  heard=$(asr transcribe --model "$run/model.safetensors" "$wav")
  printf '  said:  %s\n  heard: %s\n' "$words" "${heard#*$'\t'}"

  printf '\nThe model:           %s\nHow it learned:      %s\nWord error rates:    %s\nEvery word compared: %s\n' \
    "$run/model.safetensors" "$run/curves.png" "$run/decode_test_beam/scores.json" \
    "$run/decode_test_beam/alignments.txt"
fi
