#!/usr/bin/env bash
# Make or reuse .venvs/dolma, the environment of a peer: dolma 1.2.1 with what its code taggers need.
#
#   ./scripts/setup_dolma.sh [--python PATH]
#
#   --python PATH   interpreter for it, 3.10 to 3.12 (default: .venv's if it is one of these)
#
# dolma needs numpy < 2, and so an environment of its own. pip's resolver does not come to an end on
# its requirements; uv, installed into .venv, takes seconds. Conformance tests and
# scripts/bench_filters.py find it here; DOLMIX_DOLMA_PYTHON names another one.
set -euo pipefail
cd "$(dirname "$0")/.."

package='dolma[code]==1.2.1'
folder=.venvs/dolma
python=
while [ $# -gt 0 ]; do
  case "$1" in
    --python) python=${2:?--python needs a path}; shift 2 ;;
    *) echo "unknown option $1; see the top of scripts/setup_dolma.sh" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*" >&2; }
fail() { echo "$*" >&2; exit 2; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

[ -x .venv/bin/python ] || fail "there is no .venv; run ./scripts/setup.sh train,dev,conformance first"
stamp="$folder/.dolmix-$(cksum <scripts/setup_dolma.sh | cut -d' ' -f1)"
if [ -e "$stamp" ]; then
  say "reusing $folder (made by this very script)"
  exit 0
fi

if [ -z "$python" ]; then
  for python in .venv/bin/python python3.12 python3.11 python3.10 ''; do
    if [ -n "$python" ] && fits "$python"; then break; fi
  done
  [ -n "$python" ] || fail "dolma 1.2.1 needs Python 3.10 to 3.12, and neither .venv nor the path has one: name one with --python PATH"
fi
fits "$python" || fail "dolma 1.2.1 needs Python 3.10 to 3.12; $python is another one or no Python"

say "making $folder and installing $package"
.venv/bin/python -m uv --version >/dev/null 2>&1 || .venv/bin/python -m pip install --quiet uv
rm -rf "$folder"
.venv/bin/python -m uv venv --quiet --python "$python" "$folder"
.venv/bin/python -m uv pip install --quiet --python "$folder/bin/python" "$package" \
  || fail "uv could not install $package; conformance with dolma needs the package index (set UV_INDEX_URL for a mirror)"

# dolma looks for this folder when it is imported and would fetch it; none of its taggers reads it
mkdir -p "$folder/nltk_data/tokenizers/punkt"
"$folder/bin/python" -c 'import dolma.taggers.gopher, dolma.taggers.c4, dolma.taggers.code.starcoder' \
  || fail "$folder was made, but dolma does not import there; remove the folder and run this again"
touch "$stamp"
