//! `untoil-disk-reclaim` and `untoil-disk-diag`, run for real on a full tmpfs.
#![expect(clippy::unwrap_used, clippy::format_collect, reason = "tests")]

mod host;

use host::Host;

/// 64 MiB of `/var/log`, full: 20 MB of plain rotated logs, two old packed ones, and things that must stay.
const FULL: &str = r#"
touch /var/log/app.log /var/log/messages
fill /var/log/app.log.1 10000000
fill /var/log/messages-20251101 10000000
noise /var/log/app.log.8.gz 3000000; touch -d '10 days ago' /var/log/app.log.8.gz
noise /var/log/app.log.3.gz 2000000; touch -d '2 days ago' /var/log/app.log.3.gz
# must stay as they are
fill '/var/log/two words.log.1' 70000
fill '/var/log/a;rm -rf x.log.1' 70000
fill "$(printf '/var/log/new\nline.log.1')" 70000
fill /var/log/-dash.log.1 70000
mkdir /var/log/audit; fill /var/log/audit/audit.log.1 70000
fill /var/log/backup.1 70000                       # nothing called `backup` beside it
noise /var/log/initial-status.gz 70000; touch -d '30 days ago' /var/log/initial-status.gz
mkdir /var/log/shop; echo keep >"$T/outside"; ln -s "$T/outside" /var/log/shop/app.log.1
fill /var/log/held.log.1 70000; sleep 300 </var/log/held.log.1 & held=$!
trap 'kill $held' EXIT
printf '' | config
noise /var/log/app.db 99999999 2>/dev/null || true # all the rest: 100 % full
"#;

#[test]
fn a_full_disk_is_brought_below_its_target() {
    let Some(host) = Host::after(&format!(
        "{FULL}\ntree before\nrun act untoil-disk-reclaim SSM_TargetUsedPct=80\ntree after"
    )) else {
        return;
    };
    let act = host.answer("act");
    assert_eq!((act.code(), act.status), ("reached", 0), "{act:?}");
    assert_eq!(act.json["used_pct_before"], 100);
    assert!(act.json["used_pct_after"].as_u64().unwrap() <= 80, "{act:?}");
    assert_eq!(act.json["acted"], true);
    // Full to the last byte there is no room to pack, so what is older than KeepDays goes first, then the rest is packed.
    assert_eq!(act.json["deleted"], 1, "{act:?}");
    assert!(act.json["compressed"].as_u64().unwrap() >= 1, "{act:?}");
    let after = host.text("after.tree");
    assert!(after.contains("./app.log.3.gz 2000000"), "younger than KeepDays: {after}");
    assert!(!after.contains("./app.log.8.gz"), "{after}");
}

#[test]
fn what_is_not_surely_a_rotated_log_stays_as_it_is() {
    let Some(host) = Host::after(&format!(
        "{FULL}\ntree before\nrun act untoil-disk-reclaim SSM_TargetUsedPct=50\ntree after\ncat /proc/$held/comm >$T/alive"
    )) else {
        return;
    };
    let act = host.answer("act");
    assert_eq!((act.code(), act.status), ("not_enough", 11), "{act:?}");
    assert_eq!(act.json["acted"], true);
    assert_eq!(act.json["compressed"], 2, "{act:?}");
    assert_eq!(act.json["deleted"], 1, "{act:?}");
    assert_eq!(act.json["skipped_open"], 1, "{act:?}");
    assert_eq!(act.json["odd_names"], 4, "{act:?}");
    assert_eq!(act.json["biggest"][0]["path"], "/var/log/app.db");
    let (before, after) = (host.text("before.tree"), host.text("after.tree"));
    let touched = ["./app.log.1 ", "./messages-20251101 ", "./app.log.8.gz "];
    for line in before.lines().filter(|line| !touched.iter().any(|name| line.starts_with(name))) {
        assert!(after.contains(line), "`{line}` was changed:\n{after}");
    }
    assert!(after.contains("./app.log.1.gz"), "{after}");
    assert_eq!(host.text("outside"), "keep\n");
    assert_eq!(host.text("alive"), "sleep\n");
}

