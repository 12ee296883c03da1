#!/bin/sh
# slurm-start DAEMON: starts it, or starts it anew, with what is in its files. What it says when it cannot is shown.
running=$(systemctl is-active "$1")
if ! systemctl restart "$1"; then
  journalctl -u "$1" -n 20 -o cat --no-pager >&2
  echo "$1 does not start" >&2
  exit 1
fi
# The daemons of the nodes take their files from the controller; a new one hands them out when it is told to.
if [ "$1" = slurmctld ] && [ "$running" = active ]; then
  scontrol reconfigure
fi
