//! A client that costs little, since it shares the cores with what it measures: HTTP/1.1 by hand, over TLS but for the peer that has none.
//!
//! Invariant: one request at a time on a connection, which is kept; requests are whole bytes made by the caller.

use anyhow::{Context, Result, bail, ensure};
use gifee_client::Kubeconfig;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes that wait to be looked at; a head must fit.
const BUFFER_BYTES: usize = 64 << 10;

/// Where connections go, and with which certificate.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    connector: Option<TlsConnector>,
}

impl Endpoint {
    /// The cluster of a kubeconfig as its user.
    ///
    /// # Errors
    /// If the file is not as `gifee` writes it.
    pub fn of_kubeconfig(path: &Path) -> Result<Self> {
        let config = Kubeconfig::load(path)?.tls(None)?;
        let address = config.server.strip_prefix("https://").context("a server without https")?.parse()?;
        Self::new(address, &config.authorities, config.credentials.certificate.as_ref())
    }

    /// An address that shows a certificate of `authorities`.
    ///
    /// # Errors
    /// If certificates or key are malformed.
    pub fn new(
        address: SocketAddr,
        authorities: &[u8],
        certificate: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities) {
            roots.add(authority?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match certificate {
            Some((chain, key)) => builder.with_client_auth_cert(
                CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_slice(key)?,
            )?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, connector: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// An address that speaks without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, connector: None }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// If nobody listens, or the handshake fails.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.connector {
            Some(connector) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                Box::new(connector.connect(name, stream).await.context("TLS handshake")?)
            }
            None => Box::new(stream),
        };
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, rest: Rest::None })
    }

    /// One request on a connection of its own, answered with success.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn once(&self, request: &[u8]) -> Result<String> {
        self.connect().await?.text(request).await
    }
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug)]
enum Rest {
    None,
    Bytes(usize),
    /// Of this chunk; more chunks follow.
    Chunk(usize),
    /// The line end after a chunk, then the next chunk.
    ChunkEnd,
    /// The size of a chunk.
    ChunkStart,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    rest: Rest,
}

impl Connection {
    /// Sends a request and reads the head of its answer: the status code. The body follows by [`Connection::data`].
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn send(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            if let Some(length) = memchr::memmem::find(&self.buffer[self.start..self.end], b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[self.start..self.start + length])?;
                let (code, rest) = parse_head(head)?;
                self.rest = rest;
                self.start += length + 4;
                return Ok(code);
            }
            self.fill().await?;
        }
    }

    /// Sends a request, hands its body to `sink` piece by piece, and says its status code.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn call(&mut self, request: &[u8], mut sink: impl FnMut(&[u8])) -> Result<u16> {
        let code = self.send(request).await?;
        while let Some(piece) = self.data().await? {
            sink(piece);
        }
        Ok(code)
    }

    /// Sends a request that must succeed, and reads all of its body.
    ///
    /// # Errors
    /// With the answer, if it is a refusal.
    pub async fn text(&mut self, request: &[u8]) -> Result<String> {
        let mut body = Vec::new();
        let code = self.call(request, |piece| body.extend_from_slice(piece)).await?;
        let body = String::from_utf8(body)?;
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        ensure!((200..300).contains(&code), "{}: {code} {body}", String::from_utf8_lossy(line));
        Ok(body)
    }

    /// The next piece of the body; None at its end.
    ///
    /// # Errors
    /// If the connection ends before.
    pub async fn data(&mut self) -> Result<Option<&[u8]>> {
        loop {
            match self.rest {
                Rest::None | Rest::Bytes(0) => {
                    self.rest = Rest::None;
                    return Ok(None);
                }
                Rest::Chunk(0) => self.rest = Rest::ChunkEnd,
                Rest::Bytes(left) | Rest::Chunk(left) => {
                    if self.start == self.end {
                        self.fill().await?;
                    }
                    let take = left.min(self.end - self.start);
                    let from = self.start;
                    self.start += take;
                    self.rest = match self.rest {
                        Rest::Bytes(_) => Rest::Bytes(left - take),
                        _ => Rest::Chunk(left - take),
                    };
                    return Ok(Some(&self.buffer[from..from + take]));
                }
                Rest::ChunkEnd => {
                    self.line().await?;
                    self.rest = Rest::ChunkStart;
                }
                Rest::ChunkStart => {
                    let size = usize::from_str_radix(self.line().await?.trim(), 16)?;
                    if size == 0 {
                        while !self.line().await?.is_empty() {}
                        self.rest = Rest::None;
                    } else {
                        self.rest = Rest::Chunk(size);
                    }
                }
            }
        }
    }

    /// Reads a stream of lines until `enough` of one is true.
    ///
    /// # Errors
    /// If the stream ends before.
    pub async fn lines_until(&mut self, mut enough: impl FnMut(&str) -> bool) -> Result<()> {
        let mut partial = Vec::new();
        while let Some(piece) = self.data().await? {
            partial.extend_from_slice(piece);
            while let Some(end) = memchr::memchr(b'\n', &partial) {
                let line: Vec<u8> = partial.drain(..=end).collect();
                if enough(std::str::from_utf8(&line)?) {
                    return Ok(());
                }
            }
        }
        bail!("the stream ended before what was waited for")
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(length) = memchr::memmem::find(&self.buffer[self.start..self.end], b"\r\n") {
                let line =
                    String::from_utf8_lossy(&self.buffer[self.start..self.start + length]).into_owned();
                self.start += length + 2;
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        ensure!(self.end < self.buffer.len(), "the head of an answer is too long");
        let read = self.stream.read(&mut self.buffer[self.end..]).await?;
        ensure!(read > 0, "the server closed the connection");
        self.end += read;
        Ok(())
    }
}

fn parse_head(head: &str) -> Result<(u16, Rest)> {
    let code = head.get(9..12).and_then(|code| code.parse().ok()).context("no status line")?;
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok((code, Rest::Bytes(value.trim().parse()?)));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok((code, Rest::ChunkStart));
        }
    }
    Ok((code, Rest::None))
}
