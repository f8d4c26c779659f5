# shellcheck shell=bash
# Download both data sets from timeseriesclassification.com; sourced by run.sh.

# download_sets FOLDER: FOLDER/natops/NATOPS_*.ts and FOLDER/japanese_vowels/JapaneseVowels_*.ts. The archives are packed anew
# now and then, so the sums are those of the files in them.
download_sets() {
  local folder=$1 name place
  for name in NATOPS JapaneseVowels; do
    case $name in NATOPS) place=$folder/natops ;; *) place=$folder/japanese_vowels ;; esac
    [ ! -d "$place" ] || continue
    fetch "https://timeseriesclassification.com/aeon-toolkit/$name.zip" "$folder/$name.zip"
    rm -rf "$place.part"
    python -m zipfile -e "$folder/$name.zip" "$place.part" || die "$folder/$name.zip is damaged: remove it and call again"
    mv "$place.part" "$place"
  done
  (cd "$folder" && sha256sum --check --quiet) <<'SUMS' || die "not the files this recipe was made for; give a copy with --corpus DIR"
3567f0aa297e89327215ee1147537e06f7bdc51f48ac8d2c39aaa34fb1eab1b7  natops/NATOPS_TRAIN.ts
3a9a41a948c30d19db6b9e0ec44d946d42199c4f8724c2aa6e8b71b28612404e  natops/NATOPS_TEST.ts
68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd  japanese_vowels/JapaneseVowels_TRAIN.ts
b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462  japanese_vowels/JapaneseVowels_TEST.ts
SUMS
}