#[test]
fn a_second_run_with_the_same_id_does_nothing_and_repeats_the_answer() {
    let Some(host) = Host::after(&format!(
        "{FULL}\nrun one untoil-disk-reclaim\nrm /var/log/app.db; noise /var/log/app.db 99999999 2>/dev/null || true
        fill /var/log/app.log.2 60000 || true\ntree before\nrun two untoil-disk-reclaim\ntree after"
    )) else {
        return;
    };
    let (one, two) = (host.answer("one"), host.answer("two"));
    assert_eq!((two.code(), two.status, &two.json["acted"]), ("already_done", 0, &false.into()));
    assert_eq!(two.json["first"], one.json);
    assert_eq!(host.text("before.tree"), host.text("after.tree"));
}

#[test]
fn a_run_that_crashed_in_the_middle_is_told_apart_and_not_repeated() {
    // The host's shell is killed while it rotates: the marker of the start is there, the answer is not.
    let Some(host) = Host::after(
        r#"
        [ -e /usr/sbin/logrotate ] || { mount -t tmpfs none /usr/sbin; : >/usr/sbin/logrotate; }
        stand_in /usr/sbin/logrotate <<'END'
#!/bin/sh
kill -9 "$(cat /run/victim)"
END
        [ -e /etc/logrotate.conf ] || { mount -t tmpfs none /etc; : >/etc/logrotate.conf; }
        noise /var/log/app.db 63000000
        touch /var/log/messages
        printf 'echo $$ >/run/victim\n' | cat - $T/untoil-disk-reclaim.sh >$T/x && cp $T/x $T/untoil-disk-reclaim.sh
        run one untoil-disk-reclaim
        tree before
        run two untoil-disk-reclaim
        tree after
        run other untoil-disk-reclaim SSM_RunId=01JTESTRUN-1-1 SSM_Mode=dry
        "#,
    ) else {
        return;
    };
    assert_eq!(host.text("one.out"), "");
    let two = host.answer("two");
    assert_eq!(
        (two.code(), two.status, &two.json["acted"]),
        ("already_started", 70, &false.into())
    );
    assert_eq!(host.text("before.tree"), host.text("after.tree"));
    assert_eq!(host.answer("other").code(), "would_reclaim");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let Some(host) = Host::after(&format!(
        "{FULL}\ntruncate -s 15000000 /var/log/app.db\ntree before\nrun dry untoil-disk-reclaim SSM_Mode=dry SSM_TargetUsedPct=50\ntree after
        find /run/untoil -type f | sort >$T/state"
    )) else {
        return;
    };
    let dry = host.answer("dry");
    assert_eq!((dry.code(), dry.status, &dry.json["acted"]), ("would_reclaim", 0, &false.into()));
    assert!(dry.stdout.contains("would pack /var/log/app.log.1"), "{}", dry.stdout);
    assert!(dry.stdout.contains("would remove /var/log/app.log.8.gz"), "{}", dry.stdout);
    assert!(dry.stdout.contains("would run rotate"), "{}", dry.stdout);
    assert!(!dry.stdout.contains("initial-status"), "{}", dry.stdout);
    assert_eq!(host.text("before.tree"), host.text("after.tree"));
    assert_eq!(host.text("state"), "/run/untoil/lock.act\n");
}

/// Runs with a stand-in for gzip that, asked to pack `$file`, does `how` first. What is there after.
fn packed_while(how: &str) -> Option<(host::Answer, String)> {
    let host = Host::after(&format!(
        r#"
        cp "$(command -v gzip)" /run/gzip
        stand_in "$(command -v gzip)" <<'END'
#!/bin/sh
if [ "$1" = -- ]; then
  file=$2
  {how}
fi
exec /run/gzip "$@"
END
        printf '' | config
        touch /var/log/app.log; fill /var/log/app.log.1 30000000; noise /var/log/app.db 28000000
        run act untoil-disk-reclaim
        tree after
        [ ! -e /var/log/app.log.1.gz ] || head -c 40 /var/log/app.log.1.gz | tr -c '[:print:]' . >$T/double
        "#
    ))?;
    let double = host.path("double").exists().then(|| host.text("double"));
    let after = host.text("after.tree");
    Some((host.answer("act"), format!("{}\n{after}", double.unwrap_or_default())))
}

