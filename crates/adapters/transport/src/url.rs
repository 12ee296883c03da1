//! The status of a GET or a HEAD, for health checks of URLs.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A bigger `/etc/hosts` is not read.
const HOSTS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// As many as browsers follow.
const REDIRECTS_MAX: usize = 20;
const ROOTS_KEPT: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("it is not an http or https URL with a host")]
    Url,
    #[error("connecting to {host} port {port} failed")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no certificates of public authorities were found on this machine")]
    Roots,
    #[error("the TLS handshake with {host} failed")]
    Tls { host: String, source: io::Error },
    #[error("TLS cannot be used")]
    Setup { source: rustls::Error },
    #[error("it redirects more than {REDIRECTS_MAX} times")]
    Redirects,
    #[error("{host} did not answer the request")]
    Request { host: String, source: hyper::Error },
}

/// Asks for a URL and returns the status of the answer; its body is not read and redirects are not followed. `connect`
/// gets host and port; `resolve_and_connect` is the usual one. The caller sets the time limit.
pub async fn http_get<C, F>(url: &str, connect: C) -> Result<u16, UrlError>
where
    C: FnOnce(String, u16) -> F,
    F: Future<Output = io::Result<TcpStream>>,
{
    Ok(send(Method::GET, url, connect).await?.status)
}

/// As `http_get`, by HEAD, and redirects are followed to their end.
pub async fn http_head<C, F>(url: &str, connect: C) -> Result<u16, UrlError>
where
    C: Fn(String, u16) -> F,
    F: Future<Output = io::Result<TcpStream>>,
{
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let Answer { status, location } = Box::pin(send(Method::HEAD, &url, &connect)).await?;
        match location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) {
            Some(location) => url = followed(&url, &location).ok_or(UrlError::Url)?,
            None => return Ok(status),
        }
    }
    Err(UrlError::Redirects)
}

/// Where a redirect leads, as seen from where it stood (RFC 3986, section 5.2, without dots in paths).
fn followed(from: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    Some(match location {
        other if other.starts_with("//") => format!("{scheme}:{other}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        query if query.starts_with('?') => format!("{scheme}://{authority}{}{query}", from.path()),
        relative => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{relative}")
        }
    })
}

struct Answer {
    status: u16,
    location: Option<String>,
}

async fn send<C, F>(method: Method, url: &str, connect: C) -> Result<Answer, UrlError>
where
    C: FnOnce(String, u16) -> F,
    F: Future<Output = io::Result<TcpStream>>,
{
    let uri: Uri = url.parse().map_err(|_| UrlError::Url)?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(UrlError::Url),
    };
    let authority = uri.authority().ok_or(UrlError::Url)?.clone();
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return Err(UrlError::Url);
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let after_user = authority.as_str().rsplit('@').next().unwrap_or_default().to_owned();
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, after_user)
        .header(header::USER_AGENT, concat!("muster/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| UrlError::Url)?;
    let tcp = connect(host.clone(), port).await;
    let tcp = tcp.map_err(|source| UrlError::Connect { host: host.clone(), port, source })?;
    if !secure {
        return ask(tcp, request, host).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| UrlError::Url)?;
    let connector = TlsConnector::from(public_tls().await?);
    let tls = Box::pin(connector.connect(name, tcp)).await;
    let tls = tls.map_err(|source| UrlError::Tls { host: host.clone(), source })?;
    Box::pin(ask(tls, request, host)).await
}

async fn ask<S>(stream: S, request: Request<Empty<Bytes>>, host: String) -> Result<Answer, UrlError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source| UrlError::Request { host: host.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut connection = std::pin::pin!(connection);
    let answer = sender.send_request(request);
    let mut answer = std::pin::pin!(answer);
    // Both halves run here, so that nothing is left behind when the caller's time is up.
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // The connection ends once the answer is complete or when it breaks; either way the answer is there now.
        _ = &mut connection => answer.await,
    };
    let response = response.map_err(failed)?;
    let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    Ok(Answer { status: response.status().as_u16(), location: location.map(str::to_owned) })
}

