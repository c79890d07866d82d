//! A signing SNS, ours, for what moto leaves out: confirmations, and messages with a subject.
//!
//! It signs with a key of its own and serves the certificate from loopback, as a configured
//! stand-in origin; the binary fetches and verifies it as it would AWS's.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, DnType, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::alarm::now;

/// Its topic.
pub(crate) const TOPIC: &str = "arn:aws:sns:ap-northeast-2:123456789012:alarms";

type Confirmed = Arc<Mutex<Vec<String>>>;

/// A running signer. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Sns {
    pub(crate) origin: String,
    key: KeyPair,
    confirmed: Confirmed,
    client: reqwest::Client,
    _task: JoinSet<()>,
}

impl Sns {
    pub(crate) async fn start() -> Self {
        let leaf = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "sns.amazonaws.com");
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "a simulated authority");
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let pem = params.signed_by(&leaf, &issuer).unwrap().pem();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let confirmed = Confirmed::default();
        let app = Router::new()
            .route("/sns.pem", get(move || std::future::ready(pem.clone())))
            .route("/", get(confirm))
            .with_state(Arc::clone(&confirmed));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { origin, key: leaf, confirmed, client: reqwest::Client::new(), _task: task }
    }

    /// The confirmations that were visited, by their query.
    pub(crate) fn confirmed(&self) -> Vec<String> {
        self.confirmed.lock().unwrap().clone()
    }

    /// A signed message of a type, as SNS posts it.
    pub(crate) fn message(&self, kind: &str, id: &str, text: &str) -> Value {
        let mut message = json!({ "Type": kind, "MessageId": id, "TopicArn": TOPIC, "Message": text,
            "Timestamp": now(), "SigningCertURL": format!("{}/sns.pem", self.origin) });
        if kind == "Notification" {
            message["Subject"] = json!("ALARM: \"contact-sync-backlog\" in Asia Pacific (Seoul)");
        } else {
            message["Token"] = json!("2336412f37");
            let query = format!("Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37");
            message["SubscribeURL"] = json!(format!("{}/?{query}", self.origin));
        }
        let signature = self.key.sign(to_sign(&message).as_bytes()).unwrap();
        message["SignatureVersion"] = json!("2");
        message["Signature"] = json!(STANDARD.encode(signature));
        message
    }

    /// Posts a message as SNS does; answers the status.
    pub(crate) async fn post(&self, url: &str, message: &Value) -> u16 {
        let sent = self.client.post(url).header("content-type", "text/plain; charset=UTF-8");
        let sent = sent.header("x-amz-sns-message-type", message["Type"].as_str().unwrap());
        sent.body(message.to_string()).send().await.unwrap().status().as_u16()
    }
}

async fn confirm(State(confirmed): State<Confirmed>, uri: Uri) -> &'static str {
    confirmed.lock().unwrap().push(uri.query().unwrap_or_default().to_owned());
    "<ConfirmSubscriptionResponse/>"
}

/// AWS's canonical text of a message.
fn to_sign(message: &Value) -> String {
    let keys: &[&str] = if message["Type"] == "Notification" {
        &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    } else {
        &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    };
    let mut text = String::new();
    for key in keys {
        text.extend([key, "\n", message[*key].as_str().unwrap(), "\n"]);
    }
    text
}
