# shellcheck shell=bash
# What every recipe needs; source it after the variables that hold the defaults of its options, `stage` and
# `stop_stage` among them:
#
#   . "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
#
# It parses the options (parse_options.sh), sets up the environment (./run.sh setup: nothing to do when it is ready) and
# puts its `asr` and `python` first on the PATH, makes --corpus absolute, and goes to the root of the project, so that
# data/ and exp/ are the same folders from wherever the recipe is called. And it gives:
#
#   log "what happens"                       a line with the time, on standard error
#   if begin 2 "training"; then ... fi       true if stage 2 is among --stage .. --stop-stage
#   die "what is wrong and what to do"       ends the recipe
#   check_names --systems "$systems" "a b"   ends it where one of the names is not among those that are known
#   train_options "a.b=1 c=2"                the array train_options: --resume, and --set for each of these
#   $cmd JOB=1:4 exp/log/x.JOB.log COMMAND ...    commands as jobs, here or on a cluster; decode_jobs N ...: see cmd.sh
#   fetch URL FILE [SUM], unpack ARCHIVE FOLDER    download (resumed where an earlier one stopped) and unpack; see fetch.sh
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
recipe=$(basename "$(cd "$(dirname "$0")" && pwd -P)")
. "$root/recipes/utils/parse_options.sh"

log() { printf '%s %s\n' "$(date '+%F %T')" "$*" >&2; }

die() {
  log "$recipe: $*"
  exit 1
}

# check_names --systems "NAMES" "KNOWN": ends the recipe where one is not among the known ones, before any work
check_names() {
  local name
  for name in $2; do
    case " $3 " in *" $name "*) ;; *) die "$1: there is no $name; choose among $3" ;; esac
  done
}

: "${stage:?a recipe sets stage=N before it sources recipe.sh}" "${stop_stage:?a recipe sets stop_stage=M, its last stage}"
[ "$stage" -le "$stop_stage" ] || _wrong_use "--stage $stage is after --stop-stage $stop_stage: nothing would be run"
current=""
begin() {
  if [ "$1" -lt "$stage" ] || [ "$1" -gt "$stop_stage" ]; then return 1; fi
  current=$1
  log "$recipe, stage $1: $2"
}

train_options() {
  local pair pairs
  train_options=(--resume)
  read -r -a pairs <<<"$1"
  for pair in ${pairs[@]+"${pairs[@]}"}; do train_options+=(--set "$pair"); done
}

_ended() {
  local status=$?
  if [ $status -eq 0 ] && [ -z "$current" ]; then
    log "$recipe: there is no stage from $stage to $stop_stage, and nothing was run; ./run.sh $recipe --help lists the stages"
    exit 2
  elif [ $status -eq 0 ]; then
    log "$recipe: done"
  elif [ -n "$current" ]; then
    log "$recipe: stopped in stage $current (exit status $status); go on with ./run.sh $recipe --stage $current and the same options"
  fi
}
trap _ended EXIT

. "$root/recipes/utils/fetch.sh"
. "$root/recipes/utils/cmd.sh"

case ${corpus-} in
  "" | /*) ;;
  *) corpus=$PWD/$corpus ;;
esac

"$root/run.sh" setup || exit
venv=${ASR_VENV:-$root/.venv}
case $venv in
  /*) ;;
  *) venv=$PWD/$venv ;;
esac
export ASR_VENV=$venv PATH=$venv/bin:$PATH
cd "$root"
