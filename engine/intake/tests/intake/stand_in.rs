//! Stand-ins for SNS: a signer with a certificate of its own, and ports that show what was fetched.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use untoil_intake::{CertificateUrl, Certificates, FetchError, SubscribeUrl, Subscriptions};

pub(crate) const TOPIC: &str = "arn:aws:sns:ap-northeast-2:210987654321:untoil";
pub(crate) const CERT_URL: &str =
    "https://sns.ap-northeast-2.amazonaws.com/SimpleNotificationService-standin.pem";
pub(crate) const NOW: &str = "2026-12-02T03:04:06Z";

/// Serves certificates from memory and notes every address it was asked for and every confirmation.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(crate) pems: Mutex<BTreeMap<String, Result<Vec<u8>, FetchError>>>,
    pub(crate) fetched: Mutex<Vec<String>>,
    pub(crate) confirmed: Mutex<Vec<String>>,
    /// How many confirmations fail before one succeeds.
    pub(crate) failing: Mutex<u32>,
}

impl Ports {
    pub(crate) fn serving(url: &str, pem: &[u8]) -> Arc<Self> {
        let ports = Self::default();
        ports.pems.lock().unwrap().insert(url.to_owned(), Ok(pem.to_vec()));
        Arc::new(ports)
    }
}

#[async_trait]
impl Certificates for Ports {
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, FetchError> {
        self.fetched.lock().unwrap().push(url.to_string());
        let found = self.pems.lock().unwrap().get(url.as_str()).cloned();
        found.unwrap_or_else(|| Err(FetchError::Refused("404 Not Found".to_owned())))
    }
}

#[async_trait]
impl Subscriptions for Ports {
    async fn confirm(&self, url: &SubscribeUrl) -> Result<(), FetchError> {
        self.confirmed.lock().unwrap().push(url.as_str().to_owned());
        let mut failing = self.failing.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(FetchError::Unavailable("no connection".to_owned()));
        }
        Ok(())
    }
}

/// A simulated SNS: its key, and a certificate that a simulated authority signed.
pub(crate) struct Sns {
    key: RsaKeyPair,
    leaf: KeyPair,
    pub(crate) pem: Vec<u8>,
}

/// What a test wants of a certificate.
pub(crate) struct Wanted {
    pub(crate) names: Vec<&'static str>,
    pub(crate) common_name: &'static str,
    pub(crate) years: (i32, i32),
    pub(crate) issuer: Option<&'static str>,
    pub(crate) bits: RsaKeySize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            names: vec!["sns.amazonaws.com"],
            common_name: "sns.amazonaws.com",
            years: (2026, 2028),
            issuer: Some("a simulated authority"),
            bits: RsaKeySize::_2048,
        }
    }
}

/// Making an RSA key takes a moment, so most tests share this one.
pub(crate) static SNS: LazyLock<Sns> = LazyLock::new(|| Sns::with(&Wanted::default()));

impl Sns {
    pub(crate) fn with(wanted: &Wanted) -> Self {
        let leaf = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, wanted.bits).unwrap();
        let pem = certificate(&leaf, wanted);
        let key = RsaKeyPair::from_pkcs8(&leaf.serialize_der()).unwrap();
        assert!(!key.public_key().as_ref().is_empty());
        Self { key, leaf, pem }
    }

    /// Another certificate for the same key.
    pub(crate) fn certificate(&self, wanted: &Wanted) -> Vec<u8> {
        certificate(&self.leaf, wanted)
    }

    /// An envelope with its signature, version 2.
    pub(crate) fn signed(&self, mut envelope: Value) -> Value {
        let text = string_to_sign(&envelope);
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .unwrap();
        envelope["SignatureVersion"] = json!("2");
        envelope["Signature"] = json!(STANDARD.encode(signature));
        envelope
    }
}

fn certificate(leaf: &KeyPair, wanted: &Wanted) -> Vec<u8> {
    let names: Vec<String> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, wanted.common_name);
    params.not_before = rcgen::date_time_ymd(wanted.years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(wanted.years.1, 1, 1);
    let certificate = match wanted.issuer {
        None => params.self_signed(leaf).unwrap(),
        Some(issuer) => {
            let mut authority = CertificateParams::new(Vec::new()).unwrap();
            authority.distinguished_name.push(DnType::CommonName, issuer);
            let key = KeyPair::generate().unwrap();
            params.signed_by(leaf, &Issuer::new(authority, key)).unwrap()
        }
    };
    certificate.pem().into_bytes()
}

/// The string to sign, written apart from the one under test.
fn string_to_sign(envelope: &Value) -> String {
    let keys: &[&str] = if envelope["Type"] == "Notification" {
        &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    } else {
        &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    };
    let mut text = String::new();
    for key in keys {
        if let Some(value) = envelope[*key].as_str() {
            text.extend([key, "\n", value, "\n"]);
        }
    }
    text
}

/// A notification that is not signed yet.
pub(crate) fn notification(id: &str, message: &str) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": id,
        "TopicArn": TOPIC,
        "Subject": "ALARM: \"x\" in Asia Pacific (Seoul)",
        "Message": message,
        "Timestamp": "2026-12-02T03:04:05.789Z",
        "SigningCertURL": CERT_URL,
        "UnsubscribeURL": "https://sns.ap-northeast-2.amazonaws.com/?Action=Unsubscribe",
    })
}

/// A confirmation of one of the two types that is not signed yet.
pub(crate) fn confirmation(kind: &str) -> Value {
    json!({
        "Type": kind,
        "MessageId": "7d0f0000-0000-4000-8000-0000000000c0",
        "Token": "2336412f37",
        "TopicArn": TOPIC,
        "Message": "You have chosen…",
        "SubscribeURL": format!("https://sns.ap-northeast-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"),
        "Timestamp": "2026-12-02T03:04:05.789Z",
        "SigningCertURL": CERT_URL,
    })
}
