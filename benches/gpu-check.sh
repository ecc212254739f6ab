#!/usr/bin/env bash
# Checks the worker on an NVIDIA GPU: the quickstart on cuda:0 and on the CPU, each into a store of its own, both tables
# and both times. The worker is the ordinary one (`cargo xtask build --release`); PyTorch's CUDA libraries come from an
# installed torch 2.11.0:
#   benches/gpu-check.sh [FOLDER WITH pru-flow AND pru-flow-torch]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binaries=$(realpath "${1:-target/release}")
libraries=$(python3 -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
stores=$(mktemp -d)
trap 'rm -rf "$stores"' EXIT
"$binaries/pru-flow" doctor --store "$stores/none"
for device in cuda:0 cpu; do
    printf '\n== %s\n' "$device"
    begin=$SECONDS
    "$binaries/pru-flow" run pipelines/quickstart.yaml --device "$device" --store "$stores/${device%%:*}"
    printf "== %s took %s s\n" "$device" "$((SECONDS - begin))"
done
# A device that is not there is refused before anything runs.
if "$binaries/pru-flow" run pipelines/quickstart.yaml --device cuda:99 --store "$stores/none" 2> "$stores/refusal"; then
    echo "FAILED: cuda:99 was accepted" && exit 1
fi
cat "$stores/refusal"
