//! Spans in the protobuf of OTLP, as far as it is used here.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`, version 1.
//! A test reads what is written here with OpenTelemetry's own messages.

use jiff::Timestamp;
use prost::Message;

use crate::TraceId;
use crate::spans::Span;

/// `SPAN_KIND_INTERNAL`.
const KIND_INTERNAL: i32 = 1;
/// `SPAN_KIND_CLIENT`.
const KIND_CLIENT: i32 = 3;
/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Wire>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// Only texts: of the eight kinds no other is used.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    pub(crate) instance: String,
    pub(crate) version: String,
}

/// An `ExportTraceServiceRequest` of these spans.
pub(crate) fn encode(speaker: &Speaker, spans: &[(TraceId, Span)]) -> Vec<u8> {
    let attributes = vec![
        text("service.name", "untoil"),
        text("service.version", &speaker.version),
        text("service.instance.id", &speaker.instance),
    ];
    let scope = Scope { name: "untoil".into(), version: speaker.version.clone() };
    let spans = spans.iter().map(|(trace, span)| wire(*trace, span)).collect();
    let request = Request {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        }],
    };
    request.encode_to_vec()
}

fn wire(trace: TraceId, span: &Span) -> Wire {
    Wire {
        trace_id: trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        parent_span_id: span.parent.map(|id| id.bytes().to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: if span.is_call { KIND_CLIENT } else { KIND_INTERNAL },
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: span.attributes.iter().map(|(key, value)| text(key, value)).collect(),
        status: span.failed.clone().map(|message| Status { message, code: STATUS_ERROR }),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { string_value: Some(value.to_owned()) });
    KeyValue { key: key.to_owned(), value }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