#[test]
fn what_logrotate_packs_at_the_same_time_stays() {
    for how in [
        // It is there when our gzip begins, which then leaves it alone.
        r#"printf "logrotate's own" >"$file.gz""#,
        // The same, half-done and still being written, while ours is killed.
        r#"{ printf "logrotate's own"; sleep 20; } >"$file.gz" & sleep 0.3; kill -9 $$"#,
    ] {
        let Some((act, after)) = packed_while(how) else { return };
        assert_eq!(act.json["compressed"], 0, "{how}: {act:?}");
        assert!(after.starts_with("logrotate's own\n"), "{how}: {after}");
        assert!(after.contains("./app.log.1 30000000"), "{how}: {after}");
    }
    // Whole, while ours is killed.
    let whole = r#"/run/gzip -c "$file" >"$file.gz"; kill -9 $$"#;
    let Some((act, after)) = packed_while(whole) else { return };
    assert_eq!(act.json["compressed"], 0, "{act:?}");
    assert!(after.contains("./app.log.1.gz ") && after.contains("./app.log.1 "), "{after}");
}

#[test]
fn what_our_own_killed_gzip_left_behind_is_removed() {
    let half = r#"/run/gzip -c "$file" | head -c 5000 >"$file.gz"; kill -9 $$"#;
    let Some((act, after)) = packed_while(half) else { return };
    assert_eq!(act.json["compressed"], 0, "{act:?}");
    assert!(after.contains("./app.log.1 30000000") && !after.contains(".gz"), "{after}");
}

#[test]
fn a_large_live_log_is_rotated_by_its_own_rules_and_packed() {
    let Some(host) = Host::after(
        r#"
        if ! command -v logrotate >/dev/null; then echo missing >$T/missing; exit 0; fi
        mount -t tmpfs none /var/lib/logrotate
        config <<'END'
weekly
rotate 4
create
/var/log/shop.log {
  compress
  delaycompress
  postrotate
    echo rotated >>/run/postrotate
    sleep 30 >/dev/null 2>&1 &
    echo $! >/run/daemon
  endscript
}
/var/log/small.log { compress
}
END
        fill /var/log/shop.log 48000000; fill /var/log/small.log 5000000
        run act untoil-disk-reclaim SSM_TargetUsedPct=60
        tree after; cp /run/postrotate $T/postrotate
        run next untoil-disk-reclaim SSM_TargetUsedPct=60 SSM_RunId=01JTESTRUN-2-0
        kill "$(cat /run/daemon)"
        "#,
    ) else {
        return;
    };
    if host.path("missing").exists() {
        eprintln!("SKIPPED: logrotate is not installed; rotation was not run");
        return;
    }
    let act = host.answer("act");
    assert_eq!((act.code(), &act.json["rotated"]), ("reached", &1.into()), "{act:?}");
    assert_eq!(act.json["compressed"], 1, "delaycompress left it plain: {act:?}");
    let after = host.text("after.tree");
    assert!(after.contains("./shop.log.1.gz") && after.contains("./shop.log 0"), "{after}");
    assert!(after.contains("./small.log 5000000"), "not above RotateMb: {after}");
    assert_eq!(host.text("postrotate"), "rotated\n");
    // What a postrotate script leaves running does not hold the lock.
    assert_eq!(host.answer("next").code(), "nothing_to_do");
}

#[test]
fn the_journal_gives_only_what_is_older_than_keep_days_and_nothing_runs_once_the_target_is_reached()
{
    let Some(host) = Host::after(
        r#"
        stand_in /usr/bin/journalctl <<'END'
#!/bin/sh
echo "$*" >>/run/journalctl
case $1 in --vacuum-time=*) rm /var/log/journal/archived;; esac
END
        printf '' | config
        mkdir /var/log/journal; fill /var/log/journal/archived 30000000
        noise /var/log/app.log.9.gz 2000000; touch -d '30 days ago' /var/log/app.log.9.gz
        noise /var/log/app.db 28000000
        run act untoil-disk-reclaim
        cp /run/journalctl $T/calls; tree after
        "#,
    ) else {
        return;
    };
    assert_eq!(host.answer("act").code(), "reached");
    assert_eq!(host.text("calls"), "--rotate\n--vacuum-time=7d\n");
    assert!(host.text("after.tree").contains("app.log.9.gz"), "the target was reached before");
}

