//! A proxy in front of a stand-in that lets through, answers itself, hangs or cuts the line.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Requests and answers of these tests are a few kilobytes.
const BODY_MAX: usize = 1 << 20;

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is forwarded, and so is its answer.
    None,
    /// It is answered with this, and not forwarded.
    Answer { status: u16, kind: &'static str, extra: &'static str, body: &'static str },
    /// It is never answered.
    Hang,
    /// The connection is reset before anything is forwarded.
    Reset,
    /// It is forwarded and applied; then the connection is reset instead of an answer.
    AnswerLost,
    /// It is forwarded and applied; the answer ends in the middle.
    AnswerCut,
}

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    requests: Arc<AtomicUsize>,
    fault: Arc<Mutex<Fault>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let fault = Arc::new(Mutex::new(Fault::None));
        let mut tasks = JoinSet::new();
        let (counted, chosen) = (requests.clone(), fault.clone());
        tasks.spawn(async move {
            let mut lines: JoinSet<Option<()>> = JoinSet::new();
            loop {
                let (line, _) = listener.accept().await.unwrap();
                let (counted, chosen) = (counted.clone(), chosen.clone());
                // `None` is a client that went away; its test says what that means.
                lines.spawn(async move { serve(line, upstream, &counted, &chosen).await });
            }
        });
        Self { port, requests, fault, _tasks: tasks }
    }

    /// From now on this happens; answers how many requests have come before.
    pub(crate) fn set(&self, fault: Fault) -> usize {
        *self.fault.lock().unwrap() = fault;
        self.requests()
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut line: TcpStream,
    upstream: u16,
    counted: &AtomicUsize,
    chosen: &Mutex<Fault>,
) -> Option<()> {
    let request = message(&mut line).await?;
    counted.fetch_add(1, Ordering::SeqCst);
    let fault = chosen.lock().unwrap().clone();
    match fault {
        Fault::None => {
            let answer = forward(&request, upstream).await?;
            line.write_all(&closing(&answer)).await.ok()?;
        }
        Fault::Answer { status, kind, extra, body } => {
            let head = format!(
                "HTTP/1.1 {status} Fault\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
                 connection: close\r\n{extra}\r\n",
                body.len()
            );
            line.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
        }
        Fault::Hang => std::future::pending().await,
        Fault::Reset => reset(line),
        Fault::AnswerLost => {
            forward(&request, upstream).await?;
            reset(line);
        }
        Fault::AnswerCut => {
            let answer = closing(&forward(&request, upstream).await?);
            line.write_all(&answer[..answer.len() - 5]).await.ok()?;
        }
    }
    Some(())
}

/// Closes with RST instead of FIN.
fn reset(line: TcpStream) {
    line.set_zero_linger().unwrap();
    drop(line);
}

/// One message with its body, by its content length or up to the end of the line.
async fn message(line: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16_384];
    while bytes.len() < BODY_MAX {
        let n = line.read(&mut chunk).await.ok()?;
        bytes.extend_from_slice(&chunk[..n]);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let whole = head.and_then(|head| length(&bytes[..head]).map(|body| head + body));
        match (n, whole) {
            (_, Some(whole)) if bytes.len() >= whole => return Some(bytes),
            (0, None) if head.is_some() => return Some(bytes),
            (0, _) => return None,
            _ => {}
        }
    }
    None
}

fn length(head: &[u8]) -> Option<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line =
        head.lines().find_map(|line| line.strip_prefix("content-length:").map(str::to_owned));
    line?.trim().parse().ok()
}

async fn forward(request: &[u8], upstream: u16) -> Option<Vec<u8>> {
    let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await.ok()?;
    line.write_all(request).await.ok()?;
    message(&mut line).await
}

/// The answer with `connection: close`, as each line of this proxy carries one request.
fn closing(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
    [&answer[..end], b"\r\nconnection: close", &answer[end..]].concat()
}
