//! A proxy between the journal and the server that cuts a connection at its commit.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// When the next connection that commits is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Never,
    /// The server never hears of the commit.
    Before,
    /// The server commits, and its answer is lost.
    After,
}

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cut: Arc<Mutex<Cut>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(Mutex::new(Cut::Never));
        let mut tasks = JoinSet::new();
        let asked = Arc::clone(&cut);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                connections.spawn(carry(client, server, Arc::clone(&asked)));
            }
        });
        Self { port, cut, _tasks: tasks }
    }

    pub(crate) fn cut(&self, cut: Cut) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }

    /// Whether a cut that was asked for has been made.
    pub(crate) fn has_cut(&self) -> bool {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) == Cut::Never
    }
}

/// Carries bytes both ways until one end closes, or the commit comes that is to be cut.
async fn carry(mut client: TcpStream, mut server: TcpStream, asked: Arc<Mutex<Cut>>) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            got = client.read(&mut up) => {
                let Some(bytes) = got.ok().filter(|n| *n > 0).map(|n| &up[..n]) else { return };
                let ends = commits(bytes);
                let cut = if ends.is_some() {
                    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *asked, Cut::Never)
                } else {
                    Cut::Never
                };
                if cut == Cut::Before {
                    return;
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
                if cut == Cut::After {
                    // Its answer is read, so it has committed, and goes nowhere.
                    let mut answer = Vec::new();
                    while !ends.is_some_and(|end| holds(&answer, end)) {
                        if !server.read_buf(&mut answer).await.is_ok_and(|n| n > 0) {
                            return;
                        }
                    }
                    return;
                }
            }
            got = server.read(&mut down) => {
                let Some(bytes) = got.ok().filter(|n| *n > 0).map(|n| &down[..n]) else { return };
                if client.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What the server answers when it has committed, if a commit is asked for: one of a transaction, or of
/// the one statement that keeps deliveries.
fn commits(bytes: &[u8]) -> Option<&'static [u8]> {
    if holds(bytes, b"COMMIT\0") || holds(bytes, b"COMMIT; ") {
        return Some(b"COMMIT\0");
    }
    holds(bytes, b"\"received\"").then_some(b"SELECT 1\0")
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
