//! What is sent: alarms in the generic form, and signed SNS messages.

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

/// The header and the secret that the generic source takes.
pub(crate) const SECRET_HEADER: &str = "x-untoil-secret";
pub(crate) const SECRET: &str = "a-secret-of-the-benchmark";
/// The topic whose messages are taken.
pub(crate) const TOPIC: &str = "arn:aws:sns:ap-northeast-2:123456789012:untoil-bench";
/// Where the stand-in certificate is said to be.
const CERTIFICATE_URL: &str =
    "https://sns.ap-northeast-2.amazonaws.com/SimpleNotificationService-bench.pem";

/// About as long as CloudWatch's reason and description are in an SNS message of 1.4 KB.
const PROSE: &str = "Threshold Crossed: 3 out of the last 3 datapoints [91.2 (02/11/26 03:03:00), \
    90.8 (02/11/26 03:02:00), 90.1 (02/11/26 03:01:00)] were greater than the threshold (85.0) \
    (minimum 2 datapoints for OK -> ALARM transition). ";

/// An alarm.
pub(crate) struct Said<'a> {
    pub(crate) key: &'a str,
    pub(crate) state: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) metric: &'a str,
    pub(crate) instance: &'a str,
}

/// A body of the generic form with one alarm, about 1.4 KB.
pub(crate) fn generic(said: &Said<'_>) -> Vec<u8> {
    let Said { key, state, at, metric, instance } = said;
    let body = json!({ "alarms": [{
        "key": key, "name": key, "state": state, "changed_at": at,
        "severity": "warning", "reason": PROSE.repeat(2), "description": PROSE.repeat(2),
        "account": "123456789012", "region": "ap-northeast-2",
        "namespace": "CWAgent", "metric": metric,
        "dimensions": { "InstanceId": instance, "path": "/" },
        "labels": { "team": "platform", "env": "production" },
        "value": 91.2, "threshold": 85.0,
        "link": "https://ap-northeast-2.console.aws.amazon.com/cloudwatch/home#alarmsV2:alarm/x",
    }] });
    body.to_string().into_bytes()
}

/// The headers that the generic source asks for.
pub(crate) fn generic_headers(id: &str) -> String {
    format!(
        "content-type: application/json\r\n{SECRET_HEADER}: {SECRET}\r\nidempotency-key: {id}\r\n"
    )
}

/// A name that is spread over the whole index, as hashes and UUIDs are, and different for each `n`.
pub(crate) fn spread(n: usize) -> String {
    // Odd factors permute the 64-bit numbers, so no two are the same.
    let n = n as u64;
    let (a, b) = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n.wrapping_mul(0xd6e8_feb8_6659_fd93));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

/// A stand-in for SNS: signs messages with a key of its own.
pub(crate) struct Signer {
    key: RsaKeyPair,
    /// Its certificate, by a simulated authority.
    pub(crate) pem: String,
}

impl Signer {
    pub(crate) fn new() -> Result<Self> {
        let leaf = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut wanted = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()])?;
        wanted.distinguished_name.push(DnType::CommonName, "sns.amazonaws.com");
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "a simulated authority");
        let issuer = Issuer::new(authority, KeyPair::generate()?);
        let pem = wanted.signed_by(&leaf, &issuer)?.pem();
        let key = RsaKeyPair::from_pkcs8(&leaf.serialize_der()).context("an RSA key")?;
        Ok(Self { key, pem })
    }

    /// A signed notification (signature version 2) that carries `message`.
    pub(crate) fn notification(&self, id: &str, message: &str, at: Timestamp) -> Result<Vec<u8>> {
        let at = at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let subject = "ALARM: \"disk\" in Asia Pacific (Seoul)";
        let text = format!(
            "Message\n{message}\nMessageId\n{id}\nSubject\n{subject}\nTimestamp\n{at}\n\
            TopicArn\n{TOPIC}\nType\nNotification\n"
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature);
        signed.context("the message could not be signed")?;
        let body = json!({
            "Type": "Notification", "MessageId": id, "TopicArn": TOPIC, "Subject": subject,
            "Message": message, "Timestamp": at, "SignatureVersion": "2",
            "Signature": STANDARD.encode(signature), "SigningCertURL": CERTIFICATE_URL,
            "UnsubscribeURL": "https://sns.ap-northeast-2.amazonaws.com/?Action=Unsubscribe",
        });
        Ok(body.to_string().into_bytes())
    }
}
