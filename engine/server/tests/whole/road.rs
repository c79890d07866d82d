//! The road to SNS's own host, led to moto: a forward proxy as a company network has one.
//!
//! moto signs like SNS and names the certificate as SNS does, on a host of AWS's that cannot be
//! asked for it. The binary goes there through this proxy, over TLS with the pinned host's name;
//! behind it stands moto's certificate. The only thing made up is who vouches for the TLS host.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::cloud::REGION;

/// A request's head of these tests is a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16_384;

/// The running proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Road {
    pub(crate) port: u16,
    _task: JoinSet<()>,
}

impl Road {
    /// To moto at `port`. The authority that vouches for SNS's host is written to `authority`.
    pub(crate) async fn to(port: u16, authority: &Path) -> Self {
        let tls = TlsAcceptor::from(Arc::new(vouched(authority)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut lines: JoinSet<Option<()>> = JoinSet::new();
            loop {
                let (line, _) = listener.accept().await.unwrap();
                // `None` is a client that went away or spoke of something else.
                lines.spawn(serve(line, tls.clone(), port));
            }
        });
        Self { port: own, _task: task }
    }
}

fn host() -> String {
    format!("sns.{REGION}.amazonaws.com")
}

fn vouched(authority: &Path) -> ServerConfig {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(authority, root.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(root, key);
    let leaf = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![host()]).unwrap().signed_by(&leaf, &issuer);
    let key = PrivateKeyDer::try_from(leaf.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    server.with_single_cert(vec![certificate.unwrap().der().clone()], key).unwrap()
}

async fn serve(mut line: TcpStream, tls: TlsAcceptor, moto: u16) -> Option<()> {
    let asked = head(&mut line).await?;
    if !asked.starts_with(&format!("CONNECT {}:443 ", host())) {
        line.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.ok()?;
        return None;
    }
    line.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
    let mut inside = tls.accept(line).await.ok()?;
    let asked = head(&mut inside).await?;
    let path = asked.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    // moto knows by the credential's scope which service is asked.
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=test/20261122/{REGION}/sns/aws4_request, SignedHeaders=host, Signature=0"
    );
    let sent = reqwest::Client::new().get(format!("http://127.0.0.1:{moto}{path}"));
    let answer = sent.header("authorization", scope).send().await.ok()?;
    let (status, pem) = (answer.status(), answer.bytes().await.ok()?);
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", pem.len());
    inside.write_all(head.as_bytes()).await.ok()?;
    inside.write_all(&pem).await.ok()?;
    inside.shutdown().await.ok()
}

async fn head<S: AsyncReadExt + Unpin>(line: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() >= HEAD_BYTES_MAX {
            return None;
        }
        bytes.push(line.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}
