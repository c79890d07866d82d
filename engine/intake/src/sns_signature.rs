//! Who may speak as SNS: topics, time, certificate, signature, in this order.
//!
//! Cheap checks come first, and everything that an outsider controls is checked before something is
//! fetched because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use untoil_model::Hash;

use crate::bounds;
use crate::sns_certificate::{SigningCertificate, is_pem};
use crate::sns_ports::{Certificates, FetchError};
use crate::sns_url::{CertificateUrl, Origin, SubscribeUrl};
use crate::sources::sns::{Envelope, Kind, TopicArn};

/// SNS tries HTTP for 3,600 s at most and keeps the message's timestamp; the rest is slack.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(2);
/// How far a clock, ours or theirs, may be off.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(15);
/// A Region has one certificate at a time and changes it once or twice a year.
const CERTIFICATES_MAX: usize = 64;
/// Fetches at a time. Only a new certificate needs one, or somebody who makes us try.
const FETCHES_MAX: usize = 4;
/// A message id of SNS is a UUID.
const MESSAGE_ID_BYTES_MAX: usize = 100;
/// An RSA-8192 signature in base64.
const SIGNATURE_BYTES_MAX: usize = 1_400;

/// Which SNS messages are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnsPolicy {
    /// The topics. Anybody with an AWS account can have SNS sign messages of a topic of their own,
    /// so a topic that is not listed is a stranger's, and an empty list refuses everything.
    pub topics: BTreeSet<TopicArn>,
    /// Further origins of certificates and confirmations, for stand-ins on loopback.
    pub stand_ins: Vec<Origin>,
    /// SHA-256 of the DER of certificates that may be self-signed, for stand-ins.
    pub trusted_certificates: Vec<Hash>,
}

/// Why a message is not SNS's word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnsRefusal {
    /// It is not, and sending it again does not help.
    #[error("{0}")]
    Refused(String),
    /// It cannot be told now. SNS should come back.
    #[error("{0}")]
    Later(String),
}

/// A message that SNS signed and that came from a topic on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The topic.
    pub topic: TopicArn,
    /// SNS's id of the message, the same on every retry.
    pub message_id: String,
    /// Where to confirm, on a subscription's confirmation only.
    pub confirm: Option<SubscribeUrl>,
}

/// Verifies messages, keeping the certificates it fetched.
#[derive(Debug)]
pub struct SnsVerifier {
    policy: SnsPolicy,
    certificates: Arc<dyn Certificates>,
    known: Mutex<BTreeMap<CertificateUrl, SigningCertificate>>,
    fetches: Semaphore,
}

impl SnsVerifier {
    /// A verifier with an empty cache.
    #[must_use]
    pub fn new(policy: SnsPolicy, certificates: Arc<dyn Certificates>) -> Self {
        let known = Mutex::new(BTreeMap::new());
        Self { policy, certificates, known, fetches: Semaphore::new(FETCHES_MAX) }
    }

