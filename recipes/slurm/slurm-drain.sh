#!/bin/sh
# slurm-drain NODE: gives it no more work, and ends when it has none.
set -eu
if ! grep -q "^NodeName=$1 " /etc/slurm/slurm.conf; then
  echo "Slurm has no node $1"
  exit 0
fi
scontrol update nodename="$1" state=drain reason="leaves the cluster"
last=
while :; do
  jobs=$(squeue -h -w "$1" -o 'job %i of %u (%j): %T for %M')
  [ -n "$jobs" ] || break
  ids=$(squeue -h -w "$1" -o %i)
  if [ "$ids" != "$last" ]; then
    echo "$jobs"
    last=$ids
  fi
  sleep 0.5
done