#[test]
fn a_link_in_place_of_a_folder_is_not_followed() {
    let Some(host) = Host::after(
        r"
        mkdir $T/etc /var/log/real; touch -d '30 days ago' $T/etc/passwd.log.1.gz
        fill $T/etc/shadow.log.1 200000
        ln -s $T/etc /var/log/shop
        noise /var/log/app.db 99999999 2>/dev/null || true
        printf '' | config
        run act untoil-disk-reclaim
        ls $T/etc >$T/left
        ",
    ) else {
        return;
    };
    assert_eq!(host.answer("act").code(), "not_enough");
    assert_eq!(host.text("left"), "passwd.log.1.gz\nshadow.log.1\n");
}

#[test]
fn refusals_have_codes_and_statuses_of_their_own_and_change_nothing() {
    let cases = [
        ("SSM_NotAfter=1700000000", "expired", 75),
        ("SSM_NotAfter=9999999999", "bad_deadline", 64),
        ("SSM_NotAfter=soon", "bad_deadline", 64),
        ("SSM_NotAfter=", "bad_deadline", 64),
        ("SSM_RunId=short", "bad_run_id", 64),
        ("'SSM_RunId=a/../../etc/x'", "bad_run_id", 64),
        ("SSM_RunId=0123456789012345678901234567890123456789012345678", "bad_run_id", 64),
        ("SSM_Mode=both", "bad_mode", 64),
        ("SSM_Mount=/var/log/shop", "not_a_mount", 66),
        ("SSM_Mount=/no/such", "not_a_mount", 66),
        ("'SSM_Mount=/var/log;id'", "bad_mount", 64),
        ("'SSM_Mount=/var log'", "bad_mount", 64),
        ("\"SSM_Mount=$(printf '/var\\nx')\"", "bad_mount", 64),
        ("SSM_Mount=/var/../etc", "bad_mount", 64),
        ("SSM_Mount=-x", "bad_mount", 64),
        ("SSM_Mount=", "bad_mount", 64),
        ("SSM_Mount=/proc", "not_a_local_disk", 68),
        ("SSM_Mount=/var/log/fixed", "mount_read_only", 67),
        ("SSM_TargetUsedPct=49", "out_of_bounds", 64),
        ("SSM_TargetUsedPct=96", "out_of_bounds", 64),
        ("'SSM_TargetUsedPct=80;id'", "out_of_bounds", 64),
        ("SSM_KeepDays=0", "out_of_bounds", 64),
        ("SSM_KeepDays=08", "out_of_bounds", 64),
        ("SSM_RotateMb=99999", "out_of_bounds", 64),
        ("SSM_Docker=all", "out_of_bounds", 64),
    ];
    let runs: String = cases
        .iter()
        .enumerate()
        .map(|(n, (set, _, _))| {
            format!("run {n} untoil-disk-reclaim SSM_RunId=01JTESTRUN-{n}-0 {set}\n")
        })
        .collect();
    let Some(host) = Host::after(&format!(
        "{FULL}\nmkdir /var/log/fixed; mount -t tmpfs -o ro,size=1m none /var/log/fixed\ntree before\n{runs}\ntree after"
    )) else {
        return;
    };
    for (n, (set, code, status)) in cases.iter().enumerate() {
        let answer = host.answer(&n.to_string());
        assert_eq!((answer.code(), answer.status), (*code, *status), "{set}: {answer:?}");
        assert_eq!(
            (&answer.json["acted"], answer.stderr.as_str()),
            (&false.into(), ""),
            "{set}: {answer:?}"
        );
    }
    assert_eq!(host.text("before.tree"), host.text("after.tree"));
}

