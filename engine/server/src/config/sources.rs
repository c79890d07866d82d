//! `sources`: who may send what, and what proves it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use untoil_intake::{
    Algorithm, Decoders, Encoding, HmacAuth, IntakeConfig, Mapping, Origin, Secret, Signed,
    SigningKey, SnsPolicy, SourceAuth, SourceSetup, TopicArn,
};
use untoil_model::{Hash, Period, Rate, Source};

use super::{Config, SecretFrom};

/// A kind of sender: one way to prove who sends, and what holds whichever way that is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourceConfig {
    /// SNS's own signature.
    pub(crate) sns: Option<SnsSource>,
    /// A secret in a header.
    pub(crate) header: Option<NamedSecrets>,
    /// `Authorization: Bearer …`.
    pub(crate) bearer: Option<Secrets>,
    /// Basic authentication.
    pub(crate) basic: Option<BasicSource>,
    /// A secret in the query of the address, for senders that can do nothing better.
    pub(crate) query: Option<NamedSecrets>,
    /// PagerDuty's signature.
    pub(crate) pagerduty: Option<Secrets>,
    /// Sentry's signature.
    pub(crate) sentry: Option<Secrets>,
    /// Another signature of the body with a shared secret.
    pub(crate) hmac: Option<HmacSource>,
    /// The decoder that reads it; by default the one of its own name.
    pub(crate) decoder: Option<String>,
    /// How it is read without a decoder.
    pub(crate) mapping: Option<Mapping>,
    /// What carries it, where that is to be taken off first.
    pub(crate) envelope: Option<EnvelopeName>,
    /// The networks that may send; none for all.
    pub(crate) networks: Vec<IpNet>,
    /// How much each sender may send, such as `600 per 1m`.
    pub(crate) rate: Option<Rate>,
}

/// What carries a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EnvelopeName {
    /// CloudEvents 1.0: a decoder reads their data, a mapping the whole event.
    CloudEvents,
}

/// Which topics of SNS may send.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnsSource {
    /// By ARN.
    pub(crate) topics: Vec<String>,
    /// Origins of stand-ins on loopback that sign like SNS, such as `http://127.0.0.1:4566`.
    #[serde(default)]
    pub(crate) stand_ins: Vec<String>,
    /// SHA-256 of stand-ins' self-signed certificates.
    #[serde(default)]
    pub(crate) trusted_certificates: Vec<Hash>,
}

/// Where secrets come from; two may hold at once while one is replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    pub(crate) secrets: Vec<SecretFrom>,
}

/// The same, with the name of the header or parameter that holds them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedSecrets {
    pub(crate) name: String,
    pub(crate) secrets: Vec<SecretFrom>,
}

/// A user and its passwords.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicSource {
    pub(crate) user: String,
    pub(crate) passwords: Vec<SecretFrom>,
}

/// How a sender signs its bodies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HmacSource {
    /// The header with the signature.
    pub(crate) header: String,
    /// The hash.
    #[serde(default)]
    pub(crate) algorithm: HashName,
    /// How it is written.
    #[serde(default)]
    pub(crate) encoding: EncodingName,
    /// What stands before it, such as `sha256=`.
    #[serde(default)]
    pub(crate) prefix: String,
    /// A header with the time that is signed together with the body.
    #[serde(default)]
    pub(crate) time: Option<SignedTime>,
    /// Where its secrets come from.
    pub(crate) secrets: Vec<SecretFrom>,
}

/// A time that is signed with the body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedTime {
    /// The header that holds it.
    pub(crate) header: String,
    /// What stands between it and the body.
    #[serde(default = "dot")]
    pub(crate) separator: String,
    /// How far it may be from our clock.
    #[serde(default = "five_minutes")]
    pub(crate) tolerance: Period,
}

fn dot() -> String {
    ".".into()
}

fn five_minutes() -> Period {
    Period::mins(5)
}

/// A hash by its name.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HashName {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodingName {
    #[default]
    Hex,
    Base64,
}

/// The configured sources with their secrets read.
pub(crate) fn intake(config: &Config) -> anyhow::Result<IntakeConfig> {
    let mut sources = BTreeMap::new();
    for (name, source) in &config.sources {
        let key: Source = name.parse()?;
        let setup = setup(name, source).with_context(|| format!("in `sources.{name}`"))?;
        sources.insert(key, setup);
    }
    let decoders = Arc::new(decoders(config)?);
    let (proxies, body_bytes_max) = (config.proxies.clone(), config.body_bytes_max);
    Ok(IntakeConfig { sources, decoders, proxies, body_bytes_max })
}

