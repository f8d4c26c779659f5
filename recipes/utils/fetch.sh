# shellcheck shell=bash
# Download and unpack a corpus; sourced by recipe.sh, whose log and die it calls. Recipes that run at the same time wait for each other.
. "$root/recipes/utils/lock.sh"

# _alone FILE: until `exec 9<&-`, no other process downloads or unpacks into the folder of FILE. What this one has started holds the
# lock as well: a curl that outlives it still writes.
_alone() {
  mkdir -p "$(dirname "$1")"
  exec 9<"$(dirname "$1")"
  lock LOCK_NB || { log "another process is making $1, or something beside it: waiting for it"; lock LOCK_EX; }
}

# fetch URL FILE [SUM]: FILE appears under its name only when it is whole, and what it should be. What an interrupted
# download left (FILE.part) is continued where the server allows it, and begun again where it does not. SUM is a SHA-256, or
# an MD5 where that is what the corpus is published with.
fetch() {
  local url=$1 file=$2 sum=${3-}
  [ ! -f "$file" ] || return 0
  _alone "$file"
  [ -f "$file" ] || _fetch
  exec 9<&-
}

_fetch() {
  local kind=SHA-256 answer status=0
  log "downloading $url"
  if command -v curl >/dev/null; then
    answer=$(_curl --continue-at - --write-out '%{http_code}') || status=$?
    # 33 and 36: this server cannot continue a download. 416: beyond what is here it has nothing, so that may be whole.
    case $status:$answer in
      33:* | 36:* | *:416)
        status=0
        _has_sum || { rm -f "$file.part"; _curl || status=$?; } ;;
    esac
  elif command -v wget >/dev/null; then
    wget --continue --tries=3 --timeout=30 --no-verbose -O "$file.part" "$url" || status=$?
  else
    die "downloading needs curl or wget: install one, or give a copy of the corpus with --corpus DIR"
  fi
  [ $status -eq 0 ] || die "cannot download $url: look at the network and the space on the disk, or give a copy you have with" \
    "--corpus DIR; calling again continues"
  if [ -n "$sum" ] && ! _has_sum; then
    rm -f "$file.part"
    [ ${#sum} -ne 32 ] || kind=MD5
    die "$url: not the file this recipe was made for (its $kind is another); call again, or give a copy with --corpus DIR"
  fi
  mv "$file.part" "$file"
}

# A retry of curl's begins where its first try began, and loses what came meanwhile; so after a minute it is the caller who goes on.
_curl() {
  curl --fail --location --silent --show-error --retry 3 --retry-max-time 60 --connect-timeout 30 --speed-limit 1 --speed-time 60 \
    "$@" --output "$file.part" "$url"
}

_has_sum() {
  local tool=sha256sum
  if [ ${#sum} -eq 32 ]; then tool=md5sum; fi
  [ -n "$sum" ] && printf '%s  %s\n' "$sum" "$file.part" | $tool --check --status
}

# unpack ARCHIVE.tar.gz FOLDER: the single folder inside the archive becomes FOLDER, which appears whole. A damaged
# archive is removed, so that calling again downloads it anew.
unpack() {
  local archive=$1 folder=$2
  [ ! -d "$folder" ] || return 0
  _alone "$folder"
  [ -d "$folder" ] || _unpack
  exec 9<&-
}

_unpack() {
  local partial=$folder.part
  rm -rf "$partial"
  mkdir -p "$partial"
  if ! gzip -t "$archive"; then
    rm -rf "$partial" "$archive"
    die "$archive is damaged and was removed: call again to download it anew"
  fi
  tar -xzf "$archive" -C "$partial" --strip-components=1 || die "cannot unpack $archive: is the disk full?"
  mv "$partial" "$folder"
}
