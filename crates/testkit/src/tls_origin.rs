//! TLS for a scripted origin: an authority, certificates, and a session whose
//! records are sent when the script says so. Knows nothing of our client, so
//! that its unit tests can use it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ALL_VERSIONS, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

/// A certificate authority of a test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns one of this name; all others have the same.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns its own certificate.
    pub fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Issues a certificate.
    pub fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// Returns a client's configuration of rustls with these roots.
    pub fn client_config(&self, roots: RootCertStore) -> rustls::ClientConfig {
        config_trusting(roots)
    }

    /// Returns an origin at 127.0.0.1.
    pub fn server(&self) -> Server {
        Server::of(self.issue("127.0.0.1"), None, ALL_VERSIONS)
    }

    /// Returns an origin at an address.
    pub fn server_at(&self, address: IpAddr) -> Server {
        Server::of(self.issue(&address.to_string()), None, ALL_VERSIONS)
    }

    /// Returns an origin at 127.0.0.1 that demands a certificate of this
    /// authority from its clients.
    pub fn demanding_server(&self) -> Server {
        Server::of(self.issue("127.0.0.1"), Some(self), ALL_VERSIONS)
    }

    /// Returns the same with one version of TLS.
    pub fn demanding_server_of(&self, version: &'static SupportedProtocolVersion) -> Server {
        Server::of(self.issue("127.0.0.1"), Some(self), &[version])
    }
}

/// Returns a client's configuration of rustls with these roots.
pub fn config_trusting(roots: RootCertStore) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// What an origin needs to speak TLS.
#[derive(Clone)]
pub struct Server {
    config: Arc<ServerConfig>,
    is_slow: bool,
}

impl Server {
    fn of(
        Identity { chain, key }: Identity,
        demands: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let provider = server_provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match demands {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.root()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.max_early_data_size = u32::MAX;
        Self { config: Arc::new(config), is_slow: false }
    }

    /// Returns the same with one protocol to speak.
    pub fn speaking(&self, protocol: &[u8]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Self { config: Arc::new(config), ..*self }
    }

    /// Returns the same, but slow to judge what the client ends its handshake
    /// with (TLS 1.3): its kernel has some of a request by then.
    pub fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }

    /// Returns the configuration.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Shakes hands; none if that fails.
    pub fn accept(&self, stream: &mut TcpStream) -> Option<Session> {
        let mut session = Session(ServerConnection::new(self.config()).unwrap());
        while session.0.is_handshaking() {
            session.flush(stream);
            if self.is_slow {
                wait_behind_secret(stream);
            }
            match session.receive(stream) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) => {
                    // The alert.
                    session.flush(stream);
                    return None;
                }
            }
        }
        Some(session)
    }
}

/// Seconds, of a thread that does nothing else than to look.
const MANY_TURNS: u32 = 10_000_000;

/// If the next record is encrypted, waits until the kernel has some of another.
fn wait_behind_secret(stream: &TcpStream) {
    let mut bytes = vec![0; 1 << 15];
    for _ in 0..MANY_TURNS {
        match stream.peek(&mut bytes).unwrap() {
            5.. if bytes[0] != 23 => return,
            there @ 5.. if there > 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]])) => {
                return;
            }
            _ => std::thread::yield_now(),
        }
    }
    panic!("nothing follows");
}

#[cfg(feature = "aws-lc")]
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(not(feature = "aws-lc"))]
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// An origin's: ring where there is a choice. aws-lc gathers entropy for every
/// thread and process anew, which takes it a tenth of a second where it is not
/// optimised, and an origin has a thread or a process for each connection.
#[cfg(feature = "ring")]
fn server_provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(not(feature = "ring"))]
fn server_provider() -> Arc<rustls::crypto::CryptoProvider> {
    provider()
}

/// The origin's end of a session.
pub struct Session(pub ServerConnection);

impl Session {
    /// Reads some text; 0 at a close_notify.
    pub fn read(&mut self, stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(chunk) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            self.receive(stream)?;
        }
    }

    /// Sends text, and before it all that was held back.
    pub fn write(&mut self, stream: &mut TcpStream, text: &str) {
        self.0.writer().write_all(text.as_bytes()).unwrap();
        self.flush(stream);
    }

    /// Returns the records of a text, to send them as one likes.
    pub fn records(&mut self, text: &str) -> Vec<u8> {
        self.0.writer().write_all(text.as_bytes()).unwrap();
        self.held_back()
    }

    /// Returns what was not sent yet.
    pub fn held_back(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Sends what was held back.
    pub fn flush(&mut self, stream: &mut TcpStream) {
        let _ = stream.write_all(&self.held_back());
    }

    /// Sends a close_notify.
    pub fn close(&mut self, stream: &mut TcpStream) {
        self.0.send_close_notify();
        self.flush(stream);
    }

    /// Reads one record. What follows it stays with the kernel, which resets
    /// when it is never read.
    fn receive(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let mut record = vec![0; 5];
        if stream.read(&mut record[..1])? > 0 {
            stream.read_exact(&mut record[1..])?;
            let is_record = (20..=23).contains(&record[0]);
            let content = if is_record { u16::from_be_bytes([record[3], record[4]]) } else { 0 };
            record.resize(5 + usize::from(content), 0);
            stream.read_exact(&mut record[5..])?;
        } else {
            record.clear();
        }
        self.take_in(&record)?;
        Ok(record.len())
    }

    /// Takes bytes of the other end in; none is its end.
    pub fn take_in(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            self.0.read_tls(&mut bytes)?;
            self.0.process_new_packets().map_err(io::Error::other)?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }
}
