# shellcheck shell=bash
# Stages 3 to 6 of a speech recipe whose data directories are there: sourced after recipe.sh by recipes that differ in how these
# are made and in little else. It uses their options conf, seed, seeds, exp_tag, set, and skip_bad where they have it, and
#
#   here, data, exp     the recipe's folder, that of its data directories, that of its runs
#   dev, tests          arrays of parts: directories below $data; the first of dev chooses checkpoints and search weights
#   tuned_in            without dev: the decode folders of another run, less _METHOD, whose search weights are taken
#   train               the directory to train on (default $data/train)
#   methods             array of ways of decoding (default greedy, beam); what a beam search is told, search_options says
#   beam, lm_file       its width and language model, where a recipe has no search_options of its own
read -r -a seeds <<<"${seeds:-$seed}"
train_options "$set"
train=${train:-$data/train}
[ -n "${methods-}" ] || methods=(greedy beam)
[ -f "$here/conf/$conf.yaml" ] || die "--conf $conf: there is no $here/conf/$conf.yaml"
prepare_options=()
case ${skip_bad:-no} in
  yes) prepare_options=(--skip-bad) ;;
  no) ;;
  *) die "--skip-bad $skip_bad: choose yes or no" ;;
esac

# search_options METHOD: the options of a way of decoding that is not greedy; the array search_options.
search_options() {
  [ -f "$lm_file" ] || die "there is no language model $lm_file: run the stages before this one"
  search_options=(--beam "$beam" --lm "$lm_file")
}

train_decode_score() {
  local seed part method run out tuned first=${dev[0]-}
  if begin 3 "training"; then
    for seed in "${seeds[@]}"; do
      asr train --config "$here/conf/$conf.yaml" --train "$train" ${first:+--dev "$data/$first"} --exp "$exp/${exp_tag}_seed$seed" \
        "${train_options[@]}" --set seed="$seed"
    done
  fi

  if begin 4 "decoding"; then
    for seed in "${seeds[@]}"; do
      run=$exp/${exp_tag}_seed$seed
      for method in "${methods[@]}"; do
        if [ "$method" = greedy ]; then
          for part in ${dev[@]+"${dev[@]}"} "${tests[@]}"; do
            asr decode --model "$run/model.safetensors" --data "$data/$part" --out "$run/decode_${part}_greedy"
          done
          continue
        fi
        search_options "$method"
        # The weights of the search are found on the first dev part; the others, and test once, are decoded with them.
        if [ -n "$first" ]; then
          out=$run/decode_${first}_$method tuned=$out/tuned.json
          asr decode --model "$run/model.safetensors" --data "$data/$first" --out "$out" --method beam "${search_options[@]}" --tune
        else
          tuned=${tuned_in}_$method/tuned.json
        fi
        for part in ${dev[@]+"${dev[@]:1}"} "${tests[@]}"; do
          asr decode --model "$run/model.safetensors" --data "$data/$part" --out "$run/decode_${part}_$method" --method beam \
            "${search_options[@]}" --tuned "$tuned"
        done
      done
    done
  fi

  if begin 5 "scoring"; then
    for seed in "${seeds[@]}"; do
      for part in ${dev[@]+"${dev[@]}"} "${tests[@]}"; do
        for method in "${methods[@]}"; do
          out=$exp/${exp_tag}_seed$seed/decode_${part}_$method
          log "$out"
          asr score --ref "$data/$part/text" --hyp "$out/text" --utt2spk "$data/$part/utt2spk" --out "$out"
        done
      done
    done
  fi

  if begin 6 "results"; then
    shopt -s nullglob
    for part in ${dev[@]+"${dev[@]}"} "${tests[@]}"; do
      for method in "${methods[@]}"; do
        python recipes/utils/results.py --title "$part, $method" "$exp/$exp_tag"_seed*/decode_"${part}_$method"
      done
    done
  fi
}
