#!/bin/sh
# slurm-check NAME…: whether daemons run, the controller answers, it counts on this node; the last line says what not.
set -u
for name; do
  case $name in
  controller)
    said=$(scontrol ping 2>&1) || { echo "$said" | head -n 1; exit 1; }
    ;;
  registered)
    state=$(sinfo -h -N -n "$(hostname)" -o '%T %E' | head -n 1)
    case $state in
    idle\ * | mixed\ * | allocated\ * | completing\ * | planned\ * | reserved\ * | drain* | maint\ *) ;;
    *) echo "the controller holds this node for: ${state:-not one of its nodes}"; exit 1 ;;
    esac
    ;;
  *)
    systemctl is-active --quiet "$name" && continue
    reason=$(journalctl -u "$name" -n 50 -o cat --no-pager | grep -E 'fatal|error' | tail -n 1)
    echo "$name does not run: ${reason:-$(systemctl is-active "$name")}"
    exit 1
    ;;
  esac
done
