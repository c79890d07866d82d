# untoil-disk-reclaim: makes room on one mount, step by step, and stops as soon as the target is met.
#
# Order: what can be made again (package caches, outdated temporary files, Docker's build cache), then
# what loses nothing (compressing rotated logs, rotating by logrotate's own rules), and only then what
# is older than KeepDays (archived journal, rotated logs). Beside these it removes nothing. A file is
# touched only if its name is one that rotation makes, its path is plain (letters, digits, ._@:+=,-),
# it is no link, it is not audit's, and no process has it open.
# shellcheck shell=sh disable=SC2154
target=${SSM_TargetUsedPct-} keep=${SSM_KeepDays-} rotate_mb=${SSM_RotateMb-} docker=${SSM_Docker-}
between "$target" 50 95 || refuse out_of_bounds 64
between "$keep" 1 365 || refuse out_of_bounds 64
between "$rotate_mb" 1 9999 || refuse out_of_bounds 64
case $docker in off | cache) ;; *) refuse out_of_bounds 64 ;; esac
once "$mount"
more=",\"mount\":$(json "$mount"),\"target_used_pct\":$target,\"used_pct_before\":$pct_before"
[ "$read_only" = false ] || refuse mount_read_only 67

reached() { [ "$(pct)" -le "$target" ]; }
if reached; then
  more="$more,\"used_pct_after\":$pct_before,\"freed_kb\":0"
  finish true nothing_to_do 0
fi

steps="" n_deleted=0 n_compressed=0 n_rotated=0 n_odd=0
: >"$tmp.skipped" # files that a process has open
# did NAME STATUS BEFORE: remembers one step for the answer. STATUS is a number, or a JSON word.
did() { steps="$steps${steps:+,}{\"step\":\"$1\",\"status\":$2,\"freed_kb\":$(($(avail) - $3))}"; }
# step NAME SECONDS COMMAND…: one command that makes room, if room is still wanted and time is left.
step() {
  name=$1 most=$2
  shift 2
  ! reached || return 0
  if [ "$SSM_Mode" = dry ]; then
    note "would run $name: $*"
    did "$name" '"would"' "$(avail)"
    return 0
  fi
  time=$(left)
  [ "$time" -ge 5 ] || { note "no time left for $name"; return 0; }
  [ "$time" -le "$most" ] || time=$most
  claim
  before=$(avail) status=0
  slow "$time" "$@" >"$tmp.step" 2>&1 </dev/null || status=$?
  did "$name" "$status" "$before"
  note "$name: status $status"
  tail -c 1500 "$tmp.step" >>"$log"
}

# Where rotated logs lie on this mount: /var/log, or the mount itself if it is below /var/log.
logs=
case $mount in
  /var/log/*) logs=$mount ;;
  *) if real=$(cd -P /var/log 2>/dev/null && pwd -P) && on_mount "$real"; then logs=$real; fi ;;
esac
# find_logs TEST…: "mtime device:inode bytes path" of plain files with plain paths below $logs.
find_logs() {
  slow 60 find "$logs" -xdev \( -path "$logs/audit" -o -path '/var/log/audit' -o -path "$logs/journal" \) -prune \
    -o -type f -links 1 ! -path '*[!A-Za-z0-9._@:+=,/-]*' ! -path '*/-*' \( "$@" \) -printf '%T@ %D:%i %s %p\n' 2>/dev/null
}
# rotated PATH: whether only rotation makes such a name: `X.1`, `X-20260131`, packed or not, where X is
# a file beside it or is called *.log.
rotated() {
  base=${1%.gz} base=${base%.xz} base=${base%.zst} base=${base%.bz2}
  case $base in
    *.[0-9] | *.[0-9][0-9]) base=${base%.*} ;;
    *-20[0-9][0-9][01][0-9][0-3][0-9]) base=${base%-*} ;;
    *) return 1 ;;
  esac
  case $base in *.log) return 0 ;; */) return 1 ;; esac
  [ -f "$base" ]
}
# open_files: "device:inode" of all files that any process has open. Fails if that cannot be learnt.
open_files() {
  got=0
  timeout 30 find -L /proc/[0-9]*/fd -mindepth 1 -maxdepth 1 -type f -printf '%D:%i\n' >"$tmp.open" 2>/dev/null 9>&- || got=$?
  [ "$got" -lt 2 ] # 1: processes came and went meanwhile
}
# beside PATH COMMAND…: COMMAND ./NAME inside PATH's directory, unless a link stands anywhere on the way.
beside() (
  dir=${1%/*} file=./${1##*/}
  shift
  cd -P "$dir" 2>/dev/null && [ "$(pwd -P)" = "$dir" ] && [ -f "$file" ] && [ ! -L "$file" ] && "$@" "$file"
)

