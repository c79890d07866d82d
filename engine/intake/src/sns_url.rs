//! The addresses that an SNS message may make us fetch. A value of these types was checked.
//!
//! A message can name any address before its signature is verified, and the certificate's address
//! is followed to verify it: the host is all that keeps a stranger from choosing the certificate.

use std::fmt;

use reqwest::Url;

use crate::bounds;
use crate::sources::sns::TopicArn;

/// SNS's own address of a certificate is under 120 characters, of a confirmation under 600.
const URL_BYTES_MAX: usize = 1_024;

/// Why an address is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not followed: {why}")]
pub struct UrlRefused {
    url: String,
    why: &'static str,
}

impl UrlRefused {
    /// Shows the address without its query, which may hold a token.
    fn new(url: &str, why: &'static str) -> Self {
        Self { url: bounds::quote(url.split('?').next().unwrap_or_default()), why }
    }
}

/// The origin of a stand-in for SNS on this machine: `http://127.0.0.1:4566`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    /// An origin on loopback; nothing else can stand in for SNS.
    ///
    /// # Errors
    /// [`UrlRefused`] when it is not `http` or `https`, `127.0.0.1`, `[::1]` or `localhost`, and a port.
    pub fn loopback(text: &str) -> Result<Self, UrlRefused> {
        let wrong = |why| UrlRefused::new(text, why);
        let url = Url::parse(text).map_err(|_| wrong("it is not an address"))?;
        let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if !is_loopback || !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("a stand-in is on loopback, such as `http://127.0.0.1:4566`"));
        }
        if url.path() != "/" || url.query().is_some() || has_extras(&url) {
            return Err(wrong("write scheme, host and port only"));
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    fn covers(&self, url: &Url) -> bool {
        !has_extras(url) && url.origin().ascii_serialization() == self.0
    }
}

/// Where a signing certificate may be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateUrl {
    url: String,
    region: Option<(String, &'static str)>,
}

impl CertificateUrl {
    /// Checks the address: `https`, `sns.<region>.amazonaws.com` or `.com.cn`, a path that ends in
    /// `.pem`, and nothing else. `stand_ins` are further origins, empty in production.
    ///
    /// # Errors
    /// [`UrlRefused`] says what is wrong with it.
    pub fn parse(text: &str, stand_ins: &[Origin]) -> Result<Self, UrlRefused> {
        let wrong = |why| UrlRefused::new(text, why);
        let url = parse(text)?;
        if !url.path().as_bytes().ends_with(b".pem") || url.query().is_some() {
            return Err(wrong("a certificate's path ends in `.pem` and has no query"));
        }
        if url.as_str() != text {
            return Err(wrong("it is not written the plain way"));
        }
        if stand_ins.iter().any(|origin| origin.covers(&url)) {
            return Ok(Self { url: text.to_owned(), region: None });
        }
        let region = sns_region(&url).ok_or_else(|| wrong("its host is not one of SNS's"))?;
        Ok(Self { url: text.to_owned(), region: Some(region) })
    }

    /// The address itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Whether a certificate that was fetched here may be made out to `name`.
    ///
    /// Most Regions sign as `sns.amazonaws.com`; those that are opted into, `GovCloud` and China have
    /// names of their own (`SigningCertUrl` handling of aws-sdk-java-v2's `sns-message-manager`).
    /// They count only from the host of their own Region.
    #[must_use]
    pub fn may_be_named(&self, name: &str) -> bool {
        if name == "sns.amazonaws.com" {
            return true;
        }
        let Some((region, suffix)) = &self.region else {
            return false;
        };
        let gov = region.starts_with("us-gov-") && name == "sns-us-gov-west-1.amazonaws.com";
        gov || ["sns.", "sns-", "sns-signing."]
            .iter()
            .any(|start| name == format!("{start}{region}{suffix}"))
    }
}

impl fmt::Display for CertificateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// An address that confirms the subscription to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeUrl(String);

impl SubscribeUrl {
    /// Checks the address: SNS in the topic's own Region, and a confirmation of that topic.
    ///
    /// # Errors
    /// [`UrlRefused`] says what is wrong with it.
    pub fn parse(text: &str, topic: &TopicArn, stand_ins: &[Origin]) -> Result<Self, UrlRefused> {
        let wrong = |why| UrlRefused::new(text, why);
        let url = parse(text)?;
        let is_stand_in = stand_ins.iter().any(|origin| origin.covers(&url));
        let is_sns = sns_region(&url).is_some_and(|(region, _)| region == topic.region());
        if !is_stand_in && !is_sns {
            return Err(wrong("its host is not SNS in the topic's Region"));
        }
        let is = |key: &str, value: &str| url.query_pairs().any(|(k, v)| k == key && v == value);
        let asked =
            url.query_pairs().filter(|(key, _)| key == "Action" || key == "TopicArn").count();
        if url.path() != "/"
            || asked != 2
            || !is("Action", "ConfirmSubscription")
            || !is("TopicArn", topic.as_str())
        {
            return Err(wrong("it does not confirm a subscription to this topic"));
        }
        Ok(Self(url.as_str().to_owned()))
    }

