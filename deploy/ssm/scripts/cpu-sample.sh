# Who burns the CPU: two readings of /proc, so the answer is about now (`ps` shows a lifetime average)
# and needs no CPU accounting of systemd. One awk per reading: no fork per process on a suffering host.
# shellcheck shell=sh disable=SC2154,SC2016
# snapshot: "T seconds", "C busy steal total", and "P pid:start ticks unit comm" for each process.
snapshot() {
  printf '%s\n' /proc/[0-9]* | awk '
    function unit_of(dir,   line, path, named, n, i, parts, scope) {
      path = ""
      while ((getline line < (dir "/cgroup")) > 0) {
        if (line ~ /^0::/ && path == "") path = substr(line, 4)
        if (line ~ /^[0-9]+:name=systemd:/) { path = line; sub(/^[0-9]+:name=systemd:/, "", path) }
        if (line ~ /^[0-9]+:[^:]*cpuacct[^:]*:/) { named = line; sub(/^[0-9]+:[^:]*:/, "", named) }
      }
      close(dir "/cgroup")
      if (path == "" || path == "/") path = named
      n = split(path, parts, "/")
      scope = ""
      # The first service: a unit of a user cannot take the name of one of the system.
      for (i = 1; i <= n; i++) {
        if (parts[i] ~ /\.service$/) return parts[i]
        if (scope == "" && parts[i] ~ /\.scope$/) scope = parts[i]
      }
      if (scope != "") return scope
      if (path ~ /^\/(ecs|docker|kubepods)/) return parts[2] "/" substr(parts[n], 1, 12)
      return "-"
    }
    BEGIN {
      getline line < "/proc/uptime"; split(line, f, " "); print "T", f[1]
      while ((getline line < "/proc/stat") > 0) if (line ~ /^cpu /) {
        split(line, f, " ")
        busy = f[2] + f[3] + f[4] + f[7] + f[8]
        print "C", busy, f[9], busy + f[5] + f[6] + f[9]
      }
    }
    {
      dir = $0; pid = substr(dir, 7); stat = ""
      while ((getline line < (dir "/stat")) > 0) stat = stat line " "
      close(dir "/stat")
      if (stat == "") next
      comm = stat; sub(/^[^(]*\(/, "", comm); sub(/\) [^)]*$/, "", comm); gsub(/[^A-Za-z0-9_.:\/-]/, "_", comm)
      sub(/^.*\) /, "", stat); split(stat, f, " ")
      unit = unit_of(dir)
      if (unit == "-" && f[2] == 2 || pid == 2) unit = "kernel"
      gsub(/[^A-Za-z0-9_.:@\/-]/, "_", unit)
      # Commands that SSM runs live in the agent'"'"'s own group and are not the agent.
      if (unit ~ /amazon-ssm-agent\.service$/ && comm !~ /^(amazon-ssm-agen|ssm-agent-worke|ssm-document-wo|ssm-session-wor)/) unit = "ssm-command"
      print "P", pid ":" f[20], f[12] + f[13], unit, comm == "" ? "_" : comm
    }'
}
hz=$(getconf CLK_TCK) ncpu=$(getconf _NPROCESSORS_ONLN)
# sample SECONDS FOR: over that many seconds, FOR=all: JSON members; FOR=<unit>: its share of one core in percent.
sample() {
  snapshot >"$tmp.a"
  sleep "$1"
  snapshot >"$tmp.b"
  awk -v hz="$hz" -v ncpu="$ncpu" -v want="$2" '
    function most(of,   k, m) { m = ""; for (k in of) if (m == "" || of[k] > of[m]) m = k; return m }
    FILENAME == ARGV[1] {
      if ($1 == "T") t = $2; else if ($1 == "C") { busy = $2; steal = $3; all = $4 } else was[$2] = $3
      next
    }
    $1 == "T" { secs = $2 - t; if (secs <= 0) secs = 1; next }
    $1 == "C" { busy = $2 - busy; steal = $3 - steal; all = $4 - all; next }
    {
      ticks = $3 - ($2 in was ? was[$2] : 0); if (ticks < 0) ticks = 0
      pct = 100 * ticks / hz / secs
      unit[$4] += pct; proc[$2] = pct; sum += ticks
      split($2, id, ":"); told[$2] = "{\"pid\":" id[1] ",\"unit\":\"" $4 "\",\"comm\":\"" $5 "\",\"core_pct\":" sprintf("%.1f", pct) "}"
    }
    END {
      if (want != "all") { printf "%d\n", unit[want]; exit }
      total = 100 * busy / hz / secs
      # What ended between the readings has no process left to be told of.
      printf ",\"ncpu\":%d,\"busy_pct\":%.1f,\"steal_pct\":%.1f,\"sample_s\":%.1f,\"unseen_core_pct\":%.1f,\"units\":[", \
        ncpu, (all > 0 ? 100 * busy / all : 0), (all > 0 ? 100 * steal / all : 0), secs, (busy > sum ? 100 * (busy - sum) / hz / secs : 0)
      for (n = 0; n < 8; n++) {
        k = most(unit); if (k == "" || unit[k] < 1) break
        printf "%s{\"unit\":\"%s\",\"core_pct\":%.1f,\"share_pct\":%.1f}", (n ? "," : ""), k, unit[k], (total > unit[k] ? 100 * unit[k] / total : 100)
        delete unit[k]
      }
      printf "],\"top\":["
      for (n = 0; n < 10; n++) {
        k = most(proc); if (k == "" || proc[k] < 1) break
        printf "%s%s", (n ? "," : ""), told[k]
        delete proc[k]
      }
      print "]"
    }' "$tmp.a" "$tmp.b"
}
