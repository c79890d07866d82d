//! Which sender a request comes from, and what proves it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hmac::HmacAuth;
use crate::sns_signature::SnsPolicy;

/// Shorter secrets can be guessed over HTTP. 16 random bytes in hexadecimal are 32 characters.
const SECRET_BYTES_MIN: usize = 16;
/// The old one and the new one while they are exchanged, and one to spare.
const SECRETS_MAX: usize = 3;

/// A secret that a sender shares with us. It has a name for the journal and is never shown.
#[derive(Clone)]
pub struct Secret {
    name: String,
    digest: [u8; 32],
}

impl Secret {
    /// A secret and the name that the journal knows its sender by.
    ///
    /// # Errors
    /// [`AuthError::Short`] when it has fewer than 16 bytes.
    pub fn new(name: &str, value: &str) -> Result<Self, AuthError> {
        check_secret(name, value)?;
        Ok(Self { name: name.to_owned(), digest: hashed(value.as_bytes()) })
    }
}

/// Refuses a secret that can be guessed.
pub(crate) fn check_secret(name: &str, value: &str) -> Result<(), AuthError> {
    if value.len() < SECRET_BYTES_MIN {
        return Err(AuthError::Short { name: name.to_owned() });
    }
    Ok(())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// How the senders of a source prove who they are.
#[derive(Debug, Clone)]
pub enum SourceAuth {
    /// A header holds the secret.
    SharedSecretHeader {
        /// Its name.
        header: String,
        /// The secrets that count; two while they are exchanged.
        secrets: Vec<Secret>,
    },
    /// `Authorization: Bearer <secret>`.
    Bearer {
        /// The secrets that count.
        secrets: Vec<Secret>,
    },
    /// `Authorization: Basic`, one user.
    Basic {
        /// The user's name.
        user: String,
        /// The passwords that count.
        passwords: Vec<Secret>,
    },
    /// The query of the address holds the secret: only for senders that can do nothing better, since
    /// addresses end up in logs of proxies. Ours never hold it.
    Query {
        /// The parameter's name.
        name: String,
        /// The secrets that count.
        secrets: Vec<Secret>,
    },
    /// The body is signed with a shared secret.
    Hmac(HmacAuth),
    /// SNS signs its messages.
    SnsSignature(SnsPolicy),
}

/// A setting that would let nobody in, or anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// A secret that can be guessed.
    #[error(
        "secret `{name}` is shorter than {SECRET_BYTES_MIN} bytes; make one with `openssl rand -hex 16`"
    )]
    Short {
        /// Its name.
        name: String,
    },
    /// No secret, or more than are needed to exchange one.
    #[error("source `{source_name}` has {count} secrets; give it 1 to {SECRETS_MAX}")]
    Count {
        /// The source.
        source_name: String,
        /// How many it has.
        count: usize,
    },
    /// A header that cannot be.
    #[error("`{0}` is not a header's name")]
    Header(String),
    /// A signed time that may be any time.
    #[error("`tolerance` of a signed time must be more than 0 s; `5m` is usual")]
    Tolerance,
    /// A parameter that cannot be.
    #[error("`query` needs the `name` of a parameter")]
    Parameter,
    /// SNS signs, and nobody else does.
    #[error("source `{0}` cannot use `sns_signature`: only SNS signs its messages")]
    NotSns(String),
}

/// A request's credentials, judged.
pub(crate) enum Judged {
    /// From this sender.
    Sender(String),
    /// The body must be read to tell.
    BySignature,
    /// From nobody known; what the sender should have sent.
    Unknown(&'static str),
}

impl SourceAuth {
    /// Checks the setting itself.
    pub(crate) fn check(&self, source: &str) -> Result<(), AuthError> {
        let count = match self {
            Self::SharedSecretHeader { header, secrets } => {
                HeaderName::try_from(header).map_err(|_| AuthError::Header(header.clone()))?;
                secrets.len()
            }
            Self::Query { name, .. } if name.is_empty() => return Err(AuthError::Parameter),
            Self::Bearer { secrets }
            | Self::Basic { passwords: secrets, .. }
            | Self::Query { secrets, .. } => secrets.len(),
            Self::Hmac(hmac) => {
                hmac.check()?;
                hmac.keys.len()
            }
            Self::SnsSignature(_) if source == "sns" => return Ok(()),
            Self::SnsSignature(_) => return Err(AuthError::NotSns(source.to_owned())),
        };
        if count == 0 || count > SECRETS_MAX {
            return Err(AuthError::Count { source_name: source.to_owned(), count });
        }
        Ok(())
    }

