//! Senders that sign their bodies with a secret that they share with us.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA512};
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::auth::{AuthError, check_secret};
use crate::times;

/// A sender writes one signature for each of its secrets: two while one is exchanged. More are not
/// compared, so that a header cannot cost more than that.
const SIGNATURES_MAX: usize = 4;

/// A secret that a sender signs with. It has a name for the journal and is never shown.
#[derive(Clone)]
pub struct SigningKey {
    name: String,
    value: Vec<u8>,
}

impl SigningKey {
    /// A secret and the name that the journal knows its sender by.
    ///
    /// # Errors
    /// [`AuthError::Short`] when it has fewer than 16 bytes.
    pub fn new(name: &str, value: &str) -> Result<Self, AuthError> {
        check_secret(name, value)?;
        Ok(Self { name: name.to_owned(), value: value.as_bytes().to_vec() })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.name)
    }
}

/// The hash that a signature is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Only for senders that know nothing better; HMAC with it is not broken.
    Sha1,
    /// What nearly all use.
    Sha256,
    /// The longest.
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// The bytes of the body.
    Body,
    /// A header's value, a separator, and the bytes of the body. The header is a time.
    TimeAndBody {
        /// The header: seconds or milliseconds since 1970, or RFC 3339.
        header: String,
        /// What stands between them.
        separator: String,
        /// How far it may be from our clock: bounds how long a recorded request can be replayed.
        tolerance: SignedDuration,
    },
}

/// How a sender signs.
#[derive(Debug, Clone)]
pub struct HmacAuth {
    /// The header with the signature, or with several between commas.
    pub header: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// What stands before it, such as `sha256=`; another prefix is another scheme and passed over.
    pub prefix: String,
    /// What is signed.
    pub signed: Signed,
    /// The secrets that count.
    pub keys: Vec<SigningKey>,
}

impl HmacAuth {
    /// As PagerDuty signs: <https://developer.pagerduty.com/docs/verifying-webhook-signatures>.
    #[must_use]
    pub fn pagerduty(keys: Vec<SigningKey>) -> Self {
        Self { prefix: "v1=".to_owned(), ..Self::plain("X-PagerDuty-Signature", keys) }
    }

    /// As Sentry signs:
    /// <https://docs.sentry.io/organization/integrations/integration-platform/webhooks/#sentry-hook-signature>.
    #[must_use]
    pub fn sentry(keys: Vec<SigningKey>) -> Self {
        Self::plain("Sentry-Hook-Signature", keys)
    }

