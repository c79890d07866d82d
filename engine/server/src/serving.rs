//! The HTTP server: connections that are slow, or too many, do not use up what others need.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// How slow, and how many, connections may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Longest wait for a request's whole headers, from when the connection is made or the request
    /// before is answered. So it also ends idle connections.
    pub(crate) headers: Duration,
    /// Most connections at a time; more wait in the kernel's queue until one ends.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // Senders write their headers at once. Half of the 1024 files that a process may commonly
        // open leaves room for the journal, rules, AWS and Slack.
        Self { headers: Duration::from_secs(10), connections: 512 }
    }
}

/// How serving ends, in its order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Close {
    /// Everybody is answered still, but no connection is kept for another request: who comes again
    /// should come to somebody else.
    pub(crate) parting: CancellationToken,
    /// No connection is taken any more.
    pub(crate) stop: CancellationToken,
}

/// When only this part of the places is free, connections are not kept for another request: in a burst
/// of senders that each keep theirs, the others would wait until they are idle for too long.
const SCARCE_PART: usize = 4;

/// What is kept of a connection before it is understood, so what its headers may be together. Senders
/// write 2 KiB; hyper's own 408 KiB would be 200 MiB over all connections.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Between two tries when the system gives out no connections, which files that are freed cure.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until told to stop, and then until the requests under way are answered. Dropping the
/// future cuts off those that are left.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    Close { parting, stop }: Close,
) -> anyhow::Result<()> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(HEADERS_BYTES_MAX);
    let room = Arc::new(Semaphore::new(limits.connections));
    let scarce = limits.connections / SCARCE_PART;
    let keeping = Keeping { room: Arc::clone(&room), scarce, parting };
    let app = app.layer(axum::middleware::from_fn_with_state(keeping, let_go));
    let mut make = app.into_make_service_with_connect_info::<SocketAddr>();
    let graceful = GracefulShutdown::new();
    let mut open: JoinSet<()> = JoinSet::new();
    let mut stopped = pin!(stop.cancelled());
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, accept(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            () = &mut stopped => break,
            next = next => next,
            Some(_) = open.join_next() => continue,
        };
        let place = place.context("the connections' semaphore is never closed")?;
        let Ok(service) = make.call(peer).await;
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        open.spawn(async move {
            if let Err(why) = connection.await {
                tracing::debug!(%peer, why, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

/// What decides whether a connection is kept.
#[derive(Debug, Clone)]
struct Keeping {
    room: Arc<Semaphore>,
    scarce: usize,
    parting: CancellationToken,
}

/// Ends a connection after its answer when others will need its place, or when this instance ends.
async fn let_go(State(keeping): State<Keeping>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let Keeping { room, scarce, parting } = keeping;
    if room.available_permits() <= scarce || parting.is_cancelled() {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(connection) => return connection,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn start(limits: Limits, stop: &CancellationToken) -> (SocketAddr, JoinSet<()>) {
        start_with(limits, Close { stop: stop.clone(), ..Close::default() }).await
    }

    async fn start_with(limits: Limits, close: Close) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        let app = Router::new().route("/", get(peer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serve(listener, app, limits, close).await.unwrap() });
        (address, tasks)
    }

    async fn half_open(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
        stream
    }

    #[tokio::test]
    async fn unfinished_headers_are_cut_off_and_others_are_served_meanwhile() {
        let stop = CancellationToken::new();
        let limits = Limits { headers: Duration::from_millis(300), connections: 20 };
        let (address, mut tasks) = start(limits, &stop).await;
        let mut slow = Vec::new();
        for _ in 0..19 {
            slow.push(half_open(address).await);
        }
        let answer = reqwest::get(format!("http://{address}/")).await.unwrap();
        assert!(answer.text().await.unwrap().starts_with("127.0.0.1:"));
        for mut stream in slow {
            // Ends, so the server closed it; an answer may say why first.
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn more_connections_than_there_is_room_for_wait_and_are_then_served() {
        let stop = CancellationToken::new();
        let limits = Limits { headers: Duration::from_millis(300), connections: 2 };
        let (address, _tasks) = start(limits, &stop).await;
        let slow = [half_open(address).await, half_open(address).await];
        let answer = reqwest::get(format!("http://{address}/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        for stream in slow {
            // The place of one of them was needed, so its time was over.
            drop(stream);
        }
    }

    #[tokio::test]
    async fn senders_that_keep_their_connections_leave_places_to_others() {
        let stop = CancellationToken::new();
        let limits = Limits { headers: Duration::from_hours(1), connections: 4 };
        let (address, _tasks) = start(limits, &stop).await;
        let mut kept = Vec::new();
        for _ in 0..40 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
            kept.push(stream);
        }
    }

    #[tokio::test]
    async fn who_parts_answers_old_and_new_connections_and_keeps_none() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let close = Close::default();
        let (address, mut tasks) = start_with(Limits::default(), close.clone()).await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(REQUEST).await.unwrap();
        assert!(kept.read(&mut [0; 4_096]).await.unwrap() > 0);
        close.parting.cancel();
        for mut stream in [kept, TcpStream::connect(address).await.unwrap()] {
            stream.write_all(REQUEST).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        }
        close.stop.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn told_to_stop_it_ends_idle_connections_and_is_done() {
        let stop = CancellationToken::new();
        let limits = Limits { headers: Duration::from_hours(1), connections: 2 };
        let (address, mut tasks) = start(limits, &stop).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(idle.read(&mut [0; 4_096]).await.unwrap() > 0);
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
    }
}