# What packing leaves free at least: a hundredth of the disk, at most 10 MiB.
spare_kb=$((size_kb / 100))
[ "$spare_kb" -le 10240 ] || spare_kb=10240
# fits PATH BYTES: whether its packed double fits on the disk. Where room is scarce it is packed to nowhere first.
fits() {
  room=$(($(avail) - spare_kb))
  [ "$(($2 / 1024))" -ge "$room" ] || return 0
  [ "$room" -gt 64 ] && [ "$(left)" -ge 30 ] || return 1
  packed=$(beside "$1" slow "$(left)" gzip -c -- 2>/dev/null </dev/null | wc -c)
  [ "$packed" -gt 0 ] && [ "$((packed / 1024))" -lt "$room" ]
}
# left_behind PATH: removes a packed double that a killed gzip left half-done. One that is whole, or that a
# process has open, is somebody else's: logrotate may pack at the same time.
left_behind() {
  got=0
  beside "$1" slow 10 gzip -t -- >/dev/null 2>&1 </dev/null || got=$?
  [ "$got" = 1 ] || return 0
  double=$(beside "$1" stat -c '%d:%i' -- 2>/dev/null) || return 0
  open_files && ! grep -qxF -- "$double" "$tmp.open" || return 0
  beside "$1" rm -f -- || true
}
# Packs rotated logs that are still plain, smallest first.
compress() {
  [ -n "$logs" ] && have gzip && ! reached || return 0
  before=$(avail) would=0 status=0
  find_logs -size +64k \( -name '*.[0-9]' -o -name '*.[0-9][0-9]' -o -name '*-20[0-9][0-9][01][0-9][0-3][0-9]' \) |
    sort -n -k3 | head -n 200 >"$tmp.list" || true
  while read -r mtime id bytes path; do
    rotated "$path" && [ ! -e "$path.gz" ] || continue
    fits "$path" "$bytes" || { note "no room to pack $path"; continue; }
    if ! open_files || grep -qxF -- "$id" "$tmp.open"; then echo "$id" >>"$tmp.skipped" && continue; fi
    if [ "$SSM_Mode" = dry ]; then would=$((would + 1)) && note "would pack $path" && continue; fi
    ! reached || break
    time=$(left)
    [ "$time" -ge 5 ] || break
    claim
    # gzip never writes over a file that has come to be there meanwhile, and takes its own back unless it is killed.
    got=0
    beside "$path" slow "$time" gzip -- >>"$log" 2>&1 </dev/null || got=$?
    if [ "$got" = 0 ]; then
      n_compressed=$((n_compressed + 1)) && note "packed $path"
    else
      status=1
      [ "$got" != 137 ] || [ ! -f "$path" ] || left_behind "$path.gz"
    fi
  done <"$tmp.list"
  if [ "$SSM_Mode" = dry ]; then status='"would"'; fi
  did compress "$status" "$before"
}

