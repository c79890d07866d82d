//! What AWS Lambda hands to a function, as deliveries or as a request: bytes in, values out.
//!
//! Records of SNS and SQS, events of EventBridge and CloudWatch's direct action are authenticated by
//! IAM: only who may invoke the function can send them. What comes over HTTP (a function URL, API
//! Gateway, a load balancer) is a request like any other and goes to [`crate::routes`], which judges
//! it by the source's own authentication.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use untoil_model::{Delivery, DeliveryId, Hash, Source};

use crate::{Decoders, bounds, queue};

/// Records of one invocation: SQS gives at most 10,000.
const RECORDS_MAX: usize = 10_000;

/// What the function reads as what.
#[derive(Debug, Clone)]
pub struct LambdaSources {
    /// The source of queues' messages, by the queue's ARN. One that is not here is a source of `aws`.
    pub queues: BTreeMap<String, Source>,
}

/// An invocation, read.
#[derive(Debug)]
pub enum Invocation {
    /// Messages that IAM let in, to be kept.
    Messages(LambdaMessages),
    /// A request over HTTP, for [`crate::routes`].
    Request(LambdaRequest),
}

/// Why an invocation is not read. It is answered as an error, and Lambda shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LambdaError {
    /// It is not JSON.
    #[error("the event is not JSON: {0}")]
    NotJson(String),
    /// It is no event that untoil takes.
    #[error(
        "the event is none of SNS, SQS, EventBridge, CloudWatch, a function URL, API Gateway or a load \
         balancer"
    )]
    Unknown,
    /// A part of it is not as documented.
    #[error("the event's `{0}` is not as documented")]
    Shape(&'static str),
    /// Messages were not kept, and Lambda should send them again.
    #[error("{0} messages were not kept")]
    NotKept(usize),
}

/// Messages of one invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LambdaMessages {
    /// As deliveries, in order.
    pub deliveries: Vec<Delivery>,
    /// Of a queue: each message's id, to report those that are to come again.
    ids: Option<Vec<String>>,
    /// Which of them cannot be read.
    unreadable: BTreeSet<usize>,
}

impl LambdaMessages {
    /// What the function answers when these of the deliveries, by their places, were not kept. A queue's
    /// unreadable ones are reported as failed too: they are in the journal, and the queue's redrive
    /// policy moves them to its dead-letter queue.
    ///
    /// # Errors
    /// [`LambdaError::NotKept`] where Lambda has no answer for a part: it invokes again.
    pub fn answer(&self, not_kept: &BTreeSet<usize>) -> Result<Value, LambdaError> {
        match &self.ids {
            Some(ids) => {
                let failed = not_kept.union(&self.unreadable).filter_map(|n| ids.get(*n));
                let failed: Vec<Value> = failed.map(|id| json!({ "itemIdentifier": id })).collect();
                Ok(json!({ "batchItemFailures": failed }))
            }
            None if not_kept.is_empty() => Ok(json!({})),
            None => Err(LambdaError::NotKept(not_kept.len())),
        }
    }
}

/// Which of the shapes of an HTTP event it is; the answer has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A function URL or API Gateway's version 2.
    Version2,
    /// API Gateway's version 1.
    Version1,
    /// A load balancer, with or without lists of values.
    LoadBalancer { lists: bool },
}

/// A request over HTTP.
#[derive(Debug)]
pub struct LambdaRequest {
    /// It, with the client's address as the peer's, as far as it is known.
    pub request: Request<Body>,
    shape: Shape,
}

impl LambdaRequest {
    /// An answer in the shape that fits the event.
    #[must_use]
    pub fn reply(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Value {
        let pairs = headers.iter().filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
        let is_text = std::str::from_utf8(body);
        let (body, base64) = match is_text {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(body), true),
        };
        let mut answer =
            json!({ "statusCode": status.as_u16(), "body": body, "isBase64Encoded": base64 });
        if matches!(self.shape, Shape::LoadBalancer { lists: true }) {
            let lists: Map<String, Value> =
                pairs.map(|(name, value)| (name.to_string(), json!([value]))).collect();
            answer["multiValueHeaders"] = lists.into();
        } else {
            let single: Map<String, Value> =
                pairs.map(|(name, value)| (name.to_string(), json!(value))).collect();
            answer["headers"] = single.into();
        }
        if matches!(self.shape, Shape::LoadBalancer { .. }) {
            let reason = status.canonical_reason().unwrap_or("");
            answer["statusDescription"] = json!(format!("{} {reason}", status.as_u16()));
        }
        answer
    }
}