    /// The address itself. It holds the token that confirms, so it does not go into logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse(text: &str) -> Result<Url, UrlRefused> {
    let wrong = |why| UrlRefused::new(text, why);
    if text.len() > URL_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    Url::parse(text).map_err(|_| wrong("it is not an address"))
}

fn has_extras(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some() || url.fragment().is_some()
}

/// The Region and domain of an address of SNS: `^sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(\.cn)?$`, the
/// pattern of AWS's own validators, over `https` and on its own port.
fn sns_region(url: &Url) -> Option<(String, &'static str)> {
    if url.scheme() != "https" || url.port().is_some() || has_extras(url) {
        return None;
    }
    let rest = url.host_str()?.strip_prefix("sns.")?;
    let (region, suffix) = [".amazonaws.com", ".amazonaws.com.cn"]
        .into_iter()
        .find_map(|suffix| Some((rest.strip_suffix(suffix)?, suffix)))?;
    let is_region =
        region.len() >= 3 && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_region.then(|| (region.to_owned(), suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_fetched_from_sns_only() {
        for url in [
            "https://sns.ap-northeast-2.amazonaws.com/SimpleNotificationService-00.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-a.pem",
        ] {
            assert!(CertificateUrl::parse(url, &[]).is_ok(), "{url}");
        }
        for url in [
            "http://sns.ap-northeast-2.amazonaws.com/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a.pem#x",
            "https://sns.ap-northeast-2.amazonaws.com/a.pem?x.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a.pe\tm",
            "https://sns.ap-northeast-2.amazonaws.com:8443/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com.evil.example/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com@evil.example/a.pem",
            "https://user:pass@sns.ap-northeast-2.amazonaws.com/a.pem",
            "https://sns.evil.example.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.us.amazonaws.com/a.pem",
            "https://s3.amazonaws.com/bucket/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com/x/../../a.pem",
            "https:\\\\sns.ap-northeast-2.amazonaws.com\\a.pem",
            "http://127.0.0.1:4566/a.pem",
            "a.pem",
        ] {
            assert!(CertificateUrl::parse(url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn a_stand_in_is_on_loopback_and_must_be_named() {
        let origin = Origin::loopback("http://127.0.0.1:4566").unwrap();
        let parse = |url| CertificateUrl::parse(url, std::slice::from_ref(&origin));
        assert!(parse("http://127.0.0.1:4566/a.pem").is_ok());
        assert!(parse("http://127.0.0.1:4567/a.pem").is_err());
        assert!(parse("http://u@127.0.0.1:4566/a.pem").is_err());
        for text in [
            "http://10.0.0.1:80",
            "https://evil.example",
            "ftp://127.0.0.1",
            "http://127.0.0.1:1/x",
            "",
        ] {
            assert!(Origin::loopback(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_regional_name_counts_from_its_own_region_only() {
        let url = CertificateUrl::parse("https://sns.af-south-1.amazonaws.com/a.pem", &[]).unwrap();
        for name in [
            "sns.amazonaws.com",
            "sns.af-south-1.amazonaws.com",
            "sns-signing.af-south-1.amazonaws.com",
        ] {
            assert!(url.may_be_named(name), "{name}");
        }
        for name in ["sns-signing.eu-south-1.amazonaws.com", "amazonaws.com", "evil.example", ""] {
            assert!(!url.may_be_named(name), "{name}");
        }
    }

    #[test]
    fn a_confirmation_goes_to_the_topics_region_and_confirms_that_topic() {
        let topic: TopicArn = "arn:aws:sns:ap-northeast-2:123456789012:alarms".parse().unwrap();
        let good = "https://sns.ap-northeast-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:ap-northeast-2:123456789012:alarms&Token=2336";
        assert!(SubscribeUrl::parse(good, &topic, &[]).is_ok());
        for url in [
            good.replace("https", "http"),
            good.replace("sns.ap-northeast-2", "sns.us-east-1"),
            good.replace("amazonaws.com/", "amazonaws.com.evil.example/"),
            good.replace("amazonaws.com/", "amazonaws.com:444/"),
            good.replace("amazonaws.com/", "amazonaws.com/x"),
            good.replace("ConfirmSubscription", "Unsubscribe"),
            good.replace(":alarms", ":others"),
            format!("{good}&Action=Unsubscribe"),
            format!("{good}&TopicArn=arn:aws:sns:ap-northeast-2:123456789012:others"),
            "http://169.254.169.254/latest/meta-data".to_owned(),
        ] {
            assert!(SubscribeUrl::parse(&url, &topic, &[]).is_err(), "{url}");
        }
    }
}
