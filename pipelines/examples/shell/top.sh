#!/bin/sh
# The numbers that are there most often.
set -eu
. "$(dirname "$0")/common.sh"

by_count "$2" | head -n "$1" > "$3"
