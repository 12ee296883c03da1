#!/bin/sh
# The node's Serf agent: started, restarted, looked at. With systemd it is a unit, without it a process of its own.
set -eu
PATH=/etc/gislab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
program=/run/muster/bin/muster
log=/var/log/gislab-agent.log
pid_file=/run/gislab-agent.pid

has_systemd() { test -d /run/systemd/system; }

# The program that configures this node speaks Serf, too, when it is called so.
link() {
    mkdir -p /var/lib/gislab
    for name in serf gislab-cluster; do
        ln -sfn "$program" "/etc/gislab/bin/$name"
    done
    for file in /etc/gislab/bin/*; do
        name=/usr/local/bin/${file##*/}
        test -e "$name" || ln -s "$file" "$name" 2>/dev/null || by_profile
    done
}

# Where /usr/local is the machine's own, log-in shells look here.
by_profile() { echo 'PATH=/etc/gislab/bin:$PATH' > /etc/profile.d/gislab.sh; }

running() { test -s "$pid_file" && kill -0 "$(cat "$pid_file")" 2>/dev/null; }

start() {
    link
    # A session ends with the machine.
    test -e /run/gislab-booted || rm -f /var/lib/gislab/session.lock
    : > /run/gislab-booted
    if has_systemd; then
        cp /etc/gislab/serf-agent.service /etc/systemd/system/serf-agent.service
        systemctl daemon-reload
        systemctl enable --quiet serf-agent
        systemctl restart serf-agent
    elif ! running; then
        setsid "$0" loop > "$log" 2>&1 < /dev/null &
        echo $! > "$pid_file"
    fi
}

stop() {
    has_systemd && return
    running || return 0
    pid=$(cat "$pid_file")
    # It leaves, which takes a moment; what does not end by itself is ended.
    kill -TERM "$pid"
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid"
}

# As the unit does: an agent that has ended comes back after a while, in which a machine that left can go down.
loop() {
    trap 'kill -INT "$child"; wait "$child"; exit 0' TERM
    while :; do
        serf agent -config-file /etc/gislab/agent.json &
        child=$!
        tell
        wait "$child" || true
        sleep 10 &
        child=$!
        wait "$child" || true
    done
}

# A session that runs is shown by an agent that was started again, too.
tell() {
    test -s /var/lib/gislab/session.lock || return 0
    for _ in $(seq 50); do
        ! serf tags -set "session-active=$(cat /var/lib/gislab/session.lock)" > /dev/null 2>&1 || return 0
        sleep 0.2
    done
}

case ${1:-} in
    loop) loop ;;
    tell) tell ;;
    boot) if has_systemd; then link; else start; fi ;;
    restart) stop; start ;;
    check)
        # Alone among clients means that the server has not been found yet.
        serf info > /dev/null
        test -n "$(serf members -status=alive -tag role=server)"
        ;;
    *) echo "usage: gislab-agent boot|restart|check" >&2; exit 64 ;;
esac