    /// Who sent these headers, to an address with this query.
    pub(crate) fn judge(&self, headers: &HeaderMap, query: &str) -> Judged {
        match self {
            Self::SharedSecretHeader { header, secrets } => {
                let value = headers.get(header.as_str()).map(axum::http::HeaderValue::as_bytes);
                found(value.and_then(|value| sender(secrets, value)), "the source's secret header")
            }
            Self::Bearer { secrets } => {
                let token = credentials(headers, "bearer");
                found(token.and_then(|token| sender(secrets, token.as_bytes())), "Bearer")
            }
            Self::Basic { user, passwords } => {
                let decoded =
                    credentials(headers, "basic").and_then(|text| STANDARD.decode(text).ok());
                let pair = decoded.as_deref().and_then(|pair| {
                    let colon = pair.iter().position(|byte| *byte == b':')?;
                    Some((&pair[..colon], &pair[colon + 1..]))
                });
                let sender = pair.and_then(|(name, password)| {
                    let is_user = same(&hashed(name), &hashed(user.as_bytes()));
                    sender(passwords, password).filter(|_| is_user)
                });
                found(sender, "Basic realm=\"untoil\"")
            }
            Self::Query { name, secrets } => {
                let mut said =
                    form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
                let value = match (said.next(), said.next()) {
                    (Some((_, value)), None) => Some(value),
                    (None, _) | (Some(_), Some(_)) => None,
                };
                found(
                    value.and_then(|value| sender(secrets, value.as_bytes())),
                    "the source's secret in the query",
                )
            }
            Self::Hmac(_) | Self::SnsSignature(_) => Judged::BySignature,
        }
    }
}

fn found(sender: Option<String>, wanted: &'static str) -> Judged {
    sender.map_or(Judged::Unknown(wanted), Judged::Sender)
}

/// The name of the secret that a value equals. All are compared, whichever fits.
fn sender(secrets: &[Secret], value: &[u8]) -> Option<String> {
    let digest = hashed(value);
    let mut name = None;
    for secret in secrets {
        if same(&secret.digest, &digest) {
            name = Some(secret.name.clone());
        }
    }
    name
}

/// The one `Authorization` header's credentials of a scheme; two headers are none.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let (named, rest) = value.to_str().ok()?.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Digests have one length, so comparing them tells nothing of the secret's.
fn hashed(value: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, value).as_ref());
    bytes
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> Secret {
        Secret::new(name, value).unwrap()
    }

    fn judged(auth: &SourceAuth, name: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        match auth.judge(&headers, "") {
            Judged::Sender(sender) => Some(sender),
            Judged::BySignature | Judged::Unknown(_) => None,
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let auth =
            SourceAuth::Bearer { secrets: vec![secret("new-relic", "0123456789abcdef-hush")] };
        assert!(!format!("{auth:?}").contains("hush"), "{auth:?}");
    }

    #[test]
    fn two_secrets_count_while_they_are_exchanged() {
        let secrets = vec![secret("old", "aaaaaaaaaaaaaaaa"), secret("new", "bbbbbbbbbbbbbbbb")];
        let header = "x-untoil-secret".to_owned();
        let auth = SourceAuth::SharedSecretHeader { header, secrets };
        auth.check("newrelic").unwrap();
        let with = |value| judged(&auth, "x-untoil-secret", value);
        assert_eq!(with("aaaaaaaaaaaaaaaa").as_deref(), Some("old"));
        assert_eq!(with("bbbbbbbbbbbbbbbb").as_deref(), Some("new"));
        for wrong in ["", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa", "cccccccccccccccc"] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn basic_and_bearer_are_read_as_their_rfcs_say() {
        let basic = SourceAuth::Basic {
            user: "am".to_owned(),
            passwords: vec![secret("alertmanager", "pass:with:colons:")],
        };
        let with = |text: &str| {
            judged(&basic, "authorization", &format!("basic {}", STANDARD.encode(text)))
        };
        assert_eq!(with("am:pass:with:colons:").as_deref(), Some("alertmanager"));
        assert_eq!(with("an:pass:with:colons:"), None);
        assert_eq!(with("am:pass:with:colons"), None);
        assert_eq!(with("am"), None);
        let bearer = SourceAuth::Bearer { secrets: vec![secret("ci", "0123456789abcdef")] };
        assert!(judged(&bearer, "authorization", "Bearer 0123456789abcdef").is_some());
        assert!(judged(&bearer, "authorization", "Basic 0123456789abcdef").is_none());
        assert!(judged(&bearer, "authorization", "0123456789abcdef").is_none());
    }

    #[test]
    fn a_secret_in_the_query_stands_there_once() {
        let secrets = vec![secret("azure", "0123456789abcd+/")];
        let auth = SourceAuth::Query { name: "secret".to_owned(), secrets };
        auth.check("azure").unwrap();
        for (query, is_known) in [
            ("secret=0123456789abcd%2B%2F", true),
            ("a=b&secret=0123456789abcd%2B/&c", true),
            ("secret=0123456789abcd+/", false),
            ("secret=0123456789abcd%2B%2F&secret=x", false),
            ("Secret=0123456789abcd%2B%2F", false),
            ("", false),
        ] {
            let judged = auth.judge(&HeaderMap::new(), query);
            assert_eq!(matches!(judged, Judged::Sender(_)), is_known, "{query}");
        }
    }

    #[test]
    fn settings_that_let_nobody_or_anybody_in_are_refused() {
        assert!(Secret::new("x", "short").is_err());
        assert!(SourceAuth::Bearer { secrets: vec![] }.check("newrelic").is_err());
        assert!(SourceAuth::SnsSignature(SnsPolicy::default()).check("newrelic").is_err());
        let secrets = vec![secret("x", "0123456789abcdef")];
        assert!(
            SourceAuth::SharedSecretHeader { header: "a b".to_owned(), secrets }
                .check("x")
                .is_err()
        );
    }
}
