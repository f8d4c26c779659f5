#!/usr/bin/env bash
# Free Spoken Digit Dataset: real speech, six speakers, the official split and leave-one-speaker-out.
#
#   0  the corpus: downloaded (CC BY-SA 4.0), unless --corpus names a copy
#   1  data directories, with digit strings put together from training recordings
#   2  train on the official split       3  decode dev and test       4  score
#   5  leave one speaker out: train, decode and score a model for each of the six speakers
#   6  tables of all that has been scored
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 6; stage 5 trains six models, so 4 ends the official split)
#   --corpus DIR      a copy of the corpus: DIR/recordings/<digit>_<speaker>_<index>.wav
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --strings N       digit strings for each speaker (default 250)
#   --exp-tag NAME    runs are called exp/fsdd/NAME_seed<N> and NAME_loso_<speaker>_seed<N> (default crnn)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
#   --nj N            decode (greedily) as N jobs (default 1)
#   --cmd "COMMAND"   what runs jobs: run_local, or for example "run_slurm --partition cpu" (default: see recipes/utils/cmd.sh)
#   --folds KIND      loso, or tune: choose settings on other folds than those that are reported (default loso)
#   --speakers NAMES  the speakers to leave out in turn (default: all six)
stage=0
stop_stage=6
corpus=""
seed=1
seeds=""
strings=250
exp_tag=crnn
set=""
nj=1
cmd=""
folds=loso
speakers="george jackson lucas nicolas theo yweweler"

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/fsdd data=data/fsdd exp=exp/fsdd
read -r -a seeds <<<"${seeds:-$seed}"
read -r -a speakers <<<"$speakers"
train_options "$set"
case $folds in loso | tune) ;; *) die "--folds $folds: choose loso or tune" ;; esac

if begin 0 "corpus"; then
  if [ -z "$corpus" ]; then
    . $here/local/download.sh
    download_fsdd $data/corpus
  fi
fi

if begin 1 "data directories"; then
  python $here/local/prepare.py --corpus "${corpus:-$data/corpus}" --out $data --strings "$strings"
  asr data check $data/{train,dev,test} $data/{loso,tune}/*/{train,dev,test}
fi

if begin 2 "training"; then
  for seed in "${seeds[@]}"; do
    asr train --config $here/conf/crnn.yaml --train $data/train --dev $data/dev --exp "$exp/${exp_tag}_seed$seed" \
      "${train_options[@]}" --set seed="$seed"
  done
fi

if begin 3 "decoding"; then
  asr lm build --kaldi --text $data/train/text --order 2 --out $exp/lm.arpa.gz
  for seed in "${seeds[@]}"; do
    run=$exp/${exp_tag}_seed$seed
    for part in dev test; do
      decode_jobs "$nj" --model "$run/model.safetensors" --data $data/$part --out "$run/decode_${part}_greedy"
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

if begin 5 "leave one speaker out ($folds)"; then
  for seed in "${seeds[@]}"; do
    for speaker in "${speakers[@]}"; do
      fold=$data/$folds/$speaker
      run=$exp/${exp_tag}_${folds}_${speaker}_seed$seed
      out=$run/decode_test_greedy
      [ -d "$fold" ] || die "no such speaker: $speaker"
      log "without $speaker, seed $seed"
      asr train --config $here/conf/loso.yaml --train "$fold/train" --dev "$fold/dev" --exp "$run" \
        "${train_options[@]}" --set seed="$seed"
      decode_jobs "$nj" --model "$run/model.safetensors" --data "$fold/test" --out "$out"
      asr score --ref "$fold/test/text" --hyp "$out/text" --out "$out"
    done
  done
fi

if begin 6 "results"; then
  shopt -s nullglob
  for part in dev test; do
    for method in greedy beam; do
      python recipes/utils/results.py --title "Official split, $part, $method" $exp/"$exp_tag"_seed*/decode_${part}_$method
    done
  done
  for kind in loso tune; do
    python recipes/utils/results.py --title "Leave one speaker out ($kind)" $exp/"$exp_tag"_${kind}_*/decode_test_greedy
  done
fi
