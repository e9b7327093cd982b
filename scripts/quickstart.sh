#!/usr/bin/env bash
# The main job, end to end, on this machine: sample -> curation -> mix -> training -> inspection.
#
#   ./scripts/quickstart.sh [options of scripts/setup.sh]
#
# Needs Python 3.11+ and git, two cores, no GPU, no account. Run it again: what is done is not done again.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/setup.sh train "$@"
export PATH="$PWD/.venv/bin:$PATH"
say() { printf '\n== %s\n' "$*" >&2; }
run=runs/quickstart
started=$SECONDS

say "1/5 real documents: what this Python installation carries, and the project's own (runs/sample)"
dolmix sample runs/sample

say "2/5 curation: filters, exact and near-duplicates, tokens ($run)"
dolmix run configs/pipelines/quickstart.yaml

say "3/5 the mix, pinned: $run/mix.lock.json"
dolmix mix resolve configs/mixes/quickstart.yaml -o $run/mix.lock.json

say "4/5 training a small mixture-of-experts model on exactly that mix ($run/train)"
dolmix train configs/train/quickstart.yaml

say "5/5 which documents were in step 37, and which steps saw the first of them?"
dolmix order show $run/mix.lock.json --step 37 | sed -n '1,12p'
document=$(dolmix order show $run/mix.lock.json --step 37 --json | python -c '
import json, sys
print(json.load(sys.stdin)["rows"][0]["documents"][0]["id"])')
dolmix order find $run/mix.lock.json --doc "$document" | sed -n '1,16p'

say "done in $((SECONDS - started)) s. Where to look next:
   . .venv/bin/activate                               then:
   dolmix status $run                     what the run did
   dolmix shards ls $run/stores           the committed stores; shards show|verify|stats
   dolmix mix show $run/mix.lock.json     the mix, stage by stage
   $run/decisions/                        every document's columns and verdict (Parquet)
   $run/train/metrics.jsonl               loss per source, router balance, batch proofs
   configs/pipelines/quickstart.yaml                  the pipeline; with another threshold, another output"