/// Reads an invocation's event.
///
/// # Errors
/// [`LambdaError`]; nothing was kept then, and Lambda may send it again.
pub fn invocation(
    event: &[u8],
    (sources, decoders): (&LambdaSources, &Decoders),
    received_at: Timestamp,
) -> Result<Invocation, LambdaError> {
    let value: Value = serde_json::from_slice(event)
        .map_err(|error| LambdaError::NotJson(bounds::remark(&error.to_string())))?;
    if let Some(records) = value.get("Records") {
        let records = records.as_array().ok_or(LambdaError::Shape("Records"))?;
        return Ok(Invocation::Messages(self::records(records, (sources, decoders), received_at)?));
    }
    let context = value.get("requestContext");
    if let Some(context) = context.and_then(Value::as_object) {
        return Ok(Invocation::Request(request(&value, context)?));
    }
    if text(&value, "/source").is_some()
        && (text(&value, "/detail-type").is_some() || value.get("alarmData").is_some())
    {
        let aws = aws();
        // An event's id is the same on every try; CloudWatch's own action gives none.
        let id = text(&value, "/id").filter(|id| id.len() <= 128);
        let message = id.map_or_else(|| Hash::of(event).to_string(), |id| format!("event:{id}"));
        let sender = text(&value, "/source").unwrap_or("");
        let delivery = Delivery {
            id: DeliveryId { source: aws, message: bounds::identifier(&message) },
            sender: bounds::name(sender),
            received_at,
            headers: BTreeMap::new(),
            body: event.to_vec(),
        };
        let messages = messages(vec![delivery], None, decoders);
        return Ok(Invocation::Messages(messages));
    }
    Err(LambdaError::Unknown)
}

fn aws() -> Source {
    "aws".parse().expect("it is a source")
}

fn messages(
    deliveries: Vec<Delivery>,
    ids: Option<Vec<String>>,
    decoders: &Decoders,
) -> LambdaMessages {
    let unreadable = deliveries.iter().enumerate();
    let unreadable = unreadable.filter(|(_, delivery)| decoders.decode(delivery).is_err());
    let unreadable = unreadable.map(|(n, _)| n).collect();
    LambdaMessages { deliveries, ids, unreadable }
}

/// Records of SQS or of SNS; all are of one kind.
fn records(
    records: &[Value],
    (sources, decoders): (&LambdaSources, &Decoders),
    received_at: Timestamp,
) -> Result<LambdaMessages, LambdaError> {
    if records.len() > RECORDS_MAX {
        return Err(LambdaError::Shape("Records"));
    }
    let is_sqs = |record: &Value| text(record, "/eventSource") == Some("aws:sqs");
    if !records.is_empty() && records.iter().all(is_sqs) {
        let mut ids = Vec::with_capacity(records.len());
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let id = text(record, "/messageId").ok_or(LambdaError::Shape("messageId"))?;
            let body = text(record, "/body").ok_or(LambdaError::Shape("body"))?;
            let arn =
                text(record, "/eventSourceARN").ok_or(LambdaError::Shape("eventSourceARN"))?;
            let source = sources.queues.get(arn).cloned().unwrap_or_else(aws);
            let from = (&source, arn);
            let said = (id, body.to_owned(), attributes(record));
            deliveries.push(queue::delivery(decoders, from, said, received_at));
            ids.push(id.to_owned());
        }
        return Ok(messages(deliveries, Some(ids), decoders));
    }
    let is_sns = |record: &Value| {
        record.get("Sns").is_some()
            && text(record, "/EventSource").is_none_or(|source| source == "aws:sns")
    };
    if records.is_empty() || !records.iter().all(is_sns) {
        return Err(LambdaError::Unknown);
    }
    let delivery = |record: &Value| {
        let topic = text(record, "/Sns/TopicArn").ok_or(LambdaError::Shape("TopicArn"))?;
        let body = record["Sns"].to_string();
        let from = (&aws(), topic);
        Ok(queue::delivery(decoders, from, ("", body, BTreeMap::new()), received_at))
    };
    let deliveries = records.iter().map(delivery).collect::<Result<_, _>>()?;
    Ok(messages(deliveries, None, decoders))
}

