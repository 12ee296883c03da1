#!/bin/sh
# slurm-start DAEMON: starts it, or starts it anew, with what is in its files. What it says when it cannot is shown.
running=$(systemctl is-active "$1")
begun=$(date +@%s)
if ! systemctl restart "$1" 2>/dev/null; then
  journalctl --sync
  said=$(journalctl -q _SYSTEMD_UNIT="$1.service" --since "$begun" -o cat --no-pager)
  echo "$said" | tail -n 20 >&2
  reason=$(echo "$said" | grep -iE 'fatal|error|unable|cannot|invalid|unrecognized' | head -n 1)
  echo "$1 does not start: ${reason:-see journalctl -u $1}" >&2
  exit 1
fi
# The daemons of the nodes take their files from the controller; a new one hands them out when it is told to.
if [ "$1" = slurmctld ] && [ "$running" = active ]; then
  scontrol reconfigure
fi
