#!/bin/sh
# Called by LightDM around sessions: the member shows whose session runs, and is neither rebooted nor shut down meanwhile.
#
#   gislab-session start [USER]     the user is in $USER otherwise, where LightDM has it
#   gislab-session end
set -eu
PATH=/etc/gislab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
lock=/var/lib/gislab/session.lock
case ${1:-} in
    start)
        user=${2:-${USER:-}}
        test -n "$user" || { echo "gislab-session: whose session?" >&2; exit 64; }
        test "$user" != root || exit 0
        echo "$user" > "$lock"
        # Nobody is kept from logging in because the cluster cannot be told.
        serf tags -set "session-active=$user" || true
        ;;
    end)
        rm -f "$lock"
        serf tags -delete session-active || true
        ;;
    *) echo "usage: gislab-session start [USER] | end" >&2; exit 64 ;;
esac
