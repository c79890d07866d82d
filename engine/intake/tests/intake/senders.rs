//! The corpus of the senders beside AWS, New Relic and Alertmanager: what each must give.
#![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

use crate::corpus::{assert_table, bodies, check, corpus};

#[test]
fn every_azure_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "azure").into_iter();
    assert_table(
        &check(&corpus, "azure", paths),
        &expect_test::expect![[r#"
            azure/common-schema-fired.json
            firing `WCUS-R2-Gen2` at 2019-03-22T13:58:24.371321Z | Platform/Percentage CPU [ResourceId=3efad9dc-3d50-4eac-9c87-8b3fd6f97e4e, target=/subscriptions/<subscription ID>/resourcegroups/pipelinealertrg/providers/microsoft.compute/virtualmachines/wcus-r2-gen2] | 7.727 of 25 | -

            azure/common-schema-resolved.json
            resolved `WCUS-R2-Gen2` at 2019-03-22T14:03:16.224631Z | Platform/Percentage CPU [ResourceId=3efad9dc-3d50-4eac-9c87-8b3fd6f97e4e, target=/subscriptions/<subscription ID>/resourcegroups/pipelinealertrg/providers/microsoft.compute/virtualmachines/wcus-r2-gen2] | 7.727 of 25 | -

            azure/docs-log-v2-fired.json
            firing `WCUS-R2-Gen2` at 2019-03-22T13:58:24.371321Z | Log Alerts V2/CounterValue [Computer=TestComputer, target=/subscriptions/<subscription ID>/resourcegroups/pipelinealertrg/providers/microsoft.compute/virtualmachines/wcus-r2-gen2] | 0 of 1 | -

            azure/docs-metric-resolved.json
            resolved `WCUS-R2-Gen2` at 2019-03-22T14:03:16.224631Z | Platform/Percentage CPU [ResourceId=3efad9dc-3d50-4eac-9c87-8b3fd6f97e4e, target=/subscriptions/<subscription ID>/resourcegroups/pipelinealertrg/providers/microsoft.compute/virtualmachines/wcus-r2-gen2] | 7.727 of 25 | -

            azure/docs-service-health.json
            firing `WCUS-R2-Gen2` at 2019-03-22T13:58:24.371321Z | ServiceHealth/- [target=/subscriptions/<subscription ID>/resourcegroups/pipelinealertrg/providers/microsoft.compute/virtualmachines/wcus-r2-gen2] | - of - | East US
        "#]],
    );
}

#[test]
fn every_datadog_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "datadog").into_iter();
    assert_table(
        &check(&corpus, "datadog", paths),
        &expect_test::expect![[r#"
            datadog/custom-template-template-unrendered.json
            unreadable: `/alert_transition` is missing

            datadog/raw-recovered-1.json
            resolved `Error monitor` at 2024-12-11T15:08:32Z | log_alert/logs("status:error").index("*").rollup("count").by("service").last("5m") > 0 [] | - of - | -

            datadog/raw-recovered-2.json
            resolved `Error monitor` at 2024-12-11T15:08:32Z | log_alert/logs("status:error").index("*").rollup("count").by("service").last("5m") > 0 [] | - of - | -

            datadog/raw-triggered-3.json
            firing `Error monitor` at 2024-12-11T15:15:33Z | log_alert/logs("status:error").index("*").rollup("count").by("service").last("5m") > 0 [] | - of - | -

            datadog/raw-triggered-4.json
            firing `Error monitor` at 2024-12-11T15:15:33Z | log_alert/logs("status:error").index("*").rollup("count").by("service").last("5m") > 0 [] | - of - | -
        "#]],
    );
}

#[test]
fn every_dynatrace_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "dynatrace").into_iter();
    assert_table(
        &check(&corpus, "dynatrace", paths),
        &expect_test::expect![[r#"
            dynatrace/problem-open.json
            firing `Dynatrace problem notification test run` at 2026-11-02T03:05:00Z | INFRASTRUCTURE/- [] | - of - | -

            dynatrace/problem-other.json
            unreadable: `/State` is `baaad`, not `OPEN`, `RESOLVED` or `MERGED`
        "#]],
    );
}

#[test]
fn every_elastic_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "elastic").into_iter();
    assert_table(
        &check(&corpus, "elastic", paths),
        &expect_test::expect![[r#"
            elastic/kibana-unescaped-quote.txt
            unreadable: not JSON: expected `,` or `}` at line 1 column 24

            elastic/watcher-webhook.json
            firing `cluster_health_watch` at 2024-05-01T09:12:33Z | -/- [] | - of - | -
        "#]],
    );
}

#[test]
fn every_gcp_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "gcp").into_iter();
    assert_table(
        &check(&corpus, "gcp", paths),
        &expect_test::expect![[r#"
            gcp/keep-mock-5xx.json
            firing `5XX Error Rate > 5%` at 2026-11-02T03:05:00Z | projects/987654/alertPolicies/5xx-policy/appengine.googleapis.com/http/server/response_count [module_id=default, version_id=prod-v1] | 12.5 of 5 | -

            gcp/pubsub-push-wrapped.json
            resolved `test condition` at 2021-05-18T17:35:36Z | test Alert Policy/compute.googleapis.com/instance/cpu/usage_time [project_id=tf-test] | - of - | -

            gcp/stackdriver-closed-old.json
            resolved `CPU usage` at 2017-07-06T19:20:36Z | Webserver Health/- [] | - of - | -

            gcp/stackdriver-open-old.json
            firing `CPU usage` at 2017-07-06T19:10:14Z | Webserver Health/- [] | - of - | -

            gcp/webhook-1.2-closed-cpu.json
            resolved `test condition` at 2021-05-18T17:35:36Z | test Alert Policy/compute.googleapis.com/instance/cpu/usage_time [project_id=tf-test] | - of - | -
        "#]],
    );
}

#[test]
fn every_grafana_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "grafana").into_iter();
    assert_table(
        &check(&corpus, "grafana", paths),
        &expect_test::expect![[r#"
            grafana/cloudforet-3.json
            resolved `Kubelet Runtime Operations Error Rate alert` at 2026-11-02T03:05:00Z | -/- [] | - of - | -

            grafana/cloudforet-4.json
            firing `API Server Request Latency TEMP` at 2026-11-02T03:05:00Z | -/grpc-grafana-monitoring-webhook-rajbcnsjbhjszvfv-8b84876q9wq9 [] | 0.15384615384615385 of - | -

            grafana/cloudforet-5.json
            firing `Kubelet Runtime Operations Error Rate alert` at 2026-11-02T03:05:00Z | -/{} [] | 0.020317392596204395 of - | -

            grafana/cloudforet-8.json
            firing `Panel Title alert` at 2026-11-02T03:05:00Z | -/Count [] | 1 of - | -

            grafana/legacy-alerting-pt.json
            firing `Load peaking!` at 2026-11-02T03:05:00Z | -/requests [] | 122 of - | -

            grafana/legacy-alerting-tags.json
            firing `Zeta CPU alert` at 2026-11-02T03:05:00Z | -/user [] | 97.007606 of - | -

            grafana/legacy-docs-example.json
            firing `Load peaking!` at 2026-11-02T03:05:00Z | -/requests [] | 122 of - | -

            grafana/legacy-ok-empty-evalmatches.json
            resolved `Zeta CPU alert` at 2026-11-02T03:05:00Z | -/- [] | - of - | -

            grafana/legacy-ok-pt.json
            resolved `Load peaking!` at 2026-11-02T03:05:00Z | -/requests [] | 122 of - | -

            grafana/legacy-unknown-state.json
            unreadable: `/state` is `baaad`, not `alerting`, `ok` or `no_data`

            grafana/unified-firing.json
            firing `TestAlert` at 2022-10-31T21:42:32.879489Z | -/TestAlert [] | - of - | -
        "#]],
    );
}

#[test]
fn every_nagios_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "nagios").into_iter();
    assert_table(
        &check(&corpus, "nagios", paths),
        &expect_test::expect![[r#"
            nagios/service-recovery.json
            resolved `web-01/Disk /data` at 2026-11-02T03:05:00Z | -/Disk /data [host=web-01] | - of - | -
        "#]],
    );
}

#[test]
fn every_opsgenie_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "opsgenie").into_iter();
    assert_table(
        &check(&corpus, "opsgenie", paths),
        &expect_test::expect![[r#"
            opsgenie/close.json
            resolved `test alert` at 2015-01-05T10:06:14.669001Z | Integration1/- [] | - of - | -

            opsgenie/create.json
            firing `another alert` at 2017-08-14T11:25:56.288Z | Webhook/- [entity=Server] | - of - | -
        "#]],
    );
}

#[test]
fn every_pagerduty_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "pagerduty").into_iter();
    assert_table(
        &check(&corpus, "pagerduty", paths),
        &expect_test::expect![[r#"
            pagerduty/v2-messages-array.json
            unreadable: PagerDuty's webhooks of version 2 ended in 2022; make a subscription of version 3

            pagerduty/v3-incident-resolved.json
            resolved `Test Incident` at 2021-06-04T13:16:53.816Z | pig208/- [] | - of - | -

            pagerduty/v3-incident-triggered.json
            firing `Test Incident 3` at 2021-06-04T13:35:29.781Z | pig208/- [] | - of - | -
        "#]],
    );
}

#[test]
fn every_sentry_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "sentry").into_iter();
    assert_table(
        &check(&corpus, "sentry", paths),
        &expect_test::expect![[r#"
            sentry/legacy-plugin-webhook.json
            firing `ZeroDivisionError: divided by 0` at 2023-10-11T16:17:25Z | ruby-rails/- [] | - of - | -

            sentry/metric-alert.json
            resolved `Too many errors` at 2026-11-02T03:05:00Z | bar/count() [] | - of - | -
        "#]],
    );
}

#[test]
fn every_zabbix_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let paths = bodies(&corpus, "zabbix").into_iter();
    assert_table(
        &check(&corpus, "zabbix", paths),
        &expect_test::expect![[r#"
            zabbix/other.json
            unreadable: `/event_value` is `2`, not `1` (problem) or `0` (recovery)

            zabbix/resolved.json
            resolved `Problem: https://statuscode.app/ Status` at 2026-11-02T03:05:00Z | -/- [] | - of - | -
        "#]],
    );
}
