#!/bin/sh
# How many lines the files have together: size.sh OUT FILE...
set -eu
out=$1
shift
cat "$@" | wc -l | tr -d ' ' > "$out"
