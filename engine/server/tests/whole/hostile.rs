//! What arrives on the port that is no request, or two at once, or never ends: what it is answered,
//! and that the next delivery is taken. The table of `docs/hostile-input.md` names these tests.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::alarm::backlog;
use crate::cloud::REGION;
use crate::road::Road;
use crate::service::{SECRET, Untoil};
use crate::sns::{Sns, TOPIC};

/// An answer, or the connection's end, must have come by then; the service's own limit is 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// The start of a delivery's request, up to its own headers.
fn post(headers: &str) -> String {
    format!(
        "POST /v1/events/cloudwatch HTTP/1.1\r\nHost: x\r\nX-Api-Key: {SECRET}\r\n{headers}\r\n\r\n"
    )
}

/// Sends bytes and answers the statuses that come back until the connection ends.
async fn statuses(port: u16, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The service may answer and close before it has read everything, which is no fault.
    drop(stream.write_all(bytes).await);
    let mut said = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    drop(ended.expect("the service ends the connection"));
    let said = String::from_utf8_lossy(&said).into_owned();
    said.match_indices("HTTP/1.1 ").map(|(at, _)| said[at + 9..at + 12].parse().unwrap()).collect()
}

/// A delivery that no other test has sent.
async fn serves(untoil: &Untoil, n: f64) {
    assert_eq!(untoil.post(&backlog("ALARM", 9_000.0 + n)).await, 202);
}

/// What it is, its bytes, and the statuses it is answered.
type Shape = (&'static str, Vec<u8>, &'static [u16]);

const CLOSE: &str = "Connection: close\r\n";

fn one(headers: &str, body: &str) -> Vec<u8> {
    (post(headers) + body).into_bytes()
}

/// Two readings of where a body ends.
fn ends() -> Vec<Shape> {
    let journal = "GET /v1/journal HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    vec![
        ("two lengths", one("Content-Length: 1\r\nContent-Length: 2", "1 "), &[400]),
        ("lengths in a list", one("Content-Length: 1, 2", "1 "), &[400]),
        ("a negative length", one("Content-Length: -1", "1"), &[400]),
        ("a signed length", one("Content-Length: +1", "1"), &[400]),
        ("a length past 64 bits", one("Content-Length: 99999999999999999999", "1"), &[400]),
        ("a length past the limit", one("Content-Length: 99999999999", "1"), &[413]),
        (
            "the same length twice",
            one(&format!("{CLOSE}Content-Length: 2\r\nContent-Length: 2"), "11"),
            &[202],
        ),
        (
            "a length and chunks, and a request in what only the length covers",
            one("Content-Length: 60\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{journal}")),
            &[400],
        ),
        (
            "chunks and a length, the other way round",
            one("Transfer-Encoding: chunked\r\nContent-Length: 4", "1\r\n2\r\n0\r\n\r\n"),
            &[202],
        ),
        ("not chunked at last", one("Transfer-Encoding: chunked, identity", "1"), &[400]),
        ("an unknown coding", one("Transfer-Encoding: xchunked\r\nContent-Length: 1", "1"), &[400]),
        ("a space before the colon", one("Transfer-Encoding : chunked", "0\r\n\r\n"), &[400]),
        ("a folded header", one("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), &[400]),
        (
            "chunks in HTTP/1.0",
            one("Transfer-Encoding: chunked", "0\r\n\r\n").replace_first(b"1.1", b"1.0"),
            &[400],
        ),
        (
            "a chunk's length past 64 bits",
            one("Transfer-Encoding: chunked", "fffffffffffffffff\r\n1"),
            &[503],
        ),
        ("no chunk's length", one("Transfer-Encoding: chunked", "\r\n\r\n"), &[503]),
    ]
}

/// More than one request, and other protocols.
fn strangers() -> Vec<Shape> {
    let utf16: Vec<u8> = post("").encode_utf16().flat_map(u16::to_be_bytes).collect();
    vec![
        (
            "rubbish after a request",
            one("Content-Length: 1", "3\0\0\0rubbish\r\n\r\n"),
            &[202, 400],
        ),
        (
            "a request after a request",
            one("Content-Length: 1", &format!("4{}5", post(&format!("{CLOSE}Content-Length: 1")))),
            &[202, 202],
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), &[]),
        (
            "TLS",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaaa\r\n\r\n".to_vec(),
            &[400],
        ),
        ("HTTP/0.9", b"GET /healthz\r\n\r\n".to_vec(), &[400]),
        ("HTTP/3.0 in words", b"GET /healthz HTTP/3.0\r\n\r\n".to_vec(), &[400]),
        ("UTF-16", utf16, &[400]),
        ("a tunnel", format!("CONNECT evil.example:443 HTTP/1.1\r\n{CLOSE}\r\n").into(), &[404]),
        ("TRACE", format!("TRACE /v1/journal HTTP/1.1\r\n{CLOSE}\r\n").into(), &[405]),
    ]
}

