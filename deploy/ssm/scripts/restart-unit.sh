# untoil-restart-unit: restarts one of the allowed agents, if it is running and is guilty right now.
# It never stops, starts, enables or disables a unit.
# shellcheck shell=sh disable=SC2154
unit=${SSM_Unit-} least=${SSM_MinCorePct-}
case $unit in
  ds_agent.service | newrelic-infra.service) courier=false ;;
  amazon-ssm-agent.service | snap.amazon-ssm-agent.amazon-ssm-agent.service) courier=true ;;
  *) refuse unit_not_allowed 64 ;;
esac
between "$least" 10 9999 || refuse out_of_bounds 64
have systemctl || { more=",\"tool\":\"systemctl\"" && refuse missing_tool 69; }
once "$unit"
more=",\"unit\":\"$unit\",\"min_core_pct\":$least"

# show PROPERTY: of the unit; nothing if systemd does not answer. (`--value` is missing in systemd 219.)
show() { timeout 15 systemctl show -p "$1" "$unit" 2>/dev/null 9>&- | sed -n "s/^$1=//p" | tr -cd 'A-Za-z0-9_.-'; }
state() { printf '%s' "\"$(show ActiveState)\""; }
[ "$(show LoadState)" = loaded ] || refuse unit_absent 66
if [ "$(show ActiveState)" != active ]; then # a restart would start what somebody has stopped
  more="$more,\"state\":$(state)"
  refuse unit_not_active 67
fi
core=$(sample 5 "$unit")
more="$more,\"core_pct_before\":$core"
[ "$core" -ge "$least" ] || refuse not_the_culprit_now 65
if [ "$courier" = true ]; then
  # Other commands in flight would be reported lost. One worker is this script's own.
  workers=$(cat /proc/[0-9]*/comm 2>/dev/null | grep -cx 'ssm-document-wo' || true)
  if [ "$workers" -gt 1 ]; then
    more="$more,\"workers\":$workers"
    refuse courier_busy 72
  fi
fi
[ "$SSM_Mode" = act ] || finish true would_restart 0

if [ "$courier" = true ]; then
  # Never restart the courier inside its own delivery: hand over to systemd, and answer first.
  have systemd-run || { more="$more,\"tool\":\"systemd-run\"" && refuse missing_tool 69; }
  claim
  if ! timeout 20 systemd-run --unit="untoil-ssm-restart-$SSM_RunId" --on-active=20 --timer-property=AccuracySec=1s \
    systemctl restart "$unit" >>"$log" 2>&1 </dev/null 9>&-; then refuse restart_failed 10; fi
  finish true restart_scheduled 0
fi

entered=$(show ActiveEnterTimestampMonotonic)
claim
status=0
timeout 90 systemctl restart "$unit" >>"$log" 2>&1 </dev/null 9>&- || status=$?
waited=0
while [ "$(show ActiveState)" != active ] && [ "$waited" -lt 30 ]; do
  sleep 2
  waited=$((waited + 2))
done
more="$more,\"systemctl\":$status,\"state\":$(state)"
if [ "$(show ActiveState)" != active ] || [ "$(show ActiveEnterTimestampMonotonic)" = "$entered" ]; then
  refuse restart_failed 10
fi
more="$more,\"core_pct_after\":$(sample 5 "$unit")"
finish true restarted 0