    /// Whether a body is SNS's word at `now`.
    ///
    /// # Errors
    /// [`SnsRefusal`]: `Refused` for good, `Later` when the certificate cannot be had now.
    pub async fn verify(&self, body: &[u8], now: Timestamp) -> Result<Verified, SnsRefusal> {
        let envelope = Envelope::parse(body)
            .map_err(|error| SnsRefusal::Refused(format!("this is no SNS message: {error}")))?;
        let topic = self.topic(&envelope)?;
        fresh(&envelope.timestamp, now)?;
        let id = &envelope.message_id;
        if id.is_empty()
            || id.len() > MESSAGE_ID_BYTES_MAX
            || !id.bytes().all(|b| b.is_ascii_graphic())
        {
            return refused("its `MessageId` is not one of SNS's");
        }
        let signature = signature(&envelope)?;
        let url = envelope.signing_cert_url.as_deref().unwrap_or("");
        let url = CertificateUrl::parse(url, &self.policy.stand_ins)
            .map_err(|error| SnsRefusal::Refused(format!("`SigningCertURL`: {error}")))?;
        let confirm = self.confirmation(&envelope, &topic)?;
        let certificate = self.certificate(&url).await?;
        certificate
            .check(&url, now, &self.policy.trusted_certificates)
            .map_err(|why| SnsRefusal::Refused(format!("the certificate at `{url}`: {why}")))?;
        let text = envelope.string_to_sign();
        match envelope.signature_version.as_deref() {
            Some("1") => {
                let key = &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY;
                UnparsedPublicKey::new(key, &certificate.key).verify(text.as_bytes(), &signature)
            }
            Some("2") => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &certificate.key)
                .verify(text.as_bytes(), &signature),
            Some(other) => {
                let other = bounds::quote(other);
                return refused(&format!("`SignatureVersion` `{other}` is neither 1 nor 2"));
            }
            None => return refused("`SignatureVersion` is missing"),
        }
        .map_err(|_| SnsRefusal::Refused("its signature does not fit".to_owned()))?;
        Ok(Verified { topic, message_id: envelope.message_id.0.into_owned(), confirm })
    }

    fn topic(&self, envelope: &Envelope<'_>) -> Result<TopicArn, SnsRefusal> {
        if self.policy.topics.is_empty() {
            return refused("no SNS topic is allowed; list the topics' ARNs in the configuration");
        }
        let named = bounds::quote(&envelope.topic_arn);
        match self.policy.topics.iter().find(|topic| topic.as_str() == &*envelope.topic_arn) {
            Some(topic) => Ok(topic.clone()),
            None => refused(&format!(
                "topic `{named}` is not among the allowed ones; list its ARN in the configuration"
            )),
        }
    }

    /// Only a subscription is confirmed. The address in the message that a subscription was deleted
    /// would bring it back, which is for a person to decide.
    fn confirmation(
        &self,
        envelope: &Envelope<'_>,
        topic: &TopicArn,
    ) -> Result<Option<SubscribeUrl>, SnsRefusal> {
        match envelope.kind {
            Kind::Notification | Kind::UnsubscribeConfirmation => Ok(None),
            Kind::SubscriptionConfirmation => {
                let url = envelope.subscribe_url.as_deref().unwrap_or("");
                SubscribeUrl::parse(url, topic, &self.policy.stand_ins)
                    .map(Some)
                    .map_err(|error| SnsRefusal::Refused(format!("`SubscribeURL`: {error}")))
            }
        }
    }

    async fn certificate(&self, url: &CertificateUrl) -> Result<SigningCertificate, SnsRefusal> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(url) {
            return Ok(known.clone());
        }
        let Ok(_turn) = self.fetches.try_acquire() else {
            return Err(SnsRefusal::Later("too many certificates are being fetched".to_owned()));
        };
        let pem = self.certificates.fetch(url).await.map_err(|error| {
            let why = format!("the certificate at `{url}` cannot be had: {error}");
            match error {
                FetchError::Refused(_) => SnsRefusal::Refused(why),
                FetchError::Unavailable(_) => SnsRefusal::Later(why),
            }
        })?;
        if !is_pem(&pem) {
            return Err(SnsRefusal::Later(format!(
                "what was served at `{url}` is no PEM file; does a proxy answer in its place?"
            )));
        }
        let certificate = SigningCertificate::parse(&pem)
            .map_err(|why| SnsRefusal::Refused(format!("the certificate at `{url}`: {why}")))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CERTIFICATES_MAX {
            known.clear();
        }
        known.insert(url.clone(), certificate.clone());
        Ok(certificate)
    }
}

fn refused<T>(why: &str) -> Result<T, SnsRefusal> {
    Err(SnsRefusal::Refused(why.to_owned()))
}

fn fresh(timestamp: &str, now: Timestamp) -> Result<(), SnsRefusal> {
    let Ok(at) = timestamp.parse::<Timestamp>() else {
        return refused("its `Timestamp` is not a time");
    };
    let age = now.duration_since(at);
    if age > AGE_MAX || age < -AHEAD_MAX {
        return refused(&format!(
            "its `Timestamp` is {at} and the clock here says {now}; SNS sends nothing that old or \
             that early, so it is a replay or the clock is wrong"
        ));
    }
    Ok(())
}

fn signature(envelope: &Envelope<'_>) -> Result<Vec<u8>, SnsRefusal> {
    let Some(text) = envelope.signature.as_deref().filter(|text| !text.is_empty()) else {
        return refused("`Signature` is missing");
    };
    if text.len() > SIGNATURE_BYTES_MAX {
        return refused("`Signature` is too long");
    }
    STANDARD.decode(text).or_else(|_| refused("`Signature` is not base64"))
}
