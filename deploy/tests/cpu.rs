//! `untoil-cpu-culprit` and `untoil-restart-unit`, run for real beside a busy process.
//!
//! Units are lent: in the test's namespace a file is mounted over `/proc/PID/cgroup`, and a stand-in
//! over `systemctl`. The scripts are as they ship.
#![expect(clippy::unwrap_used, clippy::format_collect, reason = "tests")]

mod host;

use host::Host;

/// A busy process `$busy`, at most 60 s of CPU, killed at the end; `belongs PID CGROUP` lends it a unit.
const BUSY: &str = r#"
(ulimit -t 60; exec /bin/sh -c 'while :; do :; done') & busy=$!
trap 'kill $busy 2>/dev/null || true' EXIT
belongs() { echo "0::$2" >"$T/cgroup.$1"; mount --bind "$T/cgroup.$1" "/proc/$1/cgroup"; }
echo $busy >$T/pid
"#;

/// Stands in for systemd: remembers calls; `restart` ends the busy process and enters active anew.
const SYSTEMD: &str = r#"
echo loaded >/run/LoadState; echo active >/run/ActiveState; echo 1000 >/run/ActiveEnterTimestampMonotonic; echo $busy >/run/busy
stand_in /usr/bin/systemctl <<'END'
#!/bin/sh
echo "systemctl $*" >>/run/calls
case $1 in
  show) echo "$3=$(cat "/run/$3")" ;;
  restart) [ ! -e /run/refuse ] || exit 1
    kill "$(cat /run/busy)"; echo 2000 >/run/ActiveEnterTimestampMonotonic ;;
esac
END
stand_in /usr/bin/systemd-run <<'END'
#!/bin/sh
echo "systemd-run $*" >>/run/calls
END
: >/run/calls
"#;

