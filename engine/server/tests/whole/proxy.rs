//! A proxy in front of a stand-in: it writes down what is asked, and may withhold answers.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What happens to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is applied, and its answer never comes.
    Withheld,
    /// It is applied, and its answer comes late.
    Slow(Duration),
    /// It never gets there, and nothing is answered.
    Lost,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    client: reqwest::Client,
    asked: Mutex<Vec<String>>,
    answers: Mutex<Vec<u16>>,
    fault: Mutex<Option<(String, Fault)>>,
    instead: Mutex<Option<(String, String)>>,
}

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            client: reqwest::Client::new(),
            asked: Mutex::default(),
            answers: Mutex::default(),
            fault: Mutex::default(),
            instead: Mutex::default(),
        });
        let app = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, shared, _task: task }
    }

    /// From now on this happens to an operation.
    pub(crate) fn set(&self, operation: &str, fault: Fault) {
        *self.shared.fault.lock().unwrap() = Some((operation.to_owned(), fault));
    }

    /// From now on everything passes.
    pub(crate) fn clear(&self) {
        *self.shared.fault.lock().unwrap() = None;
    }

    /// From now on requests have a text in place of another.
    pub(crate) fn replace(&self, text: &str, instead: &str) {
        *self.shared.instead.lock().unwrap() = Some((text.to_owned(), instead.to_owned()));
    }

    /// The operations that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The statuses they were answered with.
    pub(crate) fn answers(&self) -> Vec<u16> {
        self.shared.answers.lock().unwrap().clone()
    }

    /// How often one of them was.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == operation).count()
    }

    /// Those that are no reads.
    pub(crate) fn writes(&self) -> Vec<String> {
        let reads = ["Describe", "List", "Get"];
        let writes = |name: &String| !reads.iter().any(|read| name.starts_with(read));
        self.asked().into_iter().filter(writes).collect()
    }
}

/// The operation's name, in AWS's JSON, CBOR and query protocols.
fn operation(headers: &HeaderMap, uri: &Uri, body: &[u8]) -> String {
    if let Some(target) = headers.get("x-amz-target") {
        return target.to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    }
    if let Some((_, operation)) = uri.path().split_once("/operation/") {
        return operation.to_owned();
    }
    let body = String::from_utf8_lossy(body);
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    action.unwrap_or("unknown").to_owned()
}

async fn pass(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let name = operation(&headers, &uri, &body);
    let fault = shared.fault.lock().unwrap().clone();
    let fault = fault.filter(|(of, _)| *of == name).map(|(_, fault)| fault);
    if fault == Some(Fault::Lost) {
        shared.asked.lock().unwrap().push(name);
        return std::future::pending().await;
    }
    let instead = shared.instead.lock().unwrap().clone();
    let body = match (instead, std::str::from_utf8(&body)) {
        (Some((text, instead)), Ok(said)) => said.replace(&text, &instead).into(),
        (None, _) | (_, Err(_)) => body,
    };
    let url = format!("http://127.0.0.1:{}{uri}", shared.upstream);
    let mut request = shared.client.request(method, url).body(body);
    for (key, value) in &headers {
        if key != header::HOST && key != header::CONTENT_LENGTH {
            request = request.header(key, value);
        }
    }
    let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let bytes = answer.bytes().await.unwrap_or_default();
    // Only now: whoever waits for the operation finds it applied.
    shared.asked.lock().unwrap().push(name);
    shared.answers.lock().unwrap().push(status.as_u16());
    match fault {
        None => {}
        Some(Fault::Withheld | Fault::Lost) => std::future::pending().await,
        Some(Fault::Slow(by)) => tokio::time::sleep(by).await,
    }
    let mut answer = (status, bytes).into_response();
    if let Some(kind) = kind {
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}