/// Headers without end, and whose words the host is.
fn heads() -> Vec<Shape> {
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: y")).collect();
    vec![
        ("200 headers", one(&many.join("\r\n"), ""), &[431]),
        ("a header of 1 MB", one(&format!("X: {}", "y".repeat(1 << 20)), ""), &[431]),
        (
            "an address of 1 MB",
            format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(1 << 20)).into(),
            &[431],
        ),
        ("NUL in a header", one("X: a\0b", ""), &[400]),
        ("no name", one(": a", ""), &[400]),
        (
            "the journal without a host",
            format!("GET /v1/journal HTTP/1.1\r\n{CLOSE}\r\n").into(),
            &[403],
        ),
        (
            "the journal for two hosts",
            format!(
                "GET /v1/journal HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n{CLOSE}\r\n"
            )
            .into(),
            &[403],
        ),
        (
            "a delivery without a host: its secret counts",
            one(&format!("{CLOSE}Content-Length: 1"), "6").replace_first(b"Host: x\r\n", b""),
            &[202],
        ),
    ]
}

/// Bytes with the first occurrence of something replaced.
trait ReplaceFirst {
    fn replace_first(self, what: &[u8], by: &[u8]) -> Vec<u8>;
}

impl ReplaceFirst for Vec<u8> {
    fn replace_first(mut self, what: &[u8], by: &[u8]) -> Vec<u8> {
        let at = self.windows(what.len()).position(|window| window == what).unwrap();
        self.splice(at..at + what.len(), by.iter().copied());
        self
    }
}

#[tokio::test]
async fn what_is_no_single_request_is_refused_and_the_next_delivery_is_taken() {
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    let shapes = [ends(), strangers(), heads()].into_iter().flatten();
    let (mut taken, mut wrong) = (0, Vec::new());
    for (n, (what, bytes, expected)) in (0_u32..).zip(shapes) {
        let found = statuses(untoil.port, &bytes).await;
        if found != expected {
            wrong.push(format!("{what}: {found:?}, not {expected:?}"));
        }
        taken += expected.iter().filter(|status| **status == 202).count() + 1;
        serves(&untoil, f64::from(n)).await;
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(untoil.entries("received").await.len(), taken, "nothing was taken that was refused");
}

#[tokio::test]
async fn a_delivery_is_taken_while_many_bodies_never_end() {
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    let mut open = Vec::new();
    for n in 0..300 {
        let mut one = TcpStream::connect(("127.0.0.1", untoil.port)).await.unwrap();
        let start = if n % 2 == 0 {
            post("Content-Length: 1000000") + "{"
        } else {
            post("Transfer-Encoding: chunked") + "1\r\n{\r\n"
        };
        one.write_all(start.as_bytes()).await.unwrap();
        open.push(one);
    }
    serves(&untoil, 0.0).await;
    assert_eq!(untoil.entries("received").await.len(), 1);
    drop(open);
    serves(&untoil, 1.0).await;
}

#[tokio::test]
async fn snss_own_name_that_leads_to_this_machine_is_not_believed_without_its_tls_identity() {
    let sns = Sns::start().await;
    let port: u16 = sns.origin.rsplit(':').next().unwrap().parse().unwrap();
    let mut message = sns.message("Notification", "m-1", "{}");
    message["SigningCertURL"] = format!("https://sns.{REGION}.amazonaws.com/sns.pem").into();
    for (status, vouched) in [(503, "nobody"), (202, "the authority")] {
        let mut untoil = Untoil::towards(1);
        let authority = untoil.path("authority.pem");
        // The way to SNS leads to this machine, as a lying name server would have it.
        let road = Road::to(port, &authority).await;
        untoil.set("HTTPS_PROXY", &format!("http://127.0.0.1:{}", road.port));
        if status == 202 {
            untoil.set("SSL_CERT_FILE", authority.to_str().unwrap());
        }
        let source = serde_json::json!({ "sns": { "topics": [TOPIC] } });
        untoil.set("UNTOIL_SOURCES__SNS", &source.to_string());
        untoil.start().await;
        let answer = sns.post(&untoil.url("/v1/events/sns"), &message).await;
        assert_eq!(answer, status, "{vouched} vouches for the host");
        serves(&untoil, 0.0).await;
    }
}
