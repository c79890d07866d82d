//! What the intake fetches because of an SNS message, as ports, and both over HTTPS.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;

use crate::sns_url::{CertificateUrl, Origin, SubscribeUrl};

/// SNS gives up after 15 s: a certificate and three tries to confirm must fit.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// SNS's certificate is 2 KB; a chain of four would still fit.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Why something was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The other side answered that there is none, or something else than was asked for.
    #[error("the answer was {0}")]
    Refused(String),
    /// No answer, or not in time. Trying again may help.
    #[error("no answer: {0}")]
    Unavailable(String),
}

/// Fetches signing certificates.
#[async_trait]
pub trait Certificates: Send + Sync + fmt::Debug {
    /// The PEM file at an address that was checked. Follows no redirects.
    ///
    /// # Errors
    /// [`FetchError`]; `Refused` when the file is not there, `Unavailable` when it cannot be told.
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, FetchError>;
}

/// Confirms subscriptions.
#[async_trait]
pub trait Subscriptions: Send + Sync + fmt::Debug {
    /// Visits an address that was checked, of a message that was verified. Idempotent at SNS.
    ///
    /// # Errors
    /// [`FetchError`] when SNS did not say that it is confirmed.
    async fn confirm(&self, url: &SubscribeUrl) -> Result<(), FetchError>;
}

/// Both ports over HTTPS, with the host's TLS identity checked against the system's roots.
#[derive(Debug, Clone)]
pub struct AwsSns {
    https_only: bool,
    client: OnceLock<reqwest::Client>,
}

impl AwsSns {
    /// Both ports, not yet prepared. Plain HTTP is possible only when there are stand-ins.
    pub fn new(stand_ins: &[Origin]) -> Self {
        Self { https_only: stand_ins.is_empty(), client: OnceLock::new() }
    }

    /// Reads the system's roots, which the first fetch does otherwise. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn prepare(&self) -> Result<(), FetchError> {
        self.client().map(drop)
    }

    fn client(&self) -> Result<&reqwest::Client, FetchError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .https_only(self.https_only)
            .timeout(FETCH_TIMEOUT)
            .user_agent("untoil")
            .build()
            .map_err(|error| FetchError::Unavailable(error.to_string()))?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn get(&self, url: &str) -> Result<reqwest::Response, FetchError> {
        let response = self.client()?.get(url).send().await.map_err(unavailable)?;
        let status = response.status();
        if status.is_success() {
            Ok(response)
        } else if matches!(status.as_u16(), 404 | 410) {
            Err(FetchError::Refused(status.to_string()))
        } else {
            // A proxy in between, a limit, a fault: an alarm must not be lost because of it.
            Err(FetchError::Unavailable(status.to_string()))
        }
    }
}

/// The message without the address: SNS's confirmation address holds a token.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unavailable(error: reqwest::Error) -> FetchError {
    let why = if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    FetchError::Unavailable(why.to_owned())
}

#[async_trait]
impl Certificates for AwsSns {
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, FetchError> {
        let mut response = self.get(url.as_str()).await?;
        let mut pem = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if pem.len() + chunk.len() > CERTIFICATE_BYTES_MAX {
                return Err(FetchError::Refused("too large for a certificate".to_owned()));
            }
            pem.extend_from_slice(&chunk);
        }
        Ok(pem)
    }
}

#[async_trait]
impl Subscriptions for AwsSns {
    async fn confirm(&self, url: &SubscribeUrl) -> Result<(), FetchError> {
        // The answer names the subscription, which nothing here needs; its status says it all.
        self.get(url.as_str()).await.map(drop)
    }
}
