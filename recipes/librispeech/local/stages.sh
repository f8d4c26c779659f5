# shellcheck shell=bash
# The stages of librispeech and mini_librispeech; their run.sh set the options and source this after recipe.sh.
here=recipes/$recipe data=data/$recipe exp=exp/$recipe
. recipes/utils/speech.sh
. recipes/librispeech/local/download.sh
read -r -a parts <<<"$parts"
read -r -a dev <<<"$dev"
read -r -a tests <<<"$tests"

# The dev parts, or with "speakers" a tenth of the training speakers.
held_out=no
[ "${dev[*]}" != speakers ] || { held_out=yes dev=(dev); }
[ "$held_out" = yes ] && published=("${parts[@]}" "${tests[@]}") || published=("${parts[@]}" "${dev[@]}" "${tests[@]}")

if begin 0 "corpus"; then
  if [ -z "$corpus" ]; then
    for part in "${published[@]}"; do download_part "$mirror" "$part" "$data"/corpus; done
  fi
  case $lm in
    train | */* | *.arpa | *.gz) ;;
    *) download_lm "$mirror" "$lm" "$data/lm/$lm.arpa.gz" ;;
  esac
fi
case $lm in
  train) lm_file=$exp/lm_$lm_order.arpa.gz ;;
  */* | *.arpa | *.gz) lm_file=$lm ;;
  *) lm_file=$data/lm/$lm.arpa.gz ;;
esac

if begin 1 "data directories"; then
  python recipes/librispeech/local/prepare.py --corpus "${corpus:-$data/corpus}" --out "$data" --parts "${published[@]}" \
    ${prepare_options[@]+"${prepare_options[@]}"}
  training=()
  for part in "${parts[@]}"; do training+=("$data/$part"); done
  if [ "$held_out" = yes ]; then
    asr data combine "${training[@]}" --out "$data"/all
    asr data split "$data"/all --out "$data" --fractions 0.9,0.1 --names train,dev --seed 1
  else
    asr data combine "${training[@]}" --out "$data"/train
  fi
  directories=("$data/train")
  for part in "${dev[@]}" "${tests[@]}"; do directories+=("$data/$part"); done
  asr data check "${directories[@]}"
fi

if begin 2 "language model"; then
  if [ "$lm" = train ]; then
    asr lm build --kaldi --text "$data"/train/text --order "$lm_order" --out "$lm_file"
  fi
fi

train_decode_score
