# The start of every untoil document (POSIX sh; the SSM agent runs it as root with `sh`).
#
# It answers with one line, `UNTOIL_RESULT {json}`, always the first of its output, and it acts at
# most once per RunId on this host, whatever SSM delivers twice or late.
# shellcheck shell=sh disable=SC2034,SC2154
set -eu
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
unset IFS CDPATH ENV GZIP TMPDIR

state=/run/untoil # tmpfs: /var may be the full disk
acted=false       # whether anything on this host may have been changed
key=              # names the markers of this RunId, once it is known to be ours
run_member=
log=
tmp=
more=             # members of the answer known so far, each led by a comma

# finish OK CODE STATUS: the answer, then the log for people. Nothing runs after it.
finish() {
  trap '' TERM INT HUP
  trap - EXIT
  set +e
  answer="{\"ok\":$1,\"code\":\"$2\",\"acted\":$acted,\"document\":\"$UNTOIL_DOC\"$run_member$more}"
  if [ -n "$key" ] && [ "$SSM_Mode" = act ]; then
    printf '%s\n' "$answer" >"$state/new.$key" && mv -f "$state/new.$key" "$state/done.$key"
  fi 2>/dev/null
  printf 'UNTOIL_RESULT %s\n' "$answer"
  if [ -n "$log" ] && [ -s "$log" ]; then
    echo '--- log'
    head -c 12000 "$log" | tr -c '\11\12\40-\176' '?'
    echo
  fi
  [ -z "$log" ] || rm -f "$log" "$tmp".*
  exit "$3"
}
refuse() { finish false "$1" "$2"; }
# A command that failed where none should, or a signal: still one answer.
trap 'finish false failed 12' EXIT
trap 'finish false interrupted 13' TERM INT HUP

have() { command -v "$1" >/dev/null 2>&1; }
note() { printf '%s\n' "$*" >>"$log"; }
# json TEXT: a JSON string; whatever is not printable ASCII becomes `?`.
json() { printf '"%s"' "$(printf '%s' "$1" | tr -c '\40-\176' '?' | cut -c1-200 | sed 's/[\\"]/\\&/g')"; }
# between VALUE LEAST MOST: a decimal number without leading zeros, within bounds.
between() {
  case $1 in '' | 0?* | *[!0-9]* | ???????????*) return 1 ;; esac
  [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

case ${SSM_RunId-} in
  '' | *[!A-Za-z0-9_-]* | -*) refuse bad_run_id 64 ;;
  ?????????????????????????????????????????????????*) refuse bad_run_id 64 ;;
  ????????*) ;;
  *) refuse bad_run_id 64 ;;
esac
run_member=",\"run\":\"$SSM_RunId\""
case ${SSM_Mode-} in dry | act) ;; *) refuse bad_mode 64 ;; esac
run_member="$run_member,\"mode\":\"$SSM_Mode\""
started=$(date +%s)
# Markers are kept for two days, so a deadline further off than one could outlive them.
between "${SSM_NotAfter-}" 1000000000 "$((started + 86400))" || refuse bad_deadline 64
expired() { [ "$(date +%s)" -gt "$SSM_NotAfter" ]; }
if expired; then # a queued command must not run late
  more=",\"late_s\":$((started - SSM_NotAfter))"
  refuse expired 75
fi
# Stop in good time before the agent kills this script without a word.
case ${UNTOIL_TIMEOUT-} in '' | *[!0-9]* | 0* | ?????*) UNTOIL_TIMEOUT=120 ;; esac
deadline=$((started + UNTOIL_TIMEOUT - (UNTOIL_TIMEOUT > 60 ? 20 : UNTOIL_TIMEOUT / 3)))
left() { echo "$((deadline - $(date +%s)))"; }

for tool in awk df find flock mktemp nice sed sort stat timeout tr; do
  if ! have "$tool"; then
    more=",\"tool\":\"$tool\""
    refuse missing_tool 69
  fi
done
mkdir -p "$state" 2>/dev/null || refuse no_state 74
if [ -L "$state" ] || [ "$(stat -c '%u %a' "$state")" != "$(id -u) 700" ]; then refuse no_state 74; fi
(: >"$state/lock.$UNTOIL_KIND") 2>/dev/null || refuse no_state 74
exec 9>"$state/lock.$UNTOIL_KIND" # children get 9>&-: one that stays must not keep the lock
flock -n 9 || refuse busy 73
find "$state" -maxdepth 1 -type f \( -name 'done.*' -o -name 'started.*' -o -name 'out.*' \) \
  -mmin +2880 -delete 2>/dev/null || true
log=$(mktemp "$state/out.XXXXXX") || refuse no_state 74
tmp=$log

# once THING: the answer given before, if this RunId was here before for the same thing.
once() {
  [ "$SSM_Mode" = act ] || return 0
  marker="$UNTOIL_DOC.$SSM_RunId.$(printf '%s' "$1" | cksum | tr ' ' -)"
  if [ -f "$state/done.$marker" ]; then
    first=$(head -c 8000 "$state/done.$marker")
    more=",\"first\":${first:-null}"
    case $first in '{"ok":true,'*) finish true already_done 0 ;; *) finish false already_done 71 ;; esac
  fi
  [ ! -e "$state/started.$marker" ] || refuse already_started 70
  key=$marker
}
# claim: call it right before the first change. From here on this RunId counts as used.
claim() {
  [ "$acted" = false ] || return 0
  ! expired || refuse expired 75
  (set -C && : >"$state/started.$key") 2>/dev/null || { key=; refuse no_state 74; }
  acted=true
}

idle=
if have ionice && ionice -c3 true 2>/dev/null; then idle='ionice -c3'; fi
# slow SECONDS COMMAND…: out of everybody's way, and not for ever.
slow() {
  secs=$1
  shift
  # shellcheck disable=SC2086 # `idle` is nothing or two words
  nice -n 19 $idle timeout -k 5 "$secs" "$@" 9>&-
}
# --- end of the prelude
