#!/usr/bin/env bash
# OLMo-core's and Megatron's dataset readers for the tests of shards.interop, in a folder of their own, without the
# training stacks that their packages ask for: .venvs/readers is put on PYTHONPATH by tests/peers.py.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venvs/readers}
[ -e "$folder/.done" ] && exit 0
python -m pip install --quiet --no-deps --upgrade --target "$folder" \
  "ai2-olmo-core>=3,<4" "megatron-core>=0.16,<0.17" \
  cached-path dataclass-extensions bettermap importlib_resources \
  google-api-core google-auth google-cloud-core google-cloud-storage google-crc32c google-resumable-media \
  googleapis-common-protos proto-plus protobuf
touch "$folder/.done"
