#!/usr/bin/env bash
# Set up and pass the tests: everything that CI runs.
#
#   ./scripts/test.sh [options of scripts/setup.sh]
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/setup.sh train,dev "$@"
export PATH="$PWD/.venv/bin:$PATH"
./scripts/check.sh
