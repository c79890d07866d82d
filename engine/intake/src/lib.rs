//! Bytes to alarms: one file per source, and the signatures that prove who sent them.
//!
//! Two halves that meet in the journal. [`routes`] authenticates a sender, keeps its delivery as it
//! came and answers; [`Decoders`] later turn the kept bytes into alarms, from the bytes alone, so that
//! it can be repeated. Nothing here decides what to do about an alarm.
//!
//! To add a source see `sources.rs`.
#![forbid(unsafe_code)]

mod bounds;
mod decode;
mod json;

mod decoders;
mod enrichment;
mod mapping;
mod reading;
mod sources;
mod times;

mod auth;
mod hmac;
mod http;
mod lambda;
mod networks;
mod patience;
mod problem;
mod queue;
mod rates;
mod sns_certificate;
mod sns_ports;
mod sns_signature;
mod sns_url;

pub use auth::{AuthError, Secret, SourceAuth};
pub use decode::{DecodeError, Decoded, decode, explain, sources};
pub use decoders::{Decoders, DecodersError};
pub use enrichment::{EnrichRule, Enrichment};
pub use hmac::{Algorithm, Encoding, HmacAuth, Signed, SigningKey};
pub use http::{
    BODY_BYTES_DEFAULT, BODY_BYTES_MIN, ConfigError, IntakeConfig, IntakeState, Ports, SourceSetup,
    routes,
};
pub use lambda::{
    Invocation, LambdaError, LambdaMessages, LambdaRequest, LambdaSources, invocation,
};
pub use mapping::{Mapping, MappingError};
pub use queue::{Consumer, HIDDEN, MESSAGES_MAX, Queue, QueueError, QueueMessage, WAIT};
pub use reading::Origin as ValueOrigin;
pub use sns_ports::{AwsSns, Certificates, FetchError, Subscriptions};
pub use sns_signature::{SnsPolicy, SnsRefusal, SnsVerifier, Verified};
pub use sns_url::{CertificateUrl, Origin, SubscribeUrl, UrlRefused};
pub use sources::sns::{TopicArn, TopicArnError};