    fn plain(header: &str, keys: Vec<SigningKey>) -> Self {
        Self {
            header: header.to_owned(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            signed: Signed::Body,
            keys,
        }
    }

    /// Checks the setting itself.
    pub(crate) fn check(&self) -> Result<(), AuthError> {
        let time = match &self.signed {
            Signed::Body => None,
            Signed::TimeAndBody { header, tolerance, .. } => {
                if !tolerance.is_positive() {
                    return Err(AuthError::Tolerance);
                }
                Some(header)
            }
        };
        for header in time.into_iter().chain([&self.header]) {
            HeaderName::try_from(header).map_err(|_| AuthError::Header(header.clone()))?;
        }
        Ok(())
    }

    /// Whose signature the headers carry.
    ///
    /// # Errors
    /// In words for the sender's operator, without anything secret.
    pub(crate) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<String, String> {
        let claims = said(headers, &self.header)?;
        let mut signed = Vec::new();
        if let Signed::TimeAndBody { header, separator, tolerance } = &self.signed {
            let time = said(headers, header)?;
            let at = times::any(time).ok_or_else(|| format!("`{header}` is no time"))?;
            if at.duration_since(now).abs() > *tolerance {
                return Err(format!("`{header}` is more than {tolerance:#} from our clock"));
            }
            signed.extend_from_slice(time.as_bytes());
            signed.extend_from_slice(separator.as_bytes());
        }
        signed.extend_from_slice(body);
        let claims = claims.split(',').map(str::trim).filter_map(|one| self.tag(one));
        let claims: Vec<_> = claims.take(SIGNATURES_MAX).collect();
        let mut sender = None;
        // All pairs are compared, whichever fits: the time it takes tells nothing of a secret.
        for key in &self.keys {
            let hmac = hmac::Key::new(self.hash(), &key.value);
            for claim in &claims {
                if hmac::verify(&hmac, &signed, claim).is_ok() {
                    sender = Some(key.name.clone());
                }
            }
        }
        sender.ok_or_else(|| format!("`{}` is not the signature of this body", self.header))
    }

    fn tag(&self, text: &str) -> Option<Vec<u8>> {
        let text = text.strip_prefix(self.prefix.as_str())?;
        match self.encoding {
            Encoding::Hex => hex(text),
            Encoding::Base64 => STANDARD.decode(text).ok(),
        }
    }

    fn hash(&self) -> hmac::Algorithm {
        match self.algorithm {
            Algorithm::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => HMAC_SHA256,
            Algorithm::Sha512 => HMAC_SHA512,
        }
    }
}

/// The one header of a name.
fn said<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, String> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => one.to_str().map_err(|_| format!("`{name}` is no ASCII text")),
        (None, _) => Err(format!("`{name}` is missing")),
        (Some(_), Some(_)) => Err(format!("`{name}` stands there twice")),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-02T03:05:00Z";
    const BODY: &[u8] = "{\"a\":\"한글\"}".as_bytes();

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn sign(secret: &str, algorithm: hmac::Algorithm, text: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), text);
        tag.as_ref().iter().fold(String::new(), |all, byte| all + &format!("{byte:02x}"))
    }

    fn keys() -> Vec<SigningKey> {
        ["old-0123456789abcdef", "new-0123456789abcdef"]
            .map(|secret| SigningKey::new(&secret[..3], secret).unwrap())
            .into()
    }

    fn verify(auth: &HmacAuth, pairs: &[(&'static str, &str)]) -> Result<String, String> {
        auth.check().unwrap();
        auth.verify(&headers(pairs), BODY, NOW.parse().unwrap())
    }

    #[test]
    fn a_known_answer_of_rfc_4231_verifies() {
        let key = SigningKey { name: "rfc".to_owned(), value: b"Jefe".to_vec() };
        let auth = HmacAuth::sentry(vec![key]);
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let sent = headers(&[("sentry-hook-signature", tag)]);
        let body = b"what do ya want for nothing?";
        assert_eq!(auth.verify(&sent, body, NOW.parse().unwrap()), Ok("rfc".to_owned()));
    }

    #[test]
    fn either_of_two_secrets_signs_and_several_signatures_may_stand_there() {
        let auth = HmacAuth::pagerduty(keys());
        let old = sign("old-0123456789abcdef", HMAC_SHA256, BODY);
        let new = sign("new-0123456789abcdef", HMAC_SHA256, BODY);
        let other = sign("not-0123456789abcdef", HMAC_SHA256, BODY);
        for (said, sender) in [
            (format!("v1={old}"), Some("old")),
            (format!("v1={new}"), Some("new")),
            (format!("v1={other}, v1={}", new.to_uppercase()), Some("new")),
            (format!("v0={new}"), None),
            (format!("v1={other}"), None),
            (new.clone(), None),
            (format!("v1={}", &new[..62]), None),
            (["v1=00"; 4].join(",") + &format!(",v1={new}"), None),
            (String::new(), None),
        ] {
            let found = verify(&auth, &[("x-pagerduty-signature", &said)]);
            assert_eq!(found.ok().as_deref(), sender, "{said}");
        }
        let twice = format!("v1={new}");
        let mut sent = headers(&[("x-pagerduty-signature", &twice)]);
        sent.append("x-pagerduty-signature", twice.parse().unwrap());
        let refused = auth.verify(&sent, BODY, NOW.parse().unwrap()).unwrap_err();
        assert_eq!(refused, "`X-PagerDuty-Signature` stands there twice");
    }

    #[test]
    fn a_signed_time_is_held_to_its_tolerance() {
        let signed = Signed::TimeAndBody {
            header: "X-Time".to_owned(),
            separator: ".".to_owned(),
            tolerance: SignedDuration::from_mins(5),
        };
        let auth = HmacAuth {
            signed,
            algorithm: Algorithm::Sha512,
            prefix: "sha512=".to_owned(),
            ..HmacAuth::plain("X-Signature", keys())
        };
        let text = |time: &str| [time.as_bytes(), b".", BODY].concat();
        // 1793588700 is the moment itself.
        for (time, says) in [
            ("1793588700", Ok("new".to_owned())),
            ("1793588400", Ok("new".to_owned())),
            ("2026-11-02T12:09:59+09:00", Ok("new".to_owned())),
            ("1793588399", Err("`X-Time` is more than 5m from our clock".to_owned())),
            ("1793589001", Err("`X-Time` is more than 5m from our clock".to_owned())),
            ("yesterday", Err("`X-Time` is no time".to_owned())),
        ] {
            let tag = sign("new-0123456789abcdef", HMAC_SHA512, &text(time));
            let said = format!("sha512={tag}");
            assert_eq!(verify(&auth, &[("x-signature", &said), ("x-time", time)]), says, "{time}");
        }
        let tag = sign("new-0123456789abcdef", HMAC_SHA512, &text("1793588700"));
        let said = format!("sha512={tag}");
        let moved = verify(&auth, &[("x-signature", &said), ("x-time", "1793588701")]);
        assert!(moved.is_err(), "the time is signed too");
        assert!(verify(&auth, &[("x-signature", &said)]).is_err());
    }

    #[test]
    fn a_key_is_never_shown() {
        let shown = format!("{:?}", HmacAuth::sentry(keys()));
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}