# Rotates by the host's own definitions, and early those logs that have grown above RotateMb. Not by
# --force: that would rotate everything.
rotate() {
  have logrotate && [ -f /etc/logrotate.conf ] || return 0
  [ -n "$logs" ] || grep -rqsF -- "${mount%/}/" /etc/logrotate.conf /etc/logrotate.d || return 0
  printf 'maxsize %sM\ninclude /etc/logrotate.conf\n' "$rotate_mb" >"$tmp.conf"
  : >"$tmp.step"
  step rotate 300 logrotate -v "$tmp.conf"
  n_rotated=$((n_rotated + $(grep -c 'log needs rotating' "$tmp.step" || true)))
}

# Removes rotated logs older than KeepDays, oldest first.
expire() {
  [ -n "$logs" ] && ! reached || return 0
  before=$(avail) would=0
  open_files || { note 'cannot tell which files are open'; return 0; }
  find_logs -mtime "+$keep" \( -name '*.[0-9]' -o -name '*.[0-9][0-9]' -o -name '*-20[0-9][0-9][01][0-9][0-3][0-9]' \
    -o -name '*.gz' -o -name '*.xz' -o -name '*.zst' -o -name '*.bz2' \) | sort -n | head -n 5000 >"$tmp.list" || true
  while read -r mtime id bytes path; do
    rotated "$path" || continue
    if grep -qxF -- "$id" "$tmp.open"; then echo "$id" >>"$tmp.skipped" && continue; fi
    if [ "$SSM_Mode" = dry ]; then would=$((would + 1)) && note "would remove $path" && continue; fi
    ! reached && [ "$(left)" -ge 5 ] || break
    claim
    if beside "$path" rm -f --; then n_deleted=$((n_deleted + 1)) && note "removed $path"; fi
  done <"$tmp.list"
  status=0
  if [ "$SSM_Mode" = dry ]; then status='"would"'; fi
  did expire "$status" "$before"
}

# 1 what can be made again
if on_mount /var/cache; then
  if have dnf; then
    step dnf 60 dnf -q clean packages
  elif have yum; then
    step yum 60 yum -q clean packages
  elif have apt-get; then step apt 60 apt-get -q clean; fi
fi
if have systemd-tmpfiles && { on_mount /tmp || on_mount /var/tmp; }; then step tmpfiles 60 systemd-tmpfiles --clean; fi
if [ "$docker" = cache ] && have docker; then
  root=$(timeout 20 docker info 2>/dev/null 9>&- | sed -n 's/^ *Docker Root Dir: //p') || root=
  if [ -n "$root" ] && on_mount "$root"; then step docker_cache 120 docker builder prune -f --filter until=168h; fi
fi
# 2 what loses nothing
compress
rotate
compress
# 3 what is older than KeepDays
if ! reached; then
  if have journalctl && on_mount /var/log/journal; then
    step journal_rotate 30 journalctl --rotate # only archived journals are vacuumed; older systemd cannot do both at once
    step journal_expire 60 journalctl --vacuum-time="${keep}d"
  fi
  expire
  # There may be room now for what had none before.
  compress
  if [ "$SSM_Mode" = act ]; then
    rotate
    compress
  fi
fi

if [ -n "$logs" ]; then
  n_odd=$(slow 30 find "$logs" -xdev -type f \( -path '*[!A-Za-z0-9._@:+=,/-]*' -o -path '*/-*' \) -printf x 2>/dev/null | wc -c | tr -d ' ')
fi
n_open=$(sort -u "$tmp.skipped" | wc -l | tr -d ' ')
pct_after=$(pct)
more="$more,\"used_pct_after\":$pct_after,\"inode_used_pct\":$(inode_pct),\"freed_kb\":$(($(avail) - avail_before))"
more="$more,\"rotated\":$n_rotated,\"compressed\":$n_compressed,\"deleted\":$n_deleted,\"skipped_open\":$n_open,\"odd_names\":$n_odd,\"steps\":[$steps]"
[ "$SSM_Mode" = act ] || finish true would_reclaim 0
[ "$pct_after" -gt "$target" ] || finish true reached 0
more="$more,\"biggest\":$(slow 20 find "${mount%/}/" -xdev -type f -size +1024k -printf '%s\t%p\0' 2>/dev/null | listed path 5)"
finish false not_enough 11
