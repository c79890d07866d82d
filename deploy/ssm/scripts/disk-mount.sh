# The mount point that a disk document is about: $SSM_Mount, checked.
# shellcheck shell=sh disable=SC2154
mount=${SSM_Mount-}
case $mount in
  /) ;;
  *[!A-Za-z0-9._/-]* | */ | *//* | */.* | */-*) refuse bad_mount 64 ;;
  /*) ;;
  *) refuse bad_mount 64 ;;
esac
[ "${#mount}" -le 200 ] || refuse bad_mount 64
# disk DIR: "type size used available percent mount"; counted from the end, as names may hold spaces.
disk() {
  timeout 10 df -PkT -- "$1" 2>/dev/null 9>&- |
    awk 'NR == 2 { sub("%", "", $(NF-1)); print $(NF-5), $(NF-4), $(NF-3), $(NF-2), $(NF-1), $NF }'
}
# shellcheck disable=SC2046 # six words are wanted
set -- $(disk "$mount")
[ "${6-}" = "$mount" ] || refuse not_a_mount 66
case $1 in nfs* | cifs | smb* | 9p | fuse*) refuse not_a_local_disk 68 ;; esac
case $5 in '' | *[!0-9]*) refuse not_a_local_disk 68 ;; esac
fs=$1 size_kb=$2 avail_before=$4 pct_before=$5
pct() { disk "$mount" | awk '{ print $5 }'; }
avail() { disk "$mount" | awk '{ print $4 }'; }
# on_mount DIR: whether it exists and lies on this very mount.
on_mount() { [ -d "$1" ] && [ "$(disk "$1" | awk '{ print $6 }')" = "$mount" ]; }
inode_pct() { df -Pi -- "$mount" | awk 'NR == 2 { sub("%", "", $(NF-1)); print ($(NF-1) == "-" ? 0 : $(NF-1) + 0) }'; }
read_only=$(awk -v m="$mount" '$2 == m { r = "false"; n = split($4, o, ","); for (i = 1; i <= n; i++) if (o[i] == "ro") r = "true" }
  END { print r == "" ? "false" : r }' /proc/mounts)
# listed NAME MOST: JSON array of {"NAME":path,"kb":n} from "bytes<TAB>path\0" on stdin, biggest first.
listed() {
  tr '\n\0' '?\n' | tr -c '\11\12\40-\176' '?' | sort -rn | head -n "$2" | cut -c1-220 | sed 's/[\\"]/\\&/g' |
    awk -F '\t' -v name="$1" 'BEGIN { printf "[" } { printf "%s{\"%s\":\"%s\",\"kb\":%d}", (NR > 1 ? "," : ""), name, $2, $1 / 1024 } END { printf "]" }'
}
