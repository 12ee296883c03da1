#!/bin/sh
# slurmdbd writes each answer in two pieces, and waits with the second until the first was acknowledged: 40 ms, several
# times in each command. On the way from this machine to itself it is acknowledged at once.
ip -4 route show table local type local | while read -r _ route; do
  # shellcheck disable=SC2086
  ip route replace table local local $route quickack 1
done
