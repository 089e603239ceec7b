#!/bin/sh
# The first process of a container, already in its own mount and PID namespace: makes its root, gives up its rights, and
# becomes the command. enter.sh DIRECTORY READ_ONLY_ROOT(0|1) WORKING_DIR SETPRIV_OPTIONS COMMAND…
#
# DIRECTORY/binds has a line a mount: `ro|rw SOURCE TARGET` (without spaces in them: they are ours and Kubernetes' names).
# DIRECTORY/readable has a path a line that whoever the container runs as must be able to reach.
set -eu
container_path=$PATH
PATH=/usr/sbin:/usr/bin:/sbin:/bin
directory=$1 read_only=$2 working_dir=$3 rights=$4
shift 4
root=$directory/root
mkdir -p "$directory/upper" "$directory/work" "$root" "$directory/tmp"
chmod 1777 "$directory/tmp"

# Instead of an image: this machine's files, with a layer of its own to write to.
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$root"
# A home of root's is closed to others; in this layer, not on the machine, the ways to what is needed are open.
while read -r path; do
  while [ "$path" != / ]; do
    [ ! -d "$root$path" ] || chmod a+x "$root$path"
    path=$(dirname "$path")
  done
done < "$directory/readable"
mkdir -p "$root/.former"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cd "$root"
pivot_root . .former

# From in here, as links lead elsewhere from outside: /var/run is one to /run.
bind() { # ro|rw SOURCE TARGET
  if [ -d "/.former$2" ]; then mkdir -p "$3"; else mkdir -p "$(dirname "$3")" && touch "$3"; fi
  mount --bind "/.former$2" "$3"
  [ "$1" = rw ] || mount -o remount,bind,ro "$3"
}
bind rw "$directory/tmp" /tmp
while read -r path; do bind ro "$path" "$path"; done < "/.former$directory/readable"
while read -r mode source target; do bind "$mode" "$source" "$target"; done < "/.former$directory/binds"
mkdir -p "$working_dir"
if [ "$read_only" = 1 ]; then
  mount -o remount,bind,ro /tmp
  mount -o remount,ro /
fi

umount -l /.former
cd "$working_dir"
# shellcheck disable=SC2086 # several options
exec setpriv $rights env -u OLDPWD PATH="$container_path" "$@"
