//! The handshake by which a sender of events asks whether it may send here, as Azure's Event Grid does
//! before its first event. Only who proves itself as for sending is told yes, and nothing is kept or
//! fetched: a callback that the request names is not visited.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection>

use axum::http::HeaderValue;

use super::{
    HeaderMap, IntakeState, IntoResponse as _, Judged, Path, Problem, Request, Response, Source,
    State, StatusCode, bounds, header,
};

/// Who asks, as a name of the DNS; longer ones there are none.
const ORIGIN_BYTES_MAX: usize = 253;
/// The header that names who asks.
const REQUESTED: &str = "webhook-request-origin";

/// `OPTIONS /v1/events/{source}`.
pub(super) async fn answer(
    State(state): State<IntakeState>,
    Path(source): Path<String>,
    request: Request,
) -> Response {
    match consent(&state, &source, request) {
        Ok(origin) => {
            let source = bounds::quote(&source);
            let shown = bounds::quote(origin.to_str().unwrap_or(""));
            tracing::info!(source.name = %source, "`{shown}` may send to `{source}`");
            let mut headers = HeaderMap::new();
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            headers.insert("webhook-allowed-origin", origin);
            // Who sends more than the source's `rate` is told so then.
            headers.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
            (StatusCode::OK, headers).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// The origin that may send.
fn consent(
    IntakeState(parts): &IntakeState,
    source: &str,
    request: Request,
) -> Result<HeaderValue, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "no such source is configured");
    let source: Source = source.parse().map_err(|_| unknown())?;
    let gate = parts.sources.get(&source).ok_or_else(unknown)?;
    if parts.decoders.kind(&source) != Some("cloudevents") {
        return Err(Problem::posted());
    }
    let (head, _) = request.into_parts();
    gate.lets_in(&head, &parts.proxies)?;
    match gate.auth.judge(&head.headers, head.uri.query().unwrap_or("")) {
        Judged::Unknown(wanted) => return Err(Problem::unauthorized(wanted)),
        // There is no body that could be signed.
        Judged::BySignature => return Err(Problem::posted()),
        Judged::Sender(sender) => gate.pays(&sender, parts.clock.ticks())?,
    }
    let mut named = head.headers.get_all(REQUESTED).iter();
    let (Some(origin), None) = (named.next(), named.next()) else {
        return Err(wrong_origin());
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:".contains(byte);
    let bytes = origin.as_bytes();
    if bytes.is_empty() || bytes.len() > ORIGIN_BYTES_MAX || !bytes.iter().all(is_name) {
        return Err(wrong_origin());
    }
    Ok(origin.clone())
}

fn wrong_origin() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "`WebHook-Request-Origin` is the name of one sender")
}
