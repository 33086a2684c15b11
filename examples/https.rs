//! TLS: an authority of one's own, and a server that closes its connections while
//! they are idle.
//!
//! `cargo run --example https --features https`

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use http::Request;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tower_resend::Client;
use tower_resend::pool::PoolOptions;
use tower_resend::tls::Tls;
use tower_resend::tls::rustls::crypto::ring;
use tower_resend::tls::rustls::pki_types::PrivatePkcs8KeyDer;
use tower_resend::tls::rustls::{ServerConfig, ServerConnection, Stream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Authority = CertifiedIssuer<'static, KeyPair>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let authority = authority()?;
    let origin = start_server(&authority)?;

    // The default roots need not be left out; here nothing else is trusted.
    let tls =
        Tls::builder().no_default_roots().add_root_pem(authority.pem().as_bytes())?.build()?;
    let client = Client::builder().pool(PoolOptions::new().tls(tls)).build();
    for nth in 1..=3 {
        let order = Request::post(format!("{origin}/orders/{nth}")).body("pay")?;
        match client.request(order).await {
            Ok(response) => {
                let attempts = tower_resend::attempts(&response).len().max(1);
                println!("{nth}: {} after {attempts} attempt(s)", response.status());
            }
            Err(error) => println!("{nth}: {error}"),
        }
    }

    // The system's roots do not vouch for it: not sent, and safe to redo.
    let order = Request::post(format!("{origin}/orders/4")).body("pay")?;
    match Client::new().request(order).await {
        Ok(response) => println!("4: {}, of all things", response.status()),
        Err(error) => println!("4: {error}"),
    }
    Ok(())
}

fn authority() -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Starts a server that answers one request on each connection and ends it,
/// without a word to say so, and returns its origin.
fn start_server(authority: &Authority) -> Result<String, BoxError> {
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, authority)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let origin = format!("https://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || serve(stream, config));
        }
    });
    Ok(origin)
}

fn serve(mut stream: std::net::TcpStream, config: Arc<ServerConfig>) -> Result<(), BoxError> {
    let mut session = ServerConnection::new(config)?;
    let mut tls = Stream::new(&mut session, &mut stream);
    let mut request = [0; 4096];
    if tls.read(&mut request)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    tls.conn.send_close_notify();
    tls.conn.complete_io(tls.sock)?;
    Ok(())
}
