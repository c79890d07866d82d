//! The address of a queue, and what it tells.

use std::fmt;
use std::str::FromStr;

/// Longest name of a queue, with `.fifo`.
const NAME_CHARS_MAX: usize = 80;
/// Digits of an account's number.
const ACCOUNT_DIGITS: usize = 12;

/// The address of a queue of SQS: `https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil`.
///
/// It only names the queue: requests go to the endpoint of SQS in the region that it names, or to the
/// one that `AWS_ENDPOINT_URL` names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueAddress {
    url: String,
    region: Option<String>,
    account: String,
    name: String,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueAddressError {
    /// An ARN stands in its place.
    #[error("`{arn}` is an ARN; give the address: `{url}`")]
    Arn {
        /// What was given.
        arn: String,
        /// The address of that queue.
        url: String,
    },
    /// It is no address of a queue.
    #[error(
        "`{0}` is not the address of a queue; `aws sqs get-queue-url --queue-name NAME` tells it: \
         `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`"
    )]
    NoAddress(String),
    /// It goes over plain HTTP to somewhere else than this machine.
    #[error("`{0}` is not encrypted; write `https://…`")]
    Plain(String),
}

impl QueueAddress {
    /// The address as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The region that it names; a stand-in's address names none.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The queue's ARN, in `otherwise` where the address names no region.
    #[must_use]
    pub fn arn(&self, otherwise: &str) -> String {
        let Self { region, account, name, .. } = self;
        let region = region.as_deref().unwrap_or(otherwise);
        format!("arn:{}:sqs:{region}:{account}:{name}", partition(region))
    }
}

impl fmt::Display for QueueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl FromStr for QueueAddress {
    type Err = QueueAddressError;

    fn from_str(url: &str) -> Result<Self, QueueAddressError> {
        if let Some(meant) = url_of_arn(url) {
            return Err(QueueAddressError::Arn { arn: url.to_owned(), url: meant });
        }
        let no_address = || QueueAddressError::NoAddress(url.chars().take(200).collect());
        let (scheme, rest) = url.split_once("://").ok_or_else(no_address)?;
        let mut parts = rest.split('/');
        let (Some(host), Some(account), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(no_address());
        };
        let region = region_of(host);
        match scheme {
            "https" => {}
            "http" if region.is_none() => {}
            "http" => return Err(QueueAddressError::Plain(url.to_owned())),
            _ => return Err(no_address()),
        }
        if !is_host(host) || !is_account(account) || !is_name(name) {
            return Err(no_address());
        }
        let (url, account, name) = (url.to_owned(), account.to_owned(), name.to_owned());
        Ok(Self { url, region: region.map(str::to_owned), account, name })
    }
}

/// The region that a host of SQS's is in; none for hosts that are not AWS's.
/// <https://docs.aws.amazon.com/general/latest/gr/sqs-service.html>
fn region_of(host: &str) -> Option<&str> {
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        ["sqs" | "sqs-fips", region, "amazonaws", "com"]
        | ["sqs", region, "amazonaws", "com", "cn"]
        | ["sqs" | "sqs-fips", region, "api", "aws"]
        | [_, "sqs", region, "vpce", "amazonaws", "com"]
        // As it was before 2013; `queue.amazonaws.com` alone is in Virginia.
        | [region, "queue", "amazonaws", "com"] => Some(region),
        ["queue", "amazonaws", "com"] => Some("us-east-1"),
        _ => None,
    }
}

fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The address that belongs to an ARN.
fn url_of_arn(text: &str) -> Option<String> {
    let mut parts = text.strip_prefix("arn:")?.split(':');
    let (partition, service) = (parts.next()?, parts.next()?);
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    let end = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    (service == "sqs").then(|| format!("https://sqs.{region}.{end}/{account}/{name}"))
}

/// A host without anything that a client could take for a user or a query.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(text: &str) -> bool {
    let base = text.strip_suffix(".fifo").unwrap_or(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !base.is_empty() && text.len() <= NAME_CHARS_MAX && base.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_region_and_arn() {
        let table = [
            ("https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil", "ap-northeast-2"),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/untoil", "cn-north-1"),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/untoil", "us-gov-west-1"),
            ("https://sqs.eu-west-1.api.aws/123456789012/untoil", "eu-west-1"),
            (
                "https://vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/untoil",
                "eu-west-1",
            ),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/untoil", "eu-west-1"),
            ("https://queue.amazonaws.com/123456789012/untoil", "us-east-1"),
            ("http://127.0.0.1:4566/123456789012/untoil", "-"),
            ("http://localstack:4566/123456789012/untoil.fifo", "-"),
        ];
        let lines = table.map(|(url, region)| {
            let address: QueueAddress = url.parse().unwrap();
            assert_eq!(address.region().unwrap_or("-"), region, "{url}");
            assert_eq!(address.to_string(), url);
            format!("{}\n", address.arn("eu-central-1"))
        });
        let told = lines.concat();
        assert_eq!(
            told,
            "arn:aws:sqs:ap-northeast-2:123456789012:untoil\n\
             arn:aws-cn:sqs:cn-north-1:123456789012:untoil\n\
             arn:aws-us-gov:sqs:us-gov-west-1:123456789012:untoil\n\
             arn:aws:sqs:eu-west-1:123456789012:untoil\n\
             arn:aws:sqs:eu-west-1:123456789012:untoil\n\
             arn:aws:sqs:eu-west-1:123456789012:untoil\n\
             arn:aws:sqs:us-east-1:123456789012:untoil\n\
             arn:aws:sqs:eu-central-1:123456789012:untoil\n\
             arn:aws:sqs:eu-central-1:123456789012:untoil.fifo\n"
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_way_out() {
        let sqs = "https://sqs.ap-northeast-2.amazonaws.com";
        for (url, wanted) in [
            ("", "get-queue-url"),
            ("untoil", "get-queue-url"),
            ("ftp://127.0.0.1/123456789012/untoil", "get-queue-url"),
            (&format!("{sqs}/untoil"), "get-queue-url"),
            (&format!("{sqs}/1234/untoil"), "get-queue-url"),
            (&format!("{sqs}/123456789012/"), "get-queue-url"),
            (&format!("{sqs}/123456789012/untoil/more"), "get-queue-url"),
            (&format!("{sqs}/123456789012/untoil?Action=DeleteQueue"), "get-queue-url"),
            (&format!("{sqs}/123456789012/{}", "q".repeat(81)), "get-queue-url"),
            ("https://a@sqs.eu-west-1.amazonaws.com/123456789012/untoil", "get-queue-url"),
            ("http://sqs.eu-west-1.amazonaws.com/123456789012/untoil", "not encrypted"),
            (
                "arn:aws:sqs:ap-northeast-2:123456789012:untoil",
                "`https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil`",
            ),
        ] {
            let error = url.parse::<QueueAddress>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{url}: {error}");
        }
    }
}
