#!/usr/bin/env bash
# AN4: letters, numbers and commands, 74 speakers for training and ten strangers for test; 0.8 hours (CMU, 1991).
#
#   0  the corpus: downloaded, unless --corpus names a copy
#   1  data directories (dev: eight of the training speakers)
#   2  language model and words, from the training transcripts
#   3  train        4  decode dev (weights tuned there) and test (once)        5  score        6  tables
#   7  the ablation, where --stop-stage 7 asks for it: each row of conf/ablation_CONF.tsv trained, decoded by --methods with search
#      weights of its own, measured on dev, and in a table for each method
#
# Options:
#   --stage N         first stage to run (default 0)
#   --stop-stage N    last stage to run (default 6)
#   --corpus DIR      a copy of the corpus: the folder of etc/ and wav/, as in an4_sphere.tar.gz
#   --conf NAME       configuration, conf/NAME.yaml (default crnn; wide: voices varied widely, 60 epochs; pieces: pieces of words)
#   --tokens phones   the phones of the corpus' dictionary in place of the configuration's tokens
#   --all yes         the last training: dev's speakers as well, the last epochs averaged, and the search weights that a run without
#                     them has found (--methods greedy needs none); runs are called NAME_all_seed<N> (default no)
#   --seed N          seed of the training (default 1)
#   --seeds "1 2 3"   several seeds, one run each; takes the place of --seed
#   --methods NAMES   ways of decoding (default all: "greedy beam beam_words beam_lm"; beam_words has a closed vocabulary, beam_lm the
#                     language model as well; with phones, greedy and beam know the dictionary's words)
#   --beam N          width of the beam search (default 16)
#   --order N         of the language model (default 3)
#   --exp-tag NAME    runs are called exp/an4/NAME_seed<N> (default: the name of the configuration; with phones, phones)
#   --set "A=B C=D"   configuration values to change, as in `asr train --set A=B --set C=D`
#   --rows NAMES      of that table, for stage 7 (default: all; the first is what the others are compared with)
stage=0
stop_stage=6
corpus=""
conf=crnn
tokens=""
all=no
seed=1
seeds=""
methods="greedy beam beam_words beam_lm"
beam=16
order=3
exp_tag=""
set=""
rows=""

. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
here=recipes/an4 data=data/an4 exp=exp/an4
case $tokens in
  phones)
    set="tokenizer.kind=phone tokenizer.lexicon=$data/lexicon.txt${set:+ $set}"
    case $conf in crnn) exp_tag=${exp_tag:-phones} ;; *) exp_tag=${exp_tag:-${conf}_phones} ;; esac ;;
  "") exp_tag=${exp_tag:-$conf} ;;
  *) die "--tokens $tokens: choose phones, or leave it out" ;;
esac
dev=(dev) tests=(test) train=$data/train
case $all in
  yes) dev=() train=$data/train_all tuned_in=$exp/${exp_tag}_seed1/decode_dev exp_tag=${exp_tag}_all ;;
  no) ;;
  *) die "--all $all: choose yes or no" ;;
esac
lm_file=$exp/lm_${order}_${train##*/}.arpa.gz words=$exp/words_${train##*/}.txt
read -r -a methods <<<"$methods"
for method in "${methods[@]}"; do
  case $method in
    greedy | beam | beam_words | beam_lm) ;;
    *) die "--methods $method: choose among greedy, beam, beam_words and beam_lm" ;;
  esac
done
. recipes/utils/speech.sh

search_options() {
  search_options=(--beam "$beam")
  if [ "$1" != beam ]; then search_options+=(--lexicon "$words"); fi
  if [ "$1" = beam_lm ]; then search_options+=(--lm "$lm_file"); fi
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
  asr data combine $data/train $data/dev --out $data/train_all
fi

if begin 2 "language model"; then
  mkdir -p $exp
  asr lm build --kaldi --text "$train/text" --order "$order" --out "$lm_file"
  cut -d ' ' -f 2- "$train/text" | tr ' ' '\n' | LC_ALL=C sort -u >"$words.part"
  mv "$words.part" "$words"
fi

train_decode_score

if begin 7 "ablation"; then
  changes=$here/conf/ablation_$conf.tsv
  [ -f "$changes" ] || die "there is no ablation of --conf $conf: $changes"
  read -r -a rows <<<"${rows:-$(cut -f 1 "$changes" | tr '\n' ' ')}"
  for name in "${rows[@]}"; do
    keys=$(awk -F '\t' -v name="$name" '$1 == name { print $2; found = 1 } END { exit !found }' "$changes") ||
      die "--rows $name: $changes has $(cut -f 1 "$changes" | tr '\n' ' ')"
    train_options "$set $keys"
    for seed in "${seeds[@]}"; do
      run=$exp/${exp_tag}_ablation/${name}_seed$seed
      asr train --config "$here/conf/$conf.yaml" --train "$data/train" --dev "$data/dev" --exp "$run" \
        "${train_options[@]}" --set "seed=$seed"
      for method in "${methods[@]}"; do
        out=$run/decode_dev_$method search=()
        if [ "$method" != greedy ]; then
          search_options "$method"
          search=(--method beam "${search_options[@]}" --tune)  # each row is given the search that suits it
        fi
        asr decode --model "$run/model.safetensors" --data "$data/dev" --out "$out" ${search[@]+"${search[@]}"}
        asr score --ref "$data/dev/text" --hyp "$out/text" --utt2spk "$data/dev/utt2spk" --out "$out"
      done
    done
  done
  for method in "${methods[@]}"; do
    outs=()
    for name in "${rows[@]}"; do
      for seed in "${seeds[@]}"; do outs+=("$exp/${exp_tag}_ablation/${name}_seed$seed/decode_dev_$method"); done
    done
    python recipes/utils/results.py --title "Ablation, dev, $method" --against "${rows[0]}" "${outs[@]}"
  done
fi
