#!/bin/sh
# slurm-wait PORT: ends when the daemon that is being started listens; fails when it has ended.
for _ in $(seq 600); do
  if ss -Hltn "sport = :$1" | grep -q .; then exit 0; fi
  kill -0 "$MAINPID" 2>/dev/null || exit 1
  sleep 0.02
done
echo "nobody listens on port $1" >&2
exit 1
