//! Amazon SNS over HTTP(S): the envelope in its three types, and what a kept one says.
//!
//! SNS posts `text/plain`, whatever is in it. The envelope is read from the same bytes by the same
//! code when its signature is verified and when it is decoded. Headers are not signed and not read.
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use untoil_model::Delivery;

use crate::json::{self, Text};
use crate::reading::{Detail, Read};
use crate::sources::aws::{self, Letter};
use crate::{DecodeError, bounds};

/// An SNS topic, as configuration pins it and messages name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicArn {
    text: String,
    region: String,
}

/// A text that is not a topic's ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a topic's ARN; write `arn:aws:sns:ap-northeast-2:123456789012:alarms`")]
pub struct TopicArnError(String);

impl TopicArn {
    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The Region's code.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }
}

impl FromStr for TopicArn {
    type Err = TopicArnError;

    fn from_str(text: &str) -> Result<Self, TopicArnError> {
        let wrong = || TopicArnError(bounds::quote(text));
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "sns", region, account, topic] = parts[..] else {
            return Err(wrong());
        };
        let is_code = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_name = |c: char| is_code(c) || c == '_' || c == '.';
        let is_arn = partition.starts_with("aws")
            && [partition, region, account].iter().all(|part| part.chars().all(is_code))
            && !region.is_empty()
            && !account.is_empty()
            && !topic.is_empty()
            && topic.len() <= 256
            && topic.chars().all(is_name);
        if !is_arn {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), region: region.to_owned() })
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The three types of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Kind {
    /// Something was published.
    Notification,
    /// The endpoint was subscribed and must confirm.
    SubscriptionConfirmation,
    /// The subscription was deleted.
    UnsubscribeConfirmation,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

/// SNS's envelope. AWS owns the format and adds to it, so keys that are not known are passed over;
/// none of them is signed. A Lambda function gets it with the keys' other spelling.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(rename = "Type")]
    pub(crate) kind: Kind,
    #[serde(rename = "MessageId", borrow)]
    pub(crate) message_id: Text<'a>,
    #[serde(rename = "TopicArn", borrow)]
    pub(crate) topic_arn: Text<'a>,
    #[serde(rename = "Subject", borrow)]
    pub(crate) subject: Option<Text<'a>>,
    #[serde(rename = "Message", borrow)]
    pub(crate) message: Text<'a>,
    #[serde(rename = "Timestamp", borrow)]
    pub(crate) timestamp: Text<'a>,
    /// Not signed.
    #[serde(rename = "MessageAttributes")]
    pub(crate) message_attributes: Option<serde_json::Value>,
    #[serde(rename = "SignatureVersion", borrow)]
    pub(crate) signature_version: Option<Text<'a>>,
    #[serde(rename = "Signature", borrow)]
    pub(crate) signature: Option<Text<'a>>,
    #[serde(rename = "SigningCertURL", alias = "SigningCertUrl", borrow)]
    pub(crate) signing_cert_url: Option<Text<'a>>,
    #[serde(rename = "Token", borrow)]
    pub(crate) token: Option<Text<'a>>,
    #[serde(rename = "SubscribeURL", alias = "SubscribeUrl", borrow)]
    pub(crate) subscribe_url: Option<Text<'a>>,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope. A key that stands there twice is refused.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(body).map_err(json::not_json)
    }

    /// What the signature is over: key and value on lines of their own, by key, as bytes in UTF-8. A
    /// subject that is null is left out, an empty one is not.
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>
    pub(crate) fn string_to_sign(&self) -> String {
        let (subscribe_url, token, subject) = match self.kind {
            Kind::Notification => (None, None, self.subject.as_deref()),
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => (
                Some(self.subscribe_url.as_deref().unwrap_or("")),
                Some(self.token.as_deref().unwrap_or("")),
                None,
            ),
        };
        let fields = [
            ("Message", Some(&*self.message)),
            ("MessageId", Some(&self.message_id)),
            ("Subject", subject),
            ("SubscribeURL", subscribe_url),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", token),
            ("TopicArn", Some(&self.topic_arn)),
            ("Type", Some(self.kind.as_str())),
        ];
        let mut text = String::with_capacity(self.message.len() + 512);
        for (key, value) in fields {
            if let Some(value) = value {
                for part in [key, "\n", value, "\n"] {
                    text.push_str(part);
                }
            }
        }
        text
    }
}

/// Whether a kept delivery is SNS's word that the subscription was deleted: a person must hear that,
/// because nothing else arrives any more.
pub(crate) fn says_unsubscribed(delivery: &Delivery) -> bool {
    Envelope::parse(&delivery.body)
        .is_ok_and(|envelope| envelope.kind == Kind::UnsubscribeConfirmation)
}

/// What a kept envelope says. Its signature was verified before it was kept.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    enclosed((delivery, detail), &Envelope::parse(&delivery.body)?)
}

/// What an envelope says that was read from a delivery.
pub(crate) fn enclosed(
    (delivery, detail): (&Delivery, Detail),
    envelope: &Envelope<'_>,
) -> Result<Read, DecodeError> {
    let topic = bounds::name(&envelope.topic_arn);
    match envelope.kind {
        Kind::Notification => {
            let letter = Letter { message: &envelope.message, envelope: Some(envelope) };
            aws::message((delivery, detail), &letter).map(|read| read.within("/Message"))
        }
        Kind::SubscriptionConfirmation => Ok(Read::Note(format!(
            "SNS asks to confirm the subscription to `{topic}`: the intake answers at once, and SNS \
             asks again until it did"
        ))),
        Kind::UnsubscribeConfirmation => Ok(Read::Note(format!(
            "the subscription to `{topic}` was deleted: its alarms do not arrive any more; \
             subscribe again if that was not meant"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_pinned_by_its_whole_arn() {
        let topic: TopicArn = "arn:aws:sns:ap-northeast-2:123456789012:alarms".parse().unwrap();
        assert_eq!(topic.region(), "ap-northeast-2");
        for text in [
            "",
            "alarms",
            "arn:aws:sns:ap-northeast-2:123456789012:alarms:0f0e0d0c",
            "arn:aws:sqs:ap-northeast-2:123456789012:alarms",
            "arn:aws:sns::123456789012:alarms",
            "arn:aws:sns:evil.example/:1:alarms",
            "arn:aws:sns:ap-northeast-2:123456789012:*",
        ] {
            assert!(text.parse::<TopicArn>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_string_to_sign_leaves_out_a_null_subject_and_keeps_an_empty_one() {
        let parse = |subject: &str| {
            let body = format!(
                r#"{{"Type":"Notification","MessageId":"m","TopicArn":"t","Message":"a\nb"{subject},"Timestamp":"now"}}"#
            );
            Envelope::parse(body.as_bytes()).unwrap().string_to_sign()
        };
        let without =
            "Message\na\nb\nMessageId\nm\nTimestamp\nnow\nTopicArn\nt\nType\nNotification\n";
        assert_eq!(parse(""), without);
        assert_eq!(parse(r#","Subject":null"#), without);
        assert_eq!(parse(r#","Subject":"""#), without.replace("Timestamp", "Subject\n\nTimestamp"));
    }

    #[test]
    fn a_key_that_stands_there_twice_is_refused() {
        let body = br#"{"Type":"Notification","MessageId":"m","MessageId":"n","TopicArn":"t","Message":"","Timestamp":""}"#;
        assert!(Envelope::parse(body).is_err());
    }
}
