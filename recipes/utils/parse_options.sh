# shellcheck shell=bash
# Options of a recipe, after Kaldi's utils/parse_options.sh. Source it after the variables that hold the defaults:
#
#   #!/usr/bin/env bash
#   # What this recipe does.
#   #
#   #   --stage N        first stage to run
#   #   --exp-tag NAME   name of the run
#   stage=0
#   exp_tag=crnn
#   . recipes/utils/parse_options.sh
#
# `--exp-tag x` and `--exp-tag=x` set the variable exp_tag. An option is known when the comment at the head of the
# script documents it and a variable holds its default: the help cannot fall behind the script. `--help` prints that
# comment. Wrong use ends with exit status 2, before any work. A value takes the place of a whole number only if it
# is one too.

# The comment at the head of a script, without its marks.
recipe_help() {
  awk 'NR == 1 && /^#!/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$1"
}

# The options that this comment documents, one a line.
recipe_options() {
  recipe_help "$1" | sed -nE 's/^ +--([a-z][a-z0-9-]*).*/\1/p'
}

_wrong_use() {
  {
    printf '%s: %s\n' "$0" "$1"
    printf 'Its options (--help says more):'
    recipe_options "$0" | sed 's/^/ --/' | tr -d '\n'
    printf '\n'
  } >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) recipe_help "$0"; exit 0 ;;
    --?*) ;;
    *) _wrong_use "unexpected argument: $1" ;;
  esac
  _name=${1%%=*}
  recipe_options "$0" | grep -qxF -e "${_name#--}" || _wrong_use "unknown option: $_name"
  _variable=${_name#--} _variable=${_variable//-/_}
  [ -n "${!_variable+declared}" ] || _wrong_use "$_name is documented, but the script holds no default for it"
  case $1 in
    *=*) _value=${1#*=} ;;
    *)
      case ${2---} in --*) _wrong_use "$_name needs a value" ;; esac
      _value=$2
      shift ;;
  esac
  shift
  if [[ ${!_variable} =~ ^[0-9]+$ && ! $_value =~ ^[0-9]+$ ]]; then
    _wrong_use "$_name takes a whole number, not '$_value'"
  fi
  printf -v "$_variable" '%s' "$_value"
done
unset _name _value _variable
