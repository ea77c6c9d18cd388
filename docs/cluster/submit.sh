#!/bin/bash
# The array, the array again for conditions on the own latents of all samples, and the merge.
#   docs/cluster/submit.sh 4 runs/parts runs/whole ablate_latents --model faithful --samples 256
# A failed task stops what depends on it; start this again, and it goes on from what is there.
set -euo pipefail
shards=$1 parts=$2 whole=$3
shift 3
here=$(dirname "${BASH_SOURCE[0]}")
array=(--parsable --array="0-$((shards - 1))" --kill-on-invalid-dep=yes)
first=$(sbatch "${array[@]}" "$here/shards.sbatch" "$@" --output "$parts")
second=$(sbatch "${array[@]}" --dependency="afterok:$first" "$here/shards.sbatch" "$@" --output "$parts")
sbatch --parsable --kill-on-invalid-dep=yes --dependency="afterok:$second" \
  "$here/merge.sbatch" "$parts" --output "$whole"
