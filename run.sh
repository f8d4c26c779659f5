#!/usr/bin/env bash
# The one door: sets up what is needed, then runs a recipe or the tests. Works from any directory.
#
#   ./run.sh                       set up once, then run the recipe `commands`: synthesise, train, decode, score
#   ./run.sh RECIPE [OPTIONS]      run another recipe; ./run.sh RECIPE --help shows its stages and options
#   ./run.sh test [PYTEST ARGS]    run the tests, in parallel; paths in the arguments start at the project's root
#   ./run.sh setup                 only set up
#
# Environment:
#   ASR_VENV=DIR      the virtual environment (default: .venv beside this script). One that was made elsewhere is used
#                     as it is: the packages are installed into it, and it is never emptied.
#   PYTHON=COMMAND    the Python to make it with (3.10 to 3.12; default: the first suitable one on the PATH)
#   ASR_DISK_GB=N     disk space to ask for before installing; the default fits the PyPI wheels of torch with CUDA
set -euo pipefail

# The folder of this script, through any symlinks.
script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do
  folder=$(cd "$(dirname "$script")" && pwd -P)
  script=$(readlink "$script")
  case $script in /*) ;; *) script=$folder/$script ;; esac
done
root=$(cd "$(dirname "$script")" && pwd -P)
. "$root/recipes/utils/lock.sh"

venv=${ASR_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
state=$venv/.asr-setup   # lock, made (it is ours, we may empty it), ready (it is whole: what it was made of), log

say() { printf '%s\n' "$*" >&2; }

fail() {
  local line
  printf 'run.sh: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

recipes() {
  local script
  for script in "$root"/recipes/*/run.sh; do
    [ -f "$script" ] || continue
    printf '  %-16s %s\n' "$(basename "$(dirname "$script")")" "$(sed -n '2s/^# *//p' "$script")"
  done
}

usage() {
  awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$script"
  printf '\nRecipes:\n'
  recipes
}

wrong_use() {
  {
    printf 'run.sh: %s\n\nRecipes:\n' "$1"
    recipes
    printf 'Other words: test, setup; ./run.sh --help says more.\n'
  } >&2
  exit 2
}

# ------------------------------------------------------------------------------------------------------ set-up

# What the environment must have been made of, to be used as it is.
ingredients() {
  local python=$venv/bin/python
  [ ! -f "$state/made" ] || python=${PYTHON:-$python}
  printf 'environment %s\npython %s\nproject %s\npackages %s\n' "$venv" "$(python_of "$python")" "$root" \
    "$(cat "$root/setup.cfg" "$root/pyproject.toml" | cksum)"
}

python_of() { "$1" -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true; }

ready() {  # is the environment whole, with these extras (none or test) at least?
  [ -f "$state/ready" ] || return 1
  case $(head -n 1 "$state/ready") in "extras $1" | "extras test") ;; *) return 1 ;; esac
  [ "$(tail -n +2 "$state/ready")" = "$(ingredients)" ]
}

# Prints what is wrong with a Python, or nothing when it can make the environment.
fault_of() {
  command -v "$1" >/dev/null || { echo "not found"; return; }
  # Run it: a command of that name may exist (pyenv's shims) and fail.
  "$1" -c '
import sys, sysconfig
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    print("is version %d.%d" % sys.version_info[:2])
elif sys.maxsize < 2**32:
    print("is a 32-bit build; torch needs 64 bits")
elif "musl" in (sysconfig.get_config_var("SOABI") or ""):
    print("is built for musl (Alpine); the torch wheels need glibc")
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("has no venv module (on Debian and Ubuntu: sudo apt install python%d.%d-venv)" % sys.version_info[:2])
' 2>/dev/null || echo "does not start"
}

find_python() {
  local candidate fault faults=() candidates=(python3.12 python3.11 python3.10 python3 python)
  [ -z "${PYTHON-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    fault=$(fault_of "$candidate")
    if [ -z "$fault" ]; then command -v "$candidate"; return; fi
    faults+=("$candidate: $fault")
  done
  fail "no suitable Python: the toolkit needs 3.10, 3.11 or 3.12, with its venv module" "${faults[@]}" \
    "Install one (Debian, Ubuntu: sudo apt install python3 python3-venv), or name one: PYTHON=/path/to/python3.11 ./run.sh"
}

check_machine() {
  case $(uname -sm) in
    "Linux x86_64" | "Linux aarch64" | "Darwin arm64") ;;
    *) fail "torch has no wheels for this machine ($(uname -sm))" "It has for Linux on x86_64 and aarch64, and macOS on arm64." ;;
  esac
}

check_disk() {
  local need free
  # On Linux the wheels bring CUDA's libraries along.
  case $(uname -s) in Linux) need=${ASR_DISK_GB:-8} ;; *) need=${ASR_DISK_GB:-3} ;; esac
  free=$(df -Pk "$venv" | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$need" ] || fail "not enough disk space: $venv needs about $need GB, $free GB are free there" \
    "Free some, or put the environment elsewhere: ASR_VENV=/other/disk/asr-venv ./run.sh" \
    "With wheels of torch without CUDA, less is enough: ASR_DISK_GB=3 ./run.sh"
}