fn restarts(host: &Host) -> Vec<String> {
    host.text("calls")
        .lines()
        .filter(|call| !call.starts_with("systemctl show"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_busy_process_and_its_unit_are_named() {
    let Some(host) = Host::after(&format!(
        "{BUSY}\nbelongs $busy /system.slice/newrelic-infra.service\nrun look untoil-cpu-culprit\nrun again untoil-cpu-culprit"
    )) else {
        return;
    };
    let look = host.answer("look");
    assert_eq!((look.code(), look.status, &look.json["acted"]), ("sampled", 0, &false.into()));
    assert_eq!((look.stdout.lines().count(), look.stderr.as_str()), (1, ""));
    let pid: u64 = host.text("pid").trim().parse().unwrap();
    let top = look.json["top"].as_array().unwrap();
    let busy = top.iter().find(|one| one["pid"] == pid);
    let busy = busy.unwrap_or_else(|| panic!("not among the top: {look:?}"));
    assert_eq!(busy["unit"], "newrelic-infra.service");
    assert_eq!(busy["comm"], "sh");
    assert!(busy["core_pct"].as_f64().unwrap() > 5.0, "{look:?}");
    let units = look.json["units"].as_array().unwrap();
    let unit = units.iter().find(|one| one["unit"] == "newrelic-infra.service").unwrap();
    assert!(unit["share_pct"].as_f64().unwrap() > 2.0, "{look:?}");
    assert!(unit["core_pct"].as_f64().unwrap() <= 110.0, "one thread is one core: {look:?}");
    assert!(
        look.json["busy_pct"].as_f64().unwrap() > 0.0 && look.json["ncpu"].as_u64().unwrap() > 0
    );
    assert_eq!(host.answer("again").code(), "sampled", "reading may be repeated");
}

#[test]
fn units_are_told_from_cgroups_so_that_nobody_can_borrow_a_name() {
    let cases = [
        ("/system.slice/ds_agent.service", "ds_agent.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/newrelic-infra.service",
            "user@1000.service",
        ),
        ("/system.slice/docker-0123456789abcdef0123.scope", "docker-0123456789abcdef0123.scope"),
        ("/ecs/0a1b2c3d4e5f/fedcba98765432100000", "ecs/fedcba987654"),
        ("/system.slice/amazon-ssm-agent.service", "ssm-command"),
    ];
    let runs: String = cases
        .iter()
        .enumerate()
        .map(|(n, (cgroup, _))| {
            format!(
                "belongs $busy {cgroup}\nrun {n} untoil-cpu-culprit\numount /proc/$busy/cgroup\n"
            )
        })
        .collect();
    let Some(host) = Host::after(&format!("{BUSY}\n{runs}")) else { return };
    let pid: u64 = host.text("pid").trim().parse().unwrap();
    for (n, (cgroup, unit)) in cases.iter().enumerate() {
        let look = host.answer(&n.to_string());
        let top = look.json["top"].as_array().unwrap();
        let busy = top.iter().find(|one| one["pid"] == pid).unwrap();
        assert_eq!(busy["unit"], *unit, "{cgroup}");
    }
}

#[test]
fn a_guilty_agent_is_restarted_once() {
    let Some(host) = Host::after(&format!(
        "{BUSY}{SYSTEMD}\nbelongs $busy /system.slice/newrelic-infra.service
        run dry untoil-restart-unit SSM_Mode=dry SSM_Unit=newrelic-infra.service; cp /run/calls $T/dry.calls
        run one untoil-restart-unit SSM_Unit=newrelic-infra.service
        run two untoil-restart-unit SSM_Unit=newrelic-infra.service; cp /run/calls $T/calls"
    )) else {
        return;
    };
    let (dry, one, two) = (host.answer("dry"), host.answer("one"), host.answer("two"));
    assert_eq!((dry.code(), dry.status, &dry.json["acted"]), ("would_restart", 0, &false.into()));
    assert!(!host.text("dry.calls").contains("restart"));
    assert_eq!(
        (one.code(), one.status, &one.json["acted"]),
        ("restarted", 0, &true.into()),
        "{one:?}"
    );
    assert!(one.json["core_pct_before"].as_u64().unwrap() >= 10, "{one:?}");
    assert_eq!(
        (&one.json["core_pct_after"], &one.json["state"]),
        (&0.into(), &"active".into()),
        "{one:?}"
    );
    assert_eq!((two.code(), two.status), ("already_done", 0));
    assert_eq!(two.json["first"], one.json);
    assert_eq!(restarts(&host), ["systemctl restart newrelic-infra.service"]);
}

#[test]
fn the_courier_is_restarted_only_after_its_answer_has_left() {
    let Some(host) = Host::after(&format!(
        "{SYSTEMD}
        cp /bin/sh $T/ssm-agent-worker
        (ulimit -t 60; exec $T/ssm-agent-worker -c 'while :; do :; done') & busy=$!
        cp /bin/sleep $T/ssm-document-worker; $T/ssm-document-worker 300 & own=$!; $T/ssm-document-worker 300 & other=$!
        trap 'kill $busy $own $other 2>/dev/null || true' EXIT
        echo 0::/system.slice/amazon-ssm-agent.service >$T/cgroup; mount --bind $T/cgroup /proc/$busy/cgroup
        run lost untoil-restart-unit SSM_Unit=amazon-ssm-agent.service SSM_RunId=01JTESTRUN-1-1
        kill $other; wait $other || true
        run act untoil-restart-unit SSM_Unit=amazon-ssm-agent.service; cp /run/calls $T/calls",
        SYSTEMD = SYSTEMD.replace("echo $busy >/run/busy", ":")
    )) else {
        return;
    };
    let lost = host.answer("lost");
    assert_eq!(
        (lost.code(), lost.status, &lost.json["acted"]),
        ("courier_busy", 72, &false.into()),
        "{lost:?}"
    );
    let act = host.answer("act");
    assert_eq!(
        (act.code(), act.status, &act.json["acted"]),
        ("restart_scheduled", 0, &true.into()),
        "{act:?}"
    );
    assert_eq!(
        restarts(&host),
        [
            "systemd-run --unit=untoil-ssm-restart-01JTESTRUN-1-0 --on-active=20 --timer-property=AccuracySec=1s systemctl restart amazon-ssm-agent.service"
        ]
    );
}

#[test]
fn a_restart_that_is_not_called_for_is_refused() {
    let cases = [
        ("", "SSM_Unit=sshd.service", "unit_not_allowed", 64),
        ("", "'SSM_Unit=ds_agent.service;id'", "unit_not_allowed", 64),
        ("", "SSM_Unit=", "unit_not_allowed", 64),
        ("", "SSM_MinCorePct=9", "out_of_bounds", 64),
        ("", "SSM_MinCorePct=0", "out_of_bounds", 64),
        ("", "SSM_Unit=ds_agent.service", "not_the_culprit_now", 65),
        ("", "SSM_MinCorePct=900", "not_the_culprit_now", 65),
        ("echo not-found >/run/LoadState;", "", "unit_absent", 66),
        ("echo masked >/run/LoadState;", "", "unit_absent", 66),
        (
            "echo loaded >/run/LoadState; echo inactive >/run/ActiveState;",
            "",
            "unit_not_active",
            67,
        ),
        ("echo active >/run/ActiveState;", "SSM_NotAfter=1700000000", "expired", 75),
    ];
    let runs: String = cases
        .iter()
        .enumerate()
        .map(|(n, (first, set, _, _))| {
            format!("{first} run {n} untoil-restart-unit SSM_Unit=newrelic-infra.service SSM_RunId=01JTESTRUN-{n}-0 {set}\n")
        })
        .collect();
    let Some(host) = Host::after(&format!(
        "{BUSY}{SYSTEMD}\nbelongs $busy /system.slice/newrelic-infra.service\n{runs}\ncp /run/calls $T/calls"
    )) else {
        return;
    };
    for (n, (first, set, code, status)) in cases.iter().enumerate() {
        let answer = host.answer(&n.to_string());
        assert_eq!((answer.code(), answer.status), (*code, *status), "{first} {set}: {answer:?}");
        assert_eq!(
            (&answer.json["acted"], answer.stderr.as_str()),
            (&false.into(), ""),
            "{set}: {answer:?}"
        );
    }
    assert!(restarts(&host).is_empty(), "{:?}", restarts(&host));
}

#[test]
fn a_restart_that_does_not_happen_is_told() {
    let Some(host) = Host::after(&format!(
        "{BUSY}{SYSTEMD}\nbelongs $busy /system.slice/ds_agent.service\n: >/run/refuse
        run act untoil-restart-unit SSM_Unit=ds_agent.service"
    )) else {
        return;
    };
    let act = host.answer("act");
    assert_eq!(
        (act.code(), act.status, &act.json["acted"]),
        ("restart_failed", 10, &true.into()),
        "{act:?}"
    );
    assert_eq!(act.json["systemctl"], 1);
}
