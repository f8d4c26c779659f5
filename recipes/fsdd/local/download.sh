# shellcheck shell=bash
# The Free Spoken Digit Dataset (CC BY-SA 4.0) from its published address; sourced by ../run.sh.

# download_fsdd FOLDER: the release with six speakers and 3,000 recordings, whole under FOLDER or not at all. That every
# recording is there and can be read is checked by prepare.py, as for a copy of one's own.
download_fsdd() {
  local folder=$1 release=1.0.10
  fetch "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v$release.tar.gz" "$folder.tar.gz"
  unpack "$folder.tar.gz" "$folder"
}
