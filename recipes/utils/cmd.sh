# shellcheck shell=bash
# Jobs, after Kaldi's run.pl and slurm.pl; sourced by recipe.sh. Change the last lines for a cluster of your own.
#
#   $cmd [options] JOB=1:4 exp/log/decode.JOB.log asr decode --data data/split4/JOB --out exp/JOB
#   $cmd exp/log/features.log asr features data/train --jobs 4
#
# `cmd` is one of these (a recipe's --cmd):
#   run_local    on this machine        run_slurm    a job array, and a wait for its end (sbatch --wait)
# The word before `=` is replaced by the number of the job in the log's name and in every argument; all jobs get OMP_NUM_THREADS=1.
# A log begins with the command and ends with its exit status. When jobs fail, the others are run to their end, the last lines of the
# first logs are shown, and the exit status is 1. Options:
#   --max-jobs-run N   so many at once (run_local: the machine's cores; run_slurm: no limit)
#   --mem 4G, --time 2:00:00, --partition NAME, --gpu N    what run_slurm asks for, each job; run_local has what there is

run_local() {
  local max first last name log _asked
  _job_options run_local "$@" || return
  shift "$_taken"
  local folder number status=0
  folder=$(mktemp -d)
  [ -n "$max" ] || max=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  # Workers take the numbers one by one; making a folder is what only one of them can do.
  (
    trap 'rm -rf "$folder"' EXIT  # here, as a signal to all ends the caller before its next line
    trap 'trap - TERM; kill $(jobs -p) 2>/dev/null || true; exit 143' INT TERM
    for ((number = 1; number <= max && number <= last - first + 1; number++)); do
      _worker "$folder" "$@" &
    done
    wait
  ) || status=$?
  [ $status -lt 128 ] || return $status
  _judge "$log" 0
}

_worker() {
  local folder=$1 number child=""
  shift
  trap 'kill $child 2>/dev/null || true; exit 143' TERM
  for ((number = first; number <= last; number++)); do
    mkdir "$folder/$number" 2>/dev/null || continue
    _job "$number" "$@" &
    child=$!
    wait $child || true  # which failed is in the logs
  done
}

