//! The load: a bounded HTTP/1.1 client with keep-alive, one request at a time on each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Makes the `n`th request's headers (whole lines) and body.
pub(crate) type Make = Arc<dyn Fn(usize) -> (String, Vec<u8>) + Send + Sync>;

/// What is sent.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) make: Make,
    pub(crate) connections: usize,
    /// Ends after this many requests…
    pub(crate) requests: usize,
    /// …or after this time.
    pub(crate) time: Duration,
    /// After what time one who is told to come back does; `None` for never.
    pub(crate) again: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Requests that were answered with 202.
    pub(crate) accepted: usize,
    /// Those that were answered otherwise.
    pub(crate) others: usize,
    /// Of all requests, in microseconds, ascending.
    took: Vec<u64>,
}

impl Outcome {
    #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
    pub(crate) fn per_second(&self) -> f64 {
        self.accepted as f64 / self.seconds
    }

    /// The time within which `per_cent` of the requests were answered, in microseconds.
    pub(crate) fn within(&self, per_cent: usize) -> u64 {
        percentile(&self.took, per_cent)
    }
}

/// Of ascending values.
pub(crate) fn percentile(sorted: &[u64], per_cent: usize) -> u64 {
    let at = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}

/// Sends it all and waits for the answers.
pub(crate) async fn send(load: &Load) -> Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        connections.spawn(connection(load.clone(), Arc::clone(&next), began));
    }
    let (mut took, mut accepted) = (Vec::new(), 0);
    while let Some(ended) = connections.join_next().await {
        let (times, good) = ended??;
        took.extend(times);
        accepted += good;
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    Ok(Outcome { seconds, accepted, others: took.len() - accepted, took })
}

async fn connection(
    load: Load,
    next: Arc<AtomicUsize>,
    began: Instant,
) -> Result<(Vec<u64>, usize)> {
    let mut connection = Connection::open(load.address).await?;
    let (mut took, mut accepted) = (Vec::new(), 0);
    while began.elapsed() < load.time {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= load.requests {
            break;
        }
        let (headers, body) = (load.make)(n);
        loop {
            let sent = Instant::now();
            let status = connection.post(&load.path, &headers, &body).await?;
            took.push(u64::try_from(sent.elapsed().as_micros())?);
            accepted += usize::from(status == 202);
            match load.again {
                Some(wait) if status == 503 => tokio::time::sleep(wait).await,
                Some(_) | None => break,
            }
        }
    }
    Ok((took, accepted))
}

/// One connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// Posts a body and answers the status, when the whole answer is here.
    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<u16> {
        let length = body.len();
        let mut request = Vec::with_capacity(256 + headers.len() + length);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(status) = answered(&self.buffer)? {
                return Ok(status);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                bail!("the answer is too long");
            }
        }
    }

    /// After how many seconds the last answer asks to come back, if it does.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        let text = std::str::from_utf8(&self.buffer).ok()?;
        text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("retry-after").then(|| value.trim().parse().ok())?
        })
    }
}

/// The status, once all of the answer is there.
fn answered(bytes: &[u8]) -> Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.transpose()?.unwrap_or(0);
    Ok((bytes.len() >= end + 4 + length).then_some(status.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_is_here() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(answered(whole).unwrap(), Some(202));
        assert_eq!(answered(&whole[..whole.len() - 1]).unwrap(), None);
        assert_eq!(answered(b"HTTP/1.1 202 Accepted\r\n").unwrap(), None);
        assert!(answered(b"\r\n\r\n").is_err());
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), 51);
        assert_eq!(percentile(&hundred, 99), 100);
        assert_eq!(percentile(&[], 99), 0);
    }
}
