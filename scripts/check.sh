#!/usr/bin/env bash
# What CI runs, in the environment that is active: style, types, layers, tests, generated files, the wheel alone.
#
#   ./scripts/check.sh            all of it
#   ./scripts/check.sh fast       without whole runs and without the peers: minutes less
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '\n== %s\n' "$*" >&2; }

say "format and lint";        ruff format --check . && ruff check .
say "types";                  mypy
say "layers";                 lint-imports
say "generated files";        python scripts/generate.py --check
say "style budget";           python scripts/style_budget.py
say "tests"
if [ "${1:-}" = fast ]; then
  python -m pytest -q -n 2 -m "not e2e and not conformance"
else
  python -m pytest -q -n 2
fi
say "the wheel alone";        python scripts/check_wheel.py
