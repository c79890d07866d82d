//! Errors as RFC 9457 problem details.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What is answered instead of a success. Holds nothing of a body or a secret.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    /// The sender should come back after some seconds.
    pub(crate) fn later(detail: impl Into<String>, seconds: u16) -> Self {
        Self {
            header: Some((header::RETRY_AFTER, HeaderValue::from(seconds))),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// The sender should say who it is.
    pub(crate) fn unauthorized(wanted: &'static str) -> Self {
        let challenge =
            if wanted.starts_with("Basic") || wanted == "Bearer" { wanted } else { "Secret" };
        let detail = format!("not authenticated; expected {wanted}");
        Self {
            header: Some((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))),
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// The sender should send its body as it is (RFC 9110, 12.5.3).
    pub(crate) fn packed() -> Self {
        let detail = "the body has a `Content-Encoding`; send it without compression";
        Self {
            header: Some((header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
            ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
        }
    }

    /// Deliveries are posted.
    pub(crate) fn posted() -> Self {
        Self {
            header: Some((header::ALLOW, HeaderValue::from_static("POST"))),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "deliveries are posted")
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let details = Details {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_string(&details).expect("texts and a number are JSON");
        let kind = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (self.status, [kind], body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
