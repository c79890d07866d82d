//! The production ports, against a simulated SNS on loopback.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use tokio::task::JoinSet;
use untoil_intake::{
    AwsSns, CertificateUrl, Certificates as _, FetchError, Origin, SubscribeUrl,
    Subscriptions as _, TopicArn,
};

use crate::stand_in::TOPIC;

/// A simulated SNS; it ends with the set.
async fn simulated() -> (SocketAddr, JoinSet<()>) {
    let router = Router::new()
        .route("/cert.pem", get(|| async { "a certificate" }))
        .route("/moved.pem", get(|| async { Redirect::temporary("/cert.pem") }))
        .route("/large.pem", get(|| async { "x".repeat(17 * 1024) }))
        .route("/broken.pem", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/", get(|| async { "<ConfirmSubscriptionResponse/>" }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

#[tokio::test]
async fn a_certificate_is_fetched_without_redirects_and_bounded_in_size() {
    let (address, _tasks) = simulated().await;
    let stand_ins = [Origin::loopback(&format!("http://{address}")).unwrap()];
    let sns = AwsSns::new(&stand_ins);
    let fetch = async |path: &str| {
        let url = format!("http://{address}/{path}.pem");
        sns.fetch(&CertificateUrl::parse(&url, &stand_ins).unwrap()).await
    };
    assert_eq!(fetch("cert").await.unwrap(), b"a certificate");
    assert!(matches!(fetch("moved").await, Err(FetchError::Unavailable(_))));
    assert!(matches!(fetch("large").await, Err(FetchError::Refused(_))));
    assert!(matches!(fetch("broken").await, Err(FetchError::Unavailable(_))));
    assert!(matches!(fetch("missing").await, Err(FetchError::Refused(_))));
}

#[tokio::test]
async fn a_subscription_is_confirmed_by_visiting_its_address() {
    let (address, mut tasks) = simulated().await;
    let stand_ins = [Origin::loopback(&format!("http://{address}")).unwrap()];
    let topic: TopicArn = TOPIC.parse().unwrap();
    let url = format!("http://{address}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t");
    let url = SubscribeUrl::parse(&url, &topic, &stand_ins).unwrap();
    let sns = AwsSns::new(&stand_ins);
    assert_eq!(sns.confirm(&url).await, Ok(()));
    tasks.shutdown().await;
    let down = AwsSns::new(&stand_ins).confirm(&url).await;
    assert_eq!(down, Err(FetchError::Unavailable("no connection".to_owned())));
}

#[tokio::test]
async fn without_stand_ins_nothing_is_fetched_over_plain_http() {
    let (address, _tasks) = simulated().await;
    let stand_ins = [Origin::loopback(&format!("http://{address}")).unwrap()];
    let url = CertificateUrl::parse(&format!("http://{address}/cert.pem"), &stand_ins).unwrap();
    assert!(AwsSns::new(&[]).fetch(&url).await.is_err());
}