/// How the configured sources are read.
pub(crate) fn decoders(config: &Config) -> anyhow::Result<Decoders> {
    let mut decoders = Decoders::default();
    for (name, SourceConfig { decoder, mapping, envelope, .. }) in &config.sources {
        let key: Source = name.parse()?;
        let added = match (decoder, mapping) {
            (Some(_), Some(_)) => {
                bail!("`sources.{name}` has `decoder` and `mapping`; leave one of them out")
            }
            // What comes in an envelope is read without a decoder, too.
            (None, None) if envelope.is_some() => Ok(()),
            (decoder, None) => decoders.decoder(key.clone(), decoder.as_deref()),
            (None, Some(mapping)) => decoders.mapping(key.clone(), mapping.clone()),
        };
        let added = added.and_then(|()| match envelope {
            Some(EnvelopeName::CloudEvents) => decoders.in_events(key),
            None => Ok(()),
        });
        added.with_context(|| format!("in `sources.{name}`"))?;
    }
    Ok(decoders)
}

fn setup(name: &str, source: &SourceConfig) -> anyhow::Result<SourceSetup> {
    let mut ways = Vec::new();
    let SourceConfig { sns, header, bearer, basic, query, pagerduty, sentry, hmac, .. } = source;
    if let Some(sns) = sns {
        ways.push(SourceAuth::SnsSignature(policy(sns)?));
    }
    if let Some(NamedSecrets { name: header, secrets }) = header {
        let (header, secrets) = (header.clone(), read(name, secrets)?);
        ways.push(SourceAuth::SharedSecretHeader { header, secrets });
    }
    if let Some(Secrets { secrets }) = bearer {
        ways.push(SourceAuth::Bearer { secrets: read(name, secrets)? });
    }
    if let Some(BasicSource { user, passwords }) = basic {
        let (user, passwords) = (user.clone(), read(name, passwords)?);
        ways.push(SourceAuth::Basic { user, passwords });
    }
    if let Some(NamedSecrets { name: parameter, secrets }) = query {
        let (parameter, secrets) = (parameter.clone(), read(name, secrets)?);
        ways.push(SourceAuth::Query { name: parameter, secrets });
    }
    if let Some(Secrets { secrets }) = pagerduty {
        ways.push(SourceAuth::Hmac(HmacAuth::pagerduty(keys(name, secrets)?)));
    }
    if let Some(Secrets { secrets }) = sentry {
        ways.push(SourceAuth::Hmac(HmacAuth::sentry(keys(name, secrets)?)));
    }
    if let Some(hmac) = hmac {
        ways.push(SourceAuth::Hmac(signature(name, hmac)?));
    }
    let count = ways.len();
    let Some(auth) = ways.pop().filter(|_| count == 1) else {
        bail!(
            "{count} ways to prove who sends; give one of `sns`, `header`, `bearer`, `basic`, \
            `query`, `pagerduty`, `sentry`, `hmac`"
        );
    };
    Ok(SourceSetup { auth, networks: source.networks.clone(), rate: source.rate })
}

fn policy(sns: &SnsSource) -> anyhow::Result<SnsPolicy> {
    let topics: BTreeSet<TopicArn> =
        sns.topics.iter().map(|topic| topic.parse()).collect::<Result<_, _>>()?;
    let stand_ins: Vec<Origin> =
        sns.stand_ins.iter().map(|origin| Origin::loopback(origin)).collect::<Result<_, _>>()?;
    let trusted_certificates = sns.trusted_certificates.clone();
    Ok(SnsPolicy { topics, stand_ins, trusted_certificates })
}

fn signature(name: &str, hmac: &HmacSource) -> anyhow::Result<HmacAuth> {
    let signed = match &hmac.time {
        None => Signed::Body,
        Some(SignedTime { header, separator, tolerance }) => Signed::TimeAndBody {
            header: header.clone(),
            separator: separator.clone(),
            tolerance: SignedDuration::try_from(tolerance.duration())?,
        },
    };
    Ok(HmacAuth {
        header: hmac.header.clone(),
        algorithm: match hmac.algorithm {
            HashName::Sha1 => Algorithm::Sha1,
            HashName::Sha256 => Algorithm::Sha256,
            HashName::Sha512 => Algorithm::Sha512,
        },
        encoding: match hmac.encoding {
            EncodingName::Hex => Encoding::Hex,
            EncodingName::Base64 => Encoding::Base64,
        },
        prefix: hmac.prefix.clone(),
        signed,
        keys: keys(name, &hmac.secrets)?,
    })
}

/// The secrets, each with the name that the journal knows its sender by.
fn read(name: &str, secrets: &[SecretFrom]) -> anyhow::Result<Vec<Secret>> {
    each(name, secrets, |name, value| Ok(Secret::new(name, value)?))
}

fn keys(name: &str, secrets: &[SecretFrom]) -> anyhow::Result<Vec<SigningKey>> {
    each(name, secrets, |name, value| Ok(SigningKey::new(name, value)?))
}

fn each<T>(
    name: &str,
    secrets: &[SecretFrom],
    make: impl Fn(&str, &str) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let numbered = (1..).zip(secrets);
    numbered.map(|(n, from)| make(&format!("{name}-{n}"), &from.read()?)).collect()
}
