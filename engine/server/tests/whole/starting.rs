//! What others see of a service that is still starting.
//!
//! The file of AWS's settings is a named pipe here: the start goes on when the test opens it.

use std::fs;

use tokio::process::Command;

use crate::alarm::backlog;
use crate::service::Untoil;
use crate::stand_in::free_port;

/// A service that waits for the settings of AWS, whose file is returned. It needs no AWS: nothing is asked
/// of it.
async fn waiting() -> (Untoil, String) {
    let mut untoil = Untoil::towards(free_port());
    untoil.ship("contact-sync-backlog", "shadow");
    let settings = untoil.path("aws-settings").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&settings).status().await.unwrap().success());
    untoil.set("AWS_CONFIG_FILE", &settings);
    untoil.begin();
    untoil.listens().await;
    (untoil, settings)
}

#[tokio::test]
async fn until_it_has_started_everybody_is_asked_to_come_back() {
    let (mut untoil, settings) = waiting().await;
    let client = reqwest::Client::new();
    for path in ["/v1/events/cloudwatch", "/v1/incidents", "/v1/journal", "/", "/anything"] {
        let answer = client.post(untoil.url(path)).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        let retry = answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap();
        assert!((1..=30).contains(&retry), "{path}");
        assert!(answer.text().await.unwrap().contains("starting"), "{path}");
    }
    assert_eq!(untoil.text("/healthz").await, "ok\n", "it lives");
    let ready = untoil.get("/readyz").await;
    assert_eq!(
        (&ready["ready"], &ready["parts"]["rules"]["state"]),
        (&false.into(), &"starting".into())
    );
    assert!(untoil.text("/metrics").await.contains(r#"status="503""#));

    let pipe = fs::OpenOptions::new().write(true).open(&settings).unwrap();
    // Who reads the settings again finds a file.
    fs::remove_file(&settings).unwrap();
    fs::write(&settings, "").unwrap();
    drop(pipe);
    untoil.is_ready().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("matched", 1).await;
    untoil.until("rule_loaded", 1).await;
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0);
}

#[tokio::test]
async fn a_service_that_is_told_to_stop_while_it_starts_does_so_at_once() {
    let (mut untoil, settings) = waiting().await;
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0);
    assert!(untoil.said("stderr").contains("before it had started"), "{}", untoil.said("stderr"));
    fs::remove_file(&settings).unwrap();
    fs::write(&settings, "").unwrap();
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202, "nothing was left behind");
}

#[tokio::test]
async fn certificates_that_cannot_be_read_end_a_service_before_it_takes_anything() {
    let mut untoil = Untoil::towards(free_port());
    untoil.ship("contact-sync-backlog", "shadow");
    let authorities = untoil.path("authorities.pem");
    fs::write(&authorities, "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
        .unwrap();
    untoil.set("SSL_CERT_FILE", authorities.to_str().unwrap());
    untoil.set("SSL_CERT_DIR", "");
    untoil.begin();
    assert_eq!(untoil.ended().await, 1);
    let said = untoil.said("stderr");
    assert!(said.contains("no certificate of an authority can be read in"), "{said}");
    assert!(said.contains("authorities.pem") && said.contains("`SSL_CERT_FILE`"), "{said}");
    let told = untoil.run(&["audit", "list"]).await;
    assert!(!told.out.contains("engine_started"), "nothing was begun: {told:?}");
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_second_service_before_it_opens_the_journal() {
    let (mut first, _) = waiting().await;
    let mut second = Untoil::towards(free_port());
    second.set("UNTOIL_LISTEN", &format!("127.0.0.1:{}", first.port));
    second.begin();
    assert_eq!(second.ended().await, 1);
    assert!(second.said("stderr").contains("cannot listen"), "{}", second.said("stderr"));
    assert!(!second.path("data").exists());
    first.terminate().await;
    assert_eq!(first.ended().await, 0);
}

#[tokio::test]
async fn a_service_that_cannot_start_says_why_in_the_form_of_its_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for format in ["json", "text"] {
        let mut untoil = Untoil::towards(free_port());
        untoil.set("UNTOIL_LISTEN", &address);
        untoil.set("UNTOIL_LOG__FORMAT", format);
        untoil.set("UNTOIL_LOG", "off");
        untoil.begin();
        assert_eq!(untoil.ended().await, 1);
        let said = untoil.said("stderr");
        assert!(said.contains(&address), "{said}");
        let lines: Result<Vec<serde_json::Value>, _> =
            said.lines().map(serde_json::from_str).collect();
        assert_eq!(lines.is_ok(), format == "json", "{said}");
    }
}
