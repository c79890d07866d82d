# untoil-disk-diag (reads only): what fills a disk, and whether cleaning could help.
# shellcheck shell=sh disable=SC2154
# Files deleted but still open: space that no rm can free, only a restart of their process.
held=$(
  dev=$(stat -c %d -- "$mount")
  # shellcheck disable=SC2038 # names under /proc/PID/fd are numbers
  timeout 20 find /proc/[0-9]*/fd -mindepth 1 -maxdepth 1 -lname '/* (deleted)' -print 2>/dev/null 9>&- |
    while read -r fd; do
      what=$(stat -Lc '%d:%i %s' "$fd" 2>/dev/null) || continue
      case $what in "$dev":*) ;; *) continue ;; esac
      pid=${fd#/proc/}
      pid=${pid%%/*}
      comm=$(head -n 1 "/proc/$pid/comm" 2>/dev/null | tr -c 'A-Za-z0-9_.:/\n-' _) || comm=
      printf '%s %s %s\n' "$what" "$pid" "${comm:-_}"
    done | awk '!seen[$1]++ { print $2, $3, $4 }' | sort -rn
)
held_kb=$(printf '%s\n' "$held" | awk '{ s += $1 } END { printf "%d", s / 1024 }')
held_json=$(printf '%s\n' "$held" | head -n 5 | awk 'NF == 3 { printf "%s{\"pid\":%s,\"comm\":\"%s\",\"kb\":%d}", (n++ ? "," : ""), $2, $3, $1 / 1024 }')

under=${mount%/}
grown=$(slow 30 find "$under/" -xdev -type f -mmin -60 -size +1024k -printf '%s\t%p\0' 2>/dev/null | listed path 5)
files=$(slow 45 find "$under/" -xdev -type f -size +10240k -printf '%s\t%p\0' 2>/dev/null | listed path 8)
dirs=$(slow 45 du -x0 -B1 --max-depth=3 -- "$under/" 2>/dev/null | listed path 8)

more=",\"mount\":$(json "$mount"),\"fs\":$(json "$fs"),\"size_kb\":$size_kb,\"avail_kb\":$avail_before,\"used_pct\":$pct_before"
more="$more,\"inode_used_pct\":$(inode_pct),\"read_only\":$read_only,\"deleted_open_kb\":$held_kb,\"deleted_open\":[$held_json]"
more="$more,\"dirs\":$dirs,\"files\":$files,\"grown\":$grown"
finish true diag 0
