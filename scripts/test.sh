#!/usr/bin/env bash
# Set up and pass the tests: everything that CI runs, the peers that conformance tests ask included.
#
#   ./scripts/test.sh [options of scripts/setup.sh]
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/setup.sh train,dev,conformance "$@"
./scripts/setup_dolma.sh
export PATH="$PWD/.venv/bin:$PATH"
./scripts/setup_readers.sh
./scripts/check.sh
