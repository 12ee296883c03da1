#!/bin/sh
# Handler on the server: the clients that take work, as members tell it, into the load balancer's file.
set -eu
PATH=/etc/gislab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cat > /dev/null
folder=/etc/gislab
# Handlers of several events may run at once; the last one sees all that has happened.
exec 9> /run/gislab-balance.lock
flock 9

serf members -status=alive -tag role=client -tag worker=yes | awk 'NF { sub(/:[0-9]+$/, "", $2); print $2 }' | sort > "$folder/workers.new"
if cmp -s "$folder/workers.new" "$folder/workers"; then
    rm "$folder/workers.new"
    exit 0
fi
{
    cat "$folder/haproxy.cfg.head"
    while read -r address; do
        echo "    server $address $address:91 check observe layer7"
    done < "$folder/workers.new"
} > "$folder/haproxy.cfg"
mv "$folder/workers.new" "$folder/workers"
if test -x /usr/sbin/haproxy; then
    cp "$folder/haproxy.cfg" /etc/haproxy/haproxy.cfg
    systemctl reload-or-restart haproxy
fi