# Install the project into the environment, and say what is being fetched (the large parts; the log has all).
install_packages() {
  local what=$1 log=$state/log
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off -e "$what" 2>&1 | tee "$log" |
    awk '/ (Downloading|Using cached) .*\(([0-9][0-9][0-9]+|[2-9][0-9])(\.[0-9]+)? MB\)/ { print "  " $1, $2, $3, $4; fflush() }
         /^Installing collected packages/ { print "  installing"; fflush() }
         /^ *(ERROR|error)/ { print "  " $0; fflush() }' >&2 && return
  local cause="see $log"
  if grep -qiE 'no space left|disk quota' "$log"; then
    cause="the disk is full: free about 8 GB, or put the environment elsewhere with ASR_VENV=DIR"
  elif grep -qiE 'name resolution|NewConnectionError|ConnectTimeout|timed out|connection (refused|reset)|ProxyError|SSLError' \
    "$log"; then
    cause="the package index cannot be reached: look at the network, and at pip's proxy and index (pip config list)"
  elif grep -q 'No matching distribution' "$log"; then
    cause="the package index lacks a version that is needed (ERROR above): look at pip's index (pip config list)"
  fi
  fail "installing failed: $cause" "The whole log: $log" "Call again when it is mended; pip keeps what it downloaded."
}

# Make the environment ready, with these extras (none or test); at once when it is.
setup() {
  local extras=$1 python fault
  ready "$extras" && return
  check_machine
  if [ -f "$venv/pyvenv.cfg" ] && [ ! -f "$state/made" ]; then
    python=$venv/bin/python   # an environment that was made elsewhere
    fault=$(fault_of "$python")
    [ -z "$fault" ] || fail "ASR_VENV=$venv: its Python $fault" "Name another environment, or a new folder."
  else
    [ -f "$state/made" ] || [ -z "$(find "$venv" -mindepth 1 -maxdepth 1 ! -name "${state##*/}" 2>/dev/null | head -n 1)" ] ||
      fail "ASR_VENV=$venv is a folder with other things in it" "Name a new folder, or a virtual environment."
    python=$(find_python) || exit
  fi
  mkdir -p "$state" || fail "cannot write to $venv"

  # One set-up at a time. The lock belongs to the open file: it ends with this process, however that ends.
  exec 9>"$state/lock"
  lock LOCK_NB || { say "another set-up of $venv is at work: waiting for it"; lock LOCK_EX; }
  ready "$extras" || make_environment "$extras" "$python"
  exec 9>&-
}

make_environment() {
  local extras=$1 python=$2 what=$root started=$SECONDS whole=no
  # An earlier set-up that ended well: if only the project, its packages or the extras differ, pip mends that.
  if [ -f "$state/ready" ]; then
    [ "$(sed -n 2,3p "$state/ready")" != "$(ingredients | head -n 2)" ] || whole=yes
    ! grep -qx 'extras test' "$state/ready" || extras='test'
    rm -f "$state/ready"
  fi
  [ $whole = yes ] || check_disk
  if [ ! -f "$venv/pyvenv.cfg" ] || { [ -f "$state/made" ] && [ $whole = no ]; }; then
    say "making $venv with $python ($(python_of "$python"))"
    : >"$state/made"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name "${state##*/}" -exec rm -rf {} +
    "$python" -m venv "$venv" >"$state/log" 2>&1 || fail "cannot make $venv: $(tail -n 3 "$state/log")"
  fi
  say "installing the packages (some minutes the first time)"
  [ "$extras" = none ] || what="${root}[$extras]"
  install_packages "$what"
  { echo "extras $extras"; ingredients; } >"$state/ready.part"
  mv "$state/ready.part" "$state/ready"
  say "set up in $((SECONDS - started)) s"
}

# ---------------------------------------------------------------------------------------------------- commands

# Processes to test with: the cores this process may use; at most 8, for each takes half a GB.
processes() {
  local cores
  cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
  echo $((cores < 8 ? cores : 8))
}

# A function, so that the shell has read all of this file before it begins: an update meanwhile does no harm.
main() {
  local word=${1:-commands}
  [ $# -eq 0 ] || shift
  export ASR_VENV=$venv
  case $word in
    -h | --help | help) usage ;;
    setup)
      [ $# -eq 0 ] || wrong_use "setup takes no arguments, not: $*"
      setup none
      say "environment: $venv (Python $(python_of "$venv/bin/python"))" ;;
    test)
      setup test
      cd "$root"
      # One thread a process: the processes share the cores already.
      export OMP_NUM_THREADS=1 PATH="$venv/bin:$PATH"
      exec "$venv/bin/python" -m pytest -n "$(processes)" --dist worksteal "$@" ;;
    -*) wrong_use "unknown option: $word (options of a recipe come after its name: ./run.sh commands $word)" ;;
    */* | .*) wrong_use "unknown recipe: $word" ;;
    *)
      [ -f "$root/recipes/$word/run.sh" ] || wrong_use "unknown recipe: $word"
      exec bash "$root/recipes/$word/run.sh" "$@" ;;
  esac
}

main "$@"; exit
