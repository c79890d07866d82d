//! A server that can do what a broken one does: close without a word, or never answer.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest request that is read; those of a trial have a few KB.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// What was asked.
#[derive(Debug)]
pub(crate) struct Request {
    /// AWS's name of the operation, without that of the service.
    pub(crate) operation: String,
    pub(crate) body: Value,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A status and JSON.
    Json(u16, Value),
    /// XML, as the older services answer.
    Xml(String),
    /// The connection ends without an answer.
    Close,
    /// No answer ever comes.
    Silence,
}

/// Who answers.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, request: Request) -> impl Future<Output = Reply> + Send;
    /// The answer to this operation was sent.
    fn answered(&self, operation: &str) -> impl Future<Output = ()> + Send;
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answers: Arc<impl Answers>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let answers = Arc::clone(&answers);
                        // How a connection ends is the business of who asked.
                        open.spawn(async move { drop(serve(stream, answers).await) });
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Ok(Self { port, _task: task })
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<impl Answers>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut bytes).await? else { return Ok(()) };
        let operation = request.operation.clone();
        match answers.answer(request).await {
            Reply::Json(status, value) => {
                let kind = "application/x-amz-json-1.1";
                write(&mut stream, (status, kind), &value.to_string()).await?;
                answers.answered(&operation).await;
            }
            Reply::Xml(body) => write(&mut stream, (200, "text/xml"), &body).await?,
            Reply::Close => return Ok(()),
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn write(stream: &mut TcpStream, (status, kind): (u16, &str), body: &str) -> Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    Ok(())
}

/// The next request of a connection; `bytes` keeps what was read too much.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Option<Request>> {
    loop {
        if let Some((request, used)) = parsed(bytes) {
            bytes.drain(..used);
            return Ok(Some(request));
        }
        if bytes.len() > REQUEST_BYTES_MAX || stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// The first request in these bytes and its length, once it is whole.
fn parsed(bytes: &[u8]) -> Option<(Request, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let header = |name: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
        let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length)?;
    let target = header("x-amz-target").unwrap_or_default();
    let named = target.rsplit('.').next().filter(|name| !name.is_empty());
    // The older services name it in a form.
    let form = String::from_utf8_lossy(body);
    let named = named.or_else(|| form.split('&').find_map(|pair| pair.strip_prefix("Action=")));
    let operation = named.unwrap_or_default().to_owned();
    let body = serde_json::from_slice(body).unwrap_or_default();
    Some((Request { operation, body }, end + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_it_is_whole() {
        let whole = b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSSM.SendCommand\r\nContent-Length: 7\r\n\r\n{\"a\":1}GET";
        let (request, used) = parsed(whole).unwrap();
        assert_eq!((request.operation.as_str(), used), ("SendCommand", whole.len() - 3));
        assert_eq!(request.body["a"], 1);
        assert!(parsed(&whole[..whole.len() - 5]).is_none());
        let form = b"POST / HTTP/1.1\r\ncontent-length: 18\r\n\r\nVersion=1&Action=X";
        assert_eq!(parsed(form).unwrap().0.operation, "X");
    }
}
