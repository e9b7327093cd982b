#!/usr/bin/env bash
# Make or reuse .venv and install dolmix into it: scripts/setup.sh EXTRAS [options for torch].
#
#   --extra-index-url URL   pip option passed through when torch is installed (CPU or CUDA wheels)
#   --index-url URL         the same, replacing the default index
#   --default-torch         take whatever build the default index offers, CUDA included
#   --python PATH           interpreter for a new .venv (default: python3)
set -euo pipefail
cd "$(dirname "$0")/.."

extras=${1:?extras, for example train or train,dev,conformance}
shift
python=${PYTHON:-python3}
torch_options=()
default_torch=no
while [ $# -gt 0 ]; do
  case "$1" in
    --extra-index-url | --index-url) torch_options+=("$1" "${2:?$1 needs a URL}"); default_torch=yes; shift 2 ;;
    --default-torch) default_torch=yes; shift ;;
    --python) python=${2:?--python needs a path}; shift 2 ;;
    *) echo "unknown option $1; see the top of scripts/setup.sh" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*" >&2; }

"$python" - <<'PY' || { echo "dolmix needs Python 3.11 or newer; choose one with --python PATH" >&2; exit 2; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
stamp=".venv/.dolmix-$(cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)-$extras"
if [ -e "$stamp" ]; then
  say "reusing .venv (same pyproject.toml and constraints.txt as last time)"
else
  say "making .venv and installing dolmix[$extras]"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    if [ "$default_torch" = no ]; then
      .venv/bin/python scripts/check_torch_build.py constraints.txt
    fi
    .venv/bin/python -m pip install --quiet ${torch_options[@]+"${torch_options[@]}"} -c constraints.txt torch
  fi
  .venv/bin/python -m pip install --quiet -c constraints.txt -e ".[$extras]"
  touch "$stamp"
fi

if [ ! -e models/lid.176.ftz ]; then
  say "fetching the language model models/lid.176.ftz"
  .venv/bin/python scripts/get_lid_model.py models
fi
