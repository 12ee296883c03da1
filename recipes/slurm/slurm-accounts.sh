#!/bin/sh
# slurm-accounts CLUSTER: brings the accounting in line with /etc/slurm/accounts. What people have added by hand stays;
# who was on the list and is no more may submit no more, and what they used stays on record.
set -eu
cluster=$1
list=/etc/slurm/accounts
before=/var/lib/slurm/accounts

if [ -z "$(sacctmgr -nP show cluster "$cluster" format=cluster)" ]; then
  sacctmgr -i add cluster "$cluster"
fi
known=$(sacctmgr -nP show assoc cluster="$cluster" format=account,user)
grep -v '^#' "$list" | while read -r user account level; do
  if ! echo "$known" | grep -qxF "$account|"; then
    sacctmgr -i add account "$account" cluster="$cluster"
    known="$known
$account|"
  fi
  if ! echo "$known" | grep -qxF "$account|$user"; then
    sacctmgr -i add user "$user" account="$account" cluster="$cluster"
  fi
  now=$(sacctmgr -nP show user "$user" format=defaultaccount,admin)
  if [ "$now" != "$account|$level" ]; then
    sacctmgr -i modify user where name="$user" cluster="$cluster" set defaultaccount="$account"
    sacctmgr -i modify user where name="$user" set adminlevel="$level"
  fi
done

if [ -e "$before" ]; then
  grep -v '^#' "$before" | while read -r user account _; do
    if ! grep -q "^$user $account " "$list" && echo "$known" | grep -qxF "$account|$user"; then
      sacctmgr -i delete user "$user" account="$account" cluster="$cluster"
    fi
  done
fi
cp "$list" "$before.new"
mv "$before.new" "$before"
