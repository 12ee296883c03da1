#!/bin/sh
# Handler of the events reboot and shutdown. The payload lists hosts, parted by commas or spaces; none means all of them.
set -eu
PATH=/etc/gislab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
what=$1
hosts=$(cat | tr ',\n\t' '   ')
short=$(hostname | cut -d. -f1)

for_me=no
test -n "$(echo "$hosts" | tr -d ' ')" || for_me=yes
for host in $hosts; do
    if test "$host" = "$short" || test "$host" = "$SERF_SELF_NAME"; then for_me=yes; fi
done
test $for_me = yes || exit 0

if test -f /var/lib/gislab/session.lock; then
    echo "no $what: the session of $(cat /var/lib/gislab/session.lock) is still active"
    exit 0
fi
echo "$what, as the event $SERF_USER_EVENT asks for"
# The agent ends with it, and nobody reads what this prints any more.
serf leave > /dev/null 2>&1 || true
exec > /dev/null 2>&1
if test -d /run/systemd/system; then
    systemctl "$what"
else
    "$what" -f
fi
