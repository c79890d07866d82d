//! TLS for the client, on rustls with the one crypto provider that the program has.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use super::config::Tls;
use super::fault::PostgresError;

/// Makes connections that check the server's certificate and name.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: tokio_rustls::TlsConnector,
}

impl Connector {
    pub(crate) fn new(tls: &Tls) -> Result<Self, PostgresError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| told(&error))?;
        let config = match tls {
            // Never used then, so it trusts nobody.
            Tls::Off => builder.with_root_certificates(RootCertStore::empty()),
            Tls::VerifyFull { ca: Some(file) } => {
                let mut roots = RootCertStore::empty();
                let of = |error: &dyn std::fmt::Display| {
                    PostgresError::Config(format!("its `ca` `{}`: {error}", file.display()))
                };
                let certificates = CertificateDer::pem_file_iter(file).map_err(|e| of(&e))?;
                for certificate in certificates {
                    roots.add(certificate.map_err(|e| of(&e))?).map_err(|e| of(&e))?;
                }
                if roots.is_empty() {
                    return Err(of(&"there is no certificate in it"));
                }
                builder.with_root_certificates(roots)
            }
            Tls::VerifyFull { ca: None } | Tls::Auto => {
                builder.with_platform_verifier().map_err(|error| told(&error))?
            }
        };
        let config = Arc::new(config.with_no_client_auth());
        Ok(Self { tls: tokio_rustls::TlsConnector::from(config) })
    }
}

fn told(error: &rustls::Error) -> PostgresError {
    PostgresError::Config(format!("TLS cannot be used: {error}"))
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Stream;
    type TlsConnect = Handshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, Self::Error> {
        let name = ServerName::try_from(domain)?.to_owned();
        Ok(Handshake { tls: self.tls.clone(), name })
    }
}

/// One handshake to be made.
pub(crate) struct Handshake {
    tls: tokio_rustls::TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            self.tls.connect(self.name, socket).await.map(|tls| Stream(Box::new(tls)))
        })
    }
}

/// A protected connection.
pub(crate) struct Stream(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