#[test]
fn a_host_that_is_busy_or_has_no_state_folder_of_roots_own_refuses() {
    let Some(host) = Host::after(&format!(
        "{FULL}\ntree before\nmkdir -m 700 /run/untoil
        (exec 9>/run/untoil/lock.act; flock 9; exec sleep 60) & lock=$!; trap 'kill $held $lock || true' EXIT
        until ! flock -n /run/untoil/lock.act true; do sleep 0.1; done
        run busy untoil-disk-reclaim\nrun reader untoil-disk-diag
        kill $lock; wait $lock || true; rm -rf /run/untoil; mkdir /run/elsewhere; ln -s /run/elsewhere /run/untoil
        run link untoil-disk-reclaim\nrm /run/untoil; mkdir -m 777 /run/untoil; run open untoil-disk-reclaim\ntree after"
    )) else {
        return;
    };
    let busy = host.answer("busy");
    assert_eq!((busy.code(), busy.status, &busy.json["acted"]), ("busy", 73, &false.into()));
    assert_eq!(host.answer("reader").code(), "diag", "reading goes on beside acting");
    for name in ["link", "open"] {
        assert_eq!(
            (host.answer(name).code(), host.answer(name).status),
            ("no_state", 74),
            "{name}"
        );
    }
    assert_eq!(host.text("before.tree"), host.text("after.tree"));
}

#[test]
fn an_agent_too_old_for_environment_variables_runs_the_same_script() {
    let Some(host) = Host::with_scripts(
        r#"
        printf '' | config
        touch /var/log/app.log; fill /var/log/app.log.1 30000000; noise /var/log/app.db 28000000
        later=$(($(date +%s) + 300))
        sed -i "s/{{ NotAfter }}/$later/" $T/untoil-disk-reclaim.sh
        status=0; env -i PATH=/nowhere /bin/sh $T/untoil-disk-reclaim.sh >$T/old.out 2>$T/old.err || status=$?
        echo $status >$T/old.status
        "#,
        |script| {
            [
                ("RunId", "01JTESTRUN-1-0"),
                ("Mode", "act"),
                ("executionTimeout", "600"),
                ("Mount", "/var/log"),
                ("TargetUsedPct", "80"),
                ("KeepDays", "7"),
                ("RotateMb", "100"),
                ("Docker", "off"),
            ]
            .iter()
            .fold(script, |script, (name, value)| {
                script.replace(&format!("{{{{ {name} }}}}"), value)
            })
        },
    ) else {
        return;
    };
    let old = host.answer("old");
    assert_eq!((old.code(), &old.json["compressed"]), ("reached", &1.into()), "{old:?}");
}

#[test]
fn a_diagnosis_names_what_fills_the_disk_and_what_cleaning_cannot_free() {
    let Some(host) = Host::after(
        r#"
        noise "$(printf '/var/log/quo"te\nline\\x.dump')" 20000000
        fill /var/log/gone.log 15000000
        sleep 300 </var/log/gone.log & gone=$!; trap 'kill $gone' EXIT
        sleep 0.2; rm /var/log/gone.log
        tree before; run diag untoil-disk-diag; tree after; echo $gone >$T/pid
        run again untoil-disk-diag
        "#,
    ) else {
        return;
    };
    let diag = host.answer("diag");
    assert_eq!((diag.code(), diag.status, &diag.json["acted"]), ("diag", 0, &false.into()));
    assert_eq!(diag.json["fs"], "tmpfs");
    assert_eq!(diag.json["files"][0]["path"], "/var/log/quo\"te?line\\x.dump");
    assert_eq!(diag.json["files"][0]["kb"], 19531);
    assert_eq!(diag.json["dirs"][0]["path"], "/var/log/");
    assert_eq!(diag.json["deleted_open"][0]["pid"].to_string(), host.text("pid").trim());
    assert_eq!(diag.json["deleted_open"][0]["comm"], "sleep");
    assert_eq!(diag.json["deleted_open_kb"], 14648);
    assert_eq!(diag.json["read_only"], false);
    assert_eq!(host.text("before.tree"), host.text("after.tree"));
    assert_eq!(host.answer("again").code(), "diag", "reading may be repeated");
}