run_slurm() {
  local max first last name log _asked
  _job_options run_slurm "$@" || return
  shift "$_taken"
  command -v sbatch >/dev/null || { echo "run_slurm: there is no sbatch here; --cmd run_local runs the jobs on this machine" >&2; return 1; }
  local script=${log//$name/all}.sbatch number signal submitting submitted=0 patience=${ASR_LOG_WAIT:-30}
  _make_way "$log"
  mkdir -p "$(dirname "$script")"
  {
    echo '#!/usr/bin/env bash'
    echo "cd $(printf %q "$PWD") || exit 1"
    printf 'name=%q log=%q\n' "$name" "$log"
    declare -f _job _replaced
    printf '_job "${SLURM_ARRAY_TASK_ID:-1}"'
    printf ' %q' "$@"
    echo
  } >"$script"
  local options=(--wait --job-name "$(basename "${log%.log}")" --output /dev/null --ntasks 1)
  [ -z "$name" ] || options+=(--array "$first-$last${max:+%$max}")
  # In the background: the shell hears a signal while it waits, and not while a command runs.
  sbatch ${_asked[@]+"${_asked[@]}"} "${options[@]}" "$script" >"$script.id" &
  submitting=$!
  for signal in INT TERM HUP; do trap "_cancel $signal" $signal; done
  # Its status says only that some job failed; which one is in the logs, and where one could not even write: no last line.
  wait $submitting || submitted=$?
  trap - INT TERM HUP
  [ "$submitted" -eq 0 ] || [ -s "$script.id" ] || patience=0  # it took no jobs, and has said why
  _judge "$log" "$patience" "$submitted"
}

# The jobs of run_slurm end with it; then the shell does, by the signal that it got.
_cancel() {
  local number
  kill $submitting 2>/dev/null || true
  number=$(sed -n 's/^Submitted batch job \([0-9]*\).*/\1/p' "$script.id")  # what may follow: ` on cluster NAME`
  [ -z "$number" ] || scancel "$number" || true
  trap - INT TERM HUP
  kill -s "$1" $$
}

# Options, the numbers and the log, into the variables of the caller; how many words that were into _taken.
_job_options() {
  local caller=$1 option
  _taken=0 max="" first=1 last=1 name="" _asked=()
  shift
  while [ $# -gt 0 ]; do
    option=$1
    case $option in
      --max-jobs-run) max=${2-} ;;
      --mem | --time | --partition) _asked+=("$option" "${2-}") ;;
      --gpu) _asked+=(--gpus "${2-}") ;;
      --*) echo "$caller: unknown option $option" >&2; return 2 ;;
      *) break ;;
    esac
    [ $# -ge 2 ] || { echo "$caller: $option needs a value" >&2; return 2; }
    shift 2
    _taken=$((_taken + 2))
  done
  if [[ ${1-} =~ ^([A-Za-z_]+)=([0-9]+):([0-9]+)$ ]]; then
    name=${BASH_REMATCH[1]} first=$((10#${BASH_REMATCH[2]})) last=$((10#${BASH_REMATCH[3]}))
    [ "$first" -le "$last" ] || { echo "$caller: $1 has no job" >&2; return 2; }
    shift
    _taken=$((_taken + 1))
  fi
  log=${1-}
  [ $# -ge 2 ] || { echo "$caller: a log and a command are needed: $caller JOB=1:4 log/name.JOB.log COMMAND ..." >&2; return 2; }
  [ -z "$name" ] || [[ $log == *"$name"* ]] || { echo "$caller: the log $log must have $name in its name: each job has its own" >&2; return 2; }
  [ -z "$max" ] || [[ $max =~ ^[1-9][0-9]*$ ]] || { echo "$caller: --max-jobs-run takes a whole number above 0, not $max" >&2; return 2; }
  _taken=$((_taken + 1))
  [ "$caller" != run_local ] || _make_way "$log"
}

# Folders for the logs, and no old ones in them.
_make_way() {
  local number file
  for ((number = first; number <= last; number++)); do
    file=$(_replaced "$number" "$1")
    mkdir -p "$(dirname "$file")"
    rm -f "$file"
  done
}

# A word with the number in place of the name.
_replaced() {
  [ -n "$name" ] && printf %s "${2//$name/$1}" || printf %s "$2"
}

# One job, with its log.
_job() {
  local number=$1 words=() word file status=0
  shift
  for word in "$@"; do words+=("$(_replaced "$number" "$word")"); done
  file=$(_replaced "$number" "$log")
  {
    printf '#'
    printf ' %q' "${words[@]}"
    printf '\n# Started at %s on %s\n' "$(date '+%F %T')" "$(uname -n)"
    OMP_NUM_THREADS=1 "${words[@]}" </dev/null || status=$?
    [ "$(tail -c 1 "$file" | wc -l)" -eq 1 ] || echo  # what it said last may lack its newline
    printf '# Ended at %s (exit status %s)\n' "$(date '+%F %T')" "$status"
  } >"$file" 2>&1
  return $status
}

# _judge LOG SECONDS [STATUS]: after all have ended, which failed, and the last lines of their logs. A network's disk may show a log
# so many seconds late. The status is that of what ran them.
_judge() {
  local number file patience=$2 ran=${3:-0} cut bad=() shown=0
  for ((number = first; number <= last; number++)); do
    file=$(_replaced "$number" "$1")
    while [ "$patience" -gt 0 ] && ! tail -n 1 "$file" 2>/dev/null | grep -q '^# Ended at '; do
      sleep 1
      patience=$((patience - 1))
    done
    tail -n 1 "$file" 2>/dev/null | grep -q '^# Ended at .*(exit status 0)$' || bad+=("$file")
  done
  if [ ${#bad[@]} -eq 0 ]; then
    [ "$ran" -ne 0 ] || return 0
    echo "every log ends well, but sbatch has exit status $ran: Slurm lost or stopped a job; sacct says which. Run the same again" >&2
    return 1
  fi
  echo "${#bad[@]} of $((last - first + 1)) job(s) failed" >&2
  for file in ${bad[@]+"${bad[@]}"}; do
    [ $((shown += 1)) -le 3 ] || break
    if [ -f "$file" ]; then
      cut=", which the job did not write to its end: it was killed, or runs still"
      if tail -n 1 "$file" | grep -q '^# Ended at '; then cut=""; fi
      echo "--- the end of $file$cut" >&2
      tail -n 12 "$file" >&2
    else
      echo "--- $file was never written: the job did not start" >&2
    fi
  done
  return 1
}

# decode_jobs N --model M --data DIR --out OUT [options of asr decode but --tune]: `asr decode` as N jobs, each with its part of the
# data; OUT holds what one would have written. Parts are of whole speakers, so there are no more jobs than speakers.
decode_jobs() {
  local count=$1 data="" out="" options=() speakers number parts=()
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --data) data=$2; shift ;;
      --out) out=$2; shift ;;
      *) options+=("$1") ;;
    esac
    shift
  done
  speakers=$(cut -d ' ' -f 2- "$data/utt2spk" | sort -u | wc -l)
  [ "$count" -le "$speakers" ] || { log "$data has $speakers speaker(s): $((speakers)) job(s), not $count"; count=$((speakers)); }
  rm -rf "${out:?}"/split[0-9]* "$out/part"  # what a run that failed has left, of this many jobs or of others
  if [ "$count" -eq 1 ]; then
    $cmd "$out/log/decode.log" asr decode "${options[@]}" --data "$data" --out "$out"
    return
  fi
  asr data split "$data" --out "$out/split$count" --parts "$count" || return
  $cmd JOB=1:"$count" "$out/log/decode.JOB.log" asr decode "${options[@]}" --data "$out/split$count/JOB" --out "$out/part/JOB" || return
  for ((number = 1; number <= count; number++)); do parts+=("$out/part/$number"); done
  python "$root/recipes/utils/join_decoded.py" --data "$data" --out "$out" "${parts[@]}" || return
  rm -rf "$out/split$count" "$out/part"
}

# ------------------------------------------------------------------------------------------------ of this place
# Kaldi's cmd.sh: what a recipe runs jobs with, where --cmd does not say otherwise. For Slurm:
#   cmd="run_slurm --partition cpu --mem 4G --max-jobs-run 50"
: "${cmd:=${ASR_CMD:-run_local}}"