/// The attributes of a message of SQS that are texts.
fn attributes(record: &Value) -> BTreeMap<String, String> {
    let all = record.get("messageAttributes").and_then(Value::as_object).into_iter().flatten();
    let texts = all.filter_map(|(name, said)| {
        let text = said.get("stringValue")?.as_str()?;
        Some((name.clone(), text.to_owned()))
    });
    texts.collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn request(event: &Value, context: &Map<String, Value>) -> Result<LambdaRequest, LambdaError> {
    let shape = if context.contains_key("elb") {
        Shape::LoadBalancer { lists: event.get("multiValueHeaders").is_some_and(Value::is_object) }
    } else if text(event, "/version") == Some("2.0") {
        Shape::Version2
    } else if event.get("httpMethod").is_some() {
        Shape::Version1
    } else {
        return Err(LambdaError::Unknown);
    };
    let method = match shape {
        Shape::Version2 => text(event, "/requestContext/http/method"),
        Shape::Version1 | Shape::LoadBalancer { .. } => text(event, "/httpMethod"),
    };
    let method: Method =
        method.and_then(|name| name.parse().ok()).ok_or(LambdaError::Shape("method"))?;
    let path = text(event, "/rawPath").or_else(|| text(event, "/path"));
    let path = path.filter(|path| path.starts_with('/')).ok_or(LambdaError::Shape("path"))?;
    let query = query(event, shape);
    let address = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let headers = headers(event)?;
    let body = text(event, "/body").unwrap_or("");
    let is_base64 = event.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or(false);
    let body = if is_base64 {
        STANDARD.decode(body).map_err(|_| LambdaError::Shape("body"))?
    } else {
        body.as_bytes().to_vec()
    };
    let client = client(event, &headers, shape);
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = address.parse().map_err(|_| LambdaError::Shape("path"))?;
    *request.headers_mut() = headers;
    if let Some(client) = client {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
    }
    Ok(LambdaRequest { request, shape })
}

/// The query. Version 2 gives it as it came, a load balancer its parts as they came, version 1 decoded.
fn query(event: &Value, shape: Shape) -> String {
    if shape == Shape::Version2 {
        return text(event, "/rawQueryString").unwrap_or("").to_owned();
    }
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let lists = event.get("multiValueQueryStringParameters").and_then(Value::as_object);
    let single = event.get("queryStringParameters").and_then(Value::as_object);
    if let Some(lists) = lists {
        for (key, values) in lists {
            let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
            pairs.extend(values.map(|value| (key.as_str(), value)));
        }
    } else {
        let single = single.into_iter().flatten();
        pairs.extend(single.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))));
    }
    if matches!(shape, Shape::LoadBalancer { .. }) {
        let parts: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return parts.join("&");
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The headers; lists of values where the event has them.
fn headers(event: &Value) -> Result<HeaderMap, LambdaError> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::try_from(name).map_err(|_| LambdaError::Shape("headers"))?;
        let value = HeaderValue::from_str(value).map_err(|_| LambdaError::Shape("headers"))?;
        headers.append(name, value);
        Ok(())
    };
    if let Some(lists) = event.get("multiValueHeaders").and_then(Value::as_object) {
        for (name, values) in lists {
            for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
                add(name, value)?;
            }
        }
    } else if let Some(single) = event.get("headers").and_then(Value::as_object) {
        for (name, value) in single {
            add(name, value.as_str().unwrap_or_default())?;
        }
    }
    // The length of what came; a body in base64 is longer.
    headers.remove(axum::http::header::CONTENT_LENGTH);
    headers.remove(axum::http::header::TRANSFER_ENCODING);
    Ok(headers)
}

/// Who connected. A load balancer adds its client as the last of a header that anybody may begin.
fn client(event: &Value, headers: &HeaderMap, shape: Shape) -> Option<IpAddr> {
    let said = match shape {
        Shape::Version2 => text(event, "/requestContext/http/sourceIp"),
        Shape::Version1 => text(event, "/requestContext/identity/sourceIp"),
        Shape::LoadBalancer { .. } => {
            let last = headers.get_all("x-forwarded-for").iter().next_back()?;
            last.to_str().ok()?.rsplit(',').next()
        }
    };
    said?.trim().parse().ok()
}
