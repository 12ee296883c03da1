#!/bin/sh
# slurm-resume NODE: gives it work again.
set -eu
case $(sinfo -h -N -n "$1" -o %T | head -n 1) in
drain*) scontrol update nodename="$1" state=undrain ;;
esac
