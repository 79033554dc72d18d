#!/usr/bin/env bash
# The systemd units on a machine that boots: run as root on a Debian with Docker, once, and again after a reboot.
# Beside it lie `convoy`, a checkout, and `wheels`, the files of both requirements locks; no network is needed.
# The first run installs and breaks the service in every way that must not be noticed; the second looks at what
# the reboot left. It ends with status 0, or says what it missed.
set -euo pipefail
cd "$(dirname "$0")"
export PIP_NO_INDEX=1 PIP_FIND_LINKS=$PWD/wheels
before=/var/lib/convoy-lab

fail() { echo "FAIL $*"; systemctl status --no-pager --full convoy.socket convoy.service || true; journalctl --no-pager -n 30 -u convoy.service; exit 1; }
ok() { echo "ok   $*"; }
# TEXT COMMAND ... : the command's output is the text
is() { local wanted=$1 found; shift; found=$("$@") || fail "$*"; [ "$found" = "$wanted" ] || fail "$*: $found, not $wanted"; }
references() { docker volume inspect --format '{{.Status.references}}' "$1"; }
inside() { docker exec app "$@"; }
# SECONDS COMMAND ... : it holds before so many seconds are over
soon() {
  local limit=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $limit ] || fail "in vain: $*"; sleep 0.2; done
}

first() {
  local pid i folder
  (cd convoy && plugin/install)
  is active systemctl is-active convoy.socket
  is active systemctl is-active convoy.service
  is 600 stat -c %a /run/docker/plugins/convoy.sock
  is "$(readlink /proc/1/ns/mnt)" readlink "/proc/$(systemctl show --value -p MainPID convoy)/ns/mnt"
  ok 'installed, running, in the mount namespace of the host'

  folder=$(mktemp -d)
  mkdir "$folder/bin"
  cp /bin/busybox "$folder/bin/busybox"
  for i in sh cat sleep; do ln -s busybox "$folder/bin/$i"; done
  tar -C "$folder" -c . | docker import - busybox >/dev/null
  docker volume create --driver convoy files
  for i in ext4 xfs btrfs; do docker volume create --driver convoy --opt size=320M --opt "fs=$i" "$i"; done
  # The lab's Debian has AppArmor in the kernel, but not its parser.
  docker run --detach --name app --restart always --init --network none --security-opt apparmor=unconfined \
    -v files:/files -v ext4:/ext4 -v xfs:/xfs -v btrfs:/btrfs \
    busybox sh -c 'for i in files ext4 xfs btrfs; do echo start >>/$i/log; done; sleep 100000'
  soon 20 inside cat /btrfs/log
  is 1 references xfs
  ok 'a container writes to a directory and to three filesystems, under the filter of system calls'

  pid=$(systemctl show --value -p MainPID convoy)
  systemctl restart convoy.service
  is 1 references xfs
  [ "$pid" != "$(systemctl show --value -p MainPID convoy)" ] || fail 'the service was not restarted'
  ok 'a restart of the service leaves mounts and references'

  for i in $(seq 20); do
    docker volume create --driver convoy "many$i" >/dev/null || fail "create many$i"
    [ $((i % 5)) -ne 0 ] || systemctl kill --signal KILL --kill-whom main convoy.service &
  done
  wait
  for i in $(seq 20); do docker volume rm "many$i" >/dev/null || fail "rm many$i"; done
  ok '20 volumes made while the service was killed 4 times, none of them lost'

  systemctl stop convoy.service
  is active systemctl is-active convoy.socket
  is xfs timeout 20 docker volume ls --quiet --filter name=xfs
  is active systemctl is-active convoy.service
  ok 'a call starts the service that was stopped'

  systemctl restart docker
  soon 20 inside cat /btrfs/log
  is 1 references xfs
  ok 'Docker restarts'
  touch $before
}

second() {
  soon 30 inside cat /btrfs/log
  for i in files ext4 xfs btrfs; do
    is 3 sh -c "docker exec app cat /$i/log | wc -l"
    is 1 references $i
  done
  is 4 sh -c "grep -cE ' /run/convoy/mounts/[a-z0-9]+ ' /proc/self/mountinfo"
  ok 'after the reboot a container with restart=always has its four volumes again'
  is yes sh -c "[ $(systemctl show --value -p ActiveEnterTimestampMonotonic convoy.service) -lt \
    $(systemctl show --value -p ActiveEnterTimestampMonotonic docker.service) ] && echo yes"
  ok 'the plugin was up before Docker'

  docker rm --force app >/dev/null
  soon 20 sh -c "! grep -q ' /run/convoy/mounts/' /proc/self/mountinfo"
  is '' losetup --list --noheadings
  ok 'nothing stays mounted or attached when the last container has gone'
  (cd convoy && plugin/install --remove)
  [ ! -e /run/docker/plugins/convoy.sock ] || fail 'a socket file was left behind'
  is start head -n 1 /var/lib/convoy/volumes/files/data/log
  ok 'uninstalled; the volumes stay'
}

if [ -e $before ]; then second; else first; fi
