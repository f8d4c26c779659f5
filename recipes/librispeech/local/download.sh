# shellcheck shell=bash
# LibriSpeech (OpenSLR 12, CC BY 4.0), Mini LibriSpeech (OpenSLR 31) and their language models (OpenSLR 11), from their
# published addresses or a mirror of them; sourced by stages.sh. archives.txt has the parts, their resources, and the MD5 sums
# that are published beside them.

# download_part MIRROR PART FOLDER: PART unpacked below FOLDER, whole or not at all; the archive is removed then.
download_part() {
  local mirror=$1 part=$2 folder=$3 resource sum
  [ ! -d "$folder/$part" ] || return 0
  read -r _ resource sum < <(grep -E "^$part " recipes/librispeech/local/archives.txt) ||
    die "there is no part $part of LibriSpeech; the parts are: $(cut -d' ' -f1 recipes/librispeech/local/archives.txt | tr '\n' ' ')"
  fetch "$mirror/$resource/$part.tar.gz" "$folder/$part.tar.gz" "$sum"
  unpack "$folder/$part.tar.gz" "$folder/$part"
  rm -f "$folder/$part.tar.gz"
}

# download_lm MIRROR NAME FILE: a published n-gram model. No checksum of these is published with them in a form we could
# check; that the file is whole gzip shows itself.
download_lm() {
  local mirror=$1 name=$2 file=$3
  fetch "$mirror/11/$name.arpa.gz" "$file"
  gzip -t "$file" || { rm -f "$file"; die "$file is damaged and was removed: call again to download it anew"; }
}