/// Trusts what the machine trusts. Kept for a minute: a check that waits for a server asks every second, and a check
/// later on sees authorities that were installed meanwhile.
async fn public_tls() -> Result<Arc<ClientConfig>, UrlError> {
    static KEPT: Mutex<Option<(Instant, Arc<ClientConfig>)>> = Mutex::new(None);
    if let Some((made, config)) = &*KEPT.lock().unwrap_or_else(PoisonError::into_inner)
        && made.elapsed() < ROOTS_KEPT
    {
        return Ok(Arc::clone(config));
    }
    let loaded = tokio::task::spawn_blocking(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let roots = loaded.await.map_err(|_| UrlError::Roots)?;
    if roots.is_empty() {
        return Err(UrlError::Roots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| UrlError::Setup { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&config)));
    Ok(config)
}

/// Connects to an address, or to a name: by `/etc/hosts` first, which knows all nodes, then by the system's resolver.
/// A static binary had better not wake that one without need: it may load modules of another libc.
pub async fn resolve_and_connect(host: String, port: u16) -> io::Result<TcpStream> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return TcpStream::connect((address, port)).await;
    }
    let known = hosts_file().await.map(|hosts| addresses_in(&hosts, &host)).unwrap_or_default();
    if known.is_empty() {
        return TcpStream::connect((host.as_str(), port)).await;
    }
    let mut failure = None;
    for address in known {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound)))
}

async fn hosts_file() -> Option<String> {
    let path = "/etc/hosts";
    let length = fs_err::tokio::metadata(path).await.ok()?.len();
    if length > HOSTS_BYTES_MAX {
        return None;
    }
    fs_err::tokio::read_to_string(path).await.ok()
}

fn addresses_in(hosts: &str, wanted: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(wanted)).then_some(address)
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Answers one connection with `answer`; returns what was asked.
    async fn serve_once(listener: &TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0, "the request ended early");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn the_status_is_returned_without_waiting_for_the_body() {
        let (listener, address) = listener().await;
        let url = format!("http://user@{address}/a?b=c#d");
        let answer = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 1000000\r\n\r\nno more than this";
        let (asked, status) = tokio::join!(serve_once(&listener, answer), http_get(&url, resolve_and_connect));
        assert_eq!(status.unwrap(), 302);
        assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
    }

    #[tokio::test]
    async fn redirects_of_a_head_are_followed_to_their_end() {
        let (listener, address) = listener().await;
        let served = async {
            let mut asked = String::new();
            for (status, place) in [("301 Moved", "/login/"), ("302 Found", "form?a=b"), ("200 OK", "/never")] {
                let answer = format!("HTTP/1.1 {status}\r\nLocation: {place}\r\nContent-Length: 9\r\n\r\n");
                asked += serve_once(&listener, &answer).await.lines().next().unwrap();
            }
            asked
        };
        let url = format!("http://{address}/");
        let (asked, status) = tokio::join!(served, http_head(&url, resolve_and_connect));
        assert_eq!(status.unwrap(), 200);
        assert_eq!(asked, "HEAD / HTTP/1.1HEAD /login/ HTTP/1.1HEAD /login/form?a=b HTTP/1.1");
        let circle = async {
            for _ in 0..=REDIRECTS_MAX {
                serve_once(&listener, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").await;
            }
        };
        let ((), status) = tokio::join!(circle, http_head(&url, resolve_and_connect));
        assert!(matches!(status, Err(UrlError::Redirects)), "{status:?}");
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error() {
        for answer in ["", "SSH-2.0-OpenSSH_9.2\r\n"] {
            let (listener, address) = listener().await;
            let url = format!("http://{address}/");
            let (_, status) = tokio::join!(serve_once(&listener, answer), http_get(&url, resolve_and_connect));
            assert!(matches!(status, Err(UrlError::Request { .. })), "{status:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_a_bad_url_are_told_apart() {
        // Bound and not listening: it refuses, and nobody else can get the port meanwhile.
        let deaf = TcpSocket::new_v4().unwrap();
        deaf.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = deaf.local_addr().unwrap();
        let refused = http_get(&format!("http://{address}/"), resolve_and_connect).await;
        assert!(matches!(refused, Err(UrlError::Connect { .. })), "{refused:?}");
        for bad in ["", "x", "/path", "ftp://a/", "http:///x", "http://a b/"] {
            let result = http_get(bad, resolve_and_connect).await;
            assert!(matches!(result, Err(UrlError::Url)), "{bad}: {result:?}");
        }
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a test that a machine cannot run says so")]
    async fn a_certificate_that_nobody_vouches_for_is_refused() {
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            eprintln!("skipped: this machine has no root certificates");
            return;
        }
        let (listener, address) = listener().await;
        let url = format!("https://{address}/");
        let plain = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        };
        let ((), status) = tokio::join!(plain, http_get(&url, resolve_and_connect));
        assert!(matches!(status, Err(UrlError::Tls { .. })), "{status:?}");
    }

    #[test]
    fn hosts_are_read_as_the_system_reads_them() {
        let hosts = "127.0.0.1 localhost\n# 1.1.1.1 web-1\n10.0.0.2\tweb-1 web # web-2\nbad web-1\n::2 WEB-1\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "::2".parse().unwrap()];
        assert_eq!(addresses_in(hosts, "web-1"), expected);
        assert!(addresses_in(hosts, "web-2").is_empty());
    }
}
