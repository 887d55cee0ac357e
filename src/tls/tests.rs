use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::handshake::Why;
use super::*;

fn pair_with(key: &KeyPair, names: &[&str]) -> CertPair {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names.clone()).unwrap().self_signed(key).unwrap();
    CertPair {
        chain: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
        origin: format!("test {names:?}"),
    }
}

fn ecdsa(names: &[&str]) -> CertPair {
    pair_with(&KeyPair::generate().unwrap(), names)
}

fn rsa(names: &[&str]) -> CertPair {
    pair_with(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), names)
}

fn settings(pairs: Vec<CertPair>, by_host: &[(&str, &[usize])], default: &[usize]) -> Settings {
    let by_host = by_host.iter().map(|(host, pairs)| ((*host).to_owned(), pairs.to_vec())).collect();
    Settings { pairs, by_host, default: default.to_vec(), http2: true }
}

fn server(settings: &Settings) -> Server {
    Server::new(settings, &Tickets::new().unwrap()).unwrap()
}

fn client_for(pairs: &[CertPair]) -> ClientConfig {
    client_with(pairs, default_provider(), &[&rustls::version::TLS13, &rustls::version::TLS12])
}

fn client_with(
    pairs: &[CertPair],
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(der(pair)).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn der(pair: &CertPair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&pair.chain).unwrap()
}

type ClientSide = tokio_rustls::client::TlsStream<DuplexStream>;

async fn try_shake(
    server: &Server,
    client: &ClientConfig,
    name: &str,
) -> (Result<Facts, HandshakeError>, std::io::Result<ClientSide>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client.clone()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (served, connected) = tokio::join!(
        async {
            let (mut stream, facts) = server.accept(ours, std::future::pending()).await?;
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
            Ok(facts)
        },
        async {
            let mut stream = connector.connect(name, theirs).await?;
            // The tickets of TLS 1.3 come with the first data.
            stream.read_exact(&mut [0]).await?;
            Ok(stream)
        },
    );
    (served, connected)
}

async fn shake(server: &Server, client: &ClientConfig, name: &str) -> Facts {
    let (served, connected) = try_shake(server, client, name).await;
    connected.unwrap();
    served.unwrap()
}

#[tokio::test]
async fn facts_carry_the_names_of_the_record() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let mut client = client_for(&settings.pairs);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let facts = shake(&server(&settings), &client, "A.TEST").await;
    assert_eq!(facts.version, "1.3");
    assert_eq!(facts.cipher, "TLS_AES_128_GCM_SHA256");
    assert_eq!(facts.group, Some("X25519MLKEM768"));
    assert_eq!(facts.alpn, Some("h2"));
    assert_eq!(facts.sni.as_deref(), Some("a.test"));
    assert!(!facts.resumed);
}

#[tokio::test]
async fn names_resolve_exactly_then_by_one_label_then_by_default() {
    let pairs = vec![ecdsa(&["a.test"]), ecdsa(&["*.a.test", "b.a.test"]), ecdsa(&["other.test"])];
    let settings = settings(pairs, &[("a.test", &[0]), ("*.A.test", &[1])], &[2]);
    let server = server(&settings);
    let only = |index: usize| client_for(&settings.pairs[index..=index]);
    shake(&server, &only(0), "a.test").await;
    shake(&server, &only(1), "b.a.test").await;
    shake(&server, &only(2), "other.test").await;
    assert!(try_shake(&server, &only(1), "c.b.a.test").await.1.is_err());
}

#[tokio::test]
async fn an_unknown_name_without_default_is_refused() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let (served, connected) = try_shake(&server(&settings), &client_for(&settings.pairs), "b.test").await;
    let error = served.unwrap_err();
    assert_eq!(error.why, Why::UnknownName);
    assert_eq!(error.sni.as_deref(), Some("b.test"));
    assert!(connected.is_err());
}

#[tokio::test]
async fn rsa_serves_those_who_cannot_do_ecdsa() {
    let settings = settings(vec![rsa(&["a.test"]), ecdsa(&["a.test"])], &[("a.test", &[0, 1])], &[]);
    let server = server(&settings);
    let (_, modern) = try_shake(&server, &client_for(&settings.pairs), "a.test").await;
    let leaf = |stream: &ClientSide| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(leaf(&modern.unwrap()), der(&settings.pairs[1]));

    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384];
    let old = client_with(&settings.pairs, provider, &[&rustls::version::TLS12]);
    let (served, old) = try_shake(&server, &old, "a.test").await;
    assert_eq!(leaf(&old.unwrap()), der(&settings.pairs[0]));
    let facts = served.unwrap();
    assert_eq!((facts.version, facts.cipher), ("1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"));
}

#[tokio::test]
async fn clients_without_aes_hardware_get_chacha() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
    provider.cipher_suites.reverse();
    let client = client_with(&settings.pairs, provider, &[&rustls::version::TLS13]);
    assert_eq!(shake(&server(&settings), &client, "a.test").await.cipher, "TLS_CHACHA20_POLY1305_SHA256");
}

#[tokio::test]
async fn tickets_resume_on_every_server_of_the_process() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let tickets = Tickets::new().unwrap();
    let (before, after) =
        (Server::new(&settings, &tickets).unwrap(), Server::new(&settings, &tickets).unwrap());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = client_with(&settings.pairs, default_provider(), &[version]);
        assert!(!shake(&before, &client, "a.test").await.resumed);
        assert!(shake(&after, &client, "a.test").await.resumed);
    }
    let stranger = server(&settings);
    let client = client_for(&settings.pairs);
    shake(&before, &client, "a.test").await;
    assert!(!shake(&stranger, &client, "a.test").await.resumed);
}

/// Offers any ticket to any server: what an attacker's client does.
#[derive(Debug, Default)]
struct Careless(Mutex<(Option<Tls12ClientSessionValue>, Vec<Tls13ClientSessionValue>)>);

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.lock().unwrap().0 = Some(value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.lock().unwrap().0.clone()
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.lock().unwrap().1.push(value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap().1.pop()
    }
}

#[tokio::test]
async fn a_ticket_of_one_site_is_no_good_at_another() {
    let pairs = vec![ecdsa(&["a.test"]), ecdsa(&["b.test"])];
    let settings = settings(pairs, &[("a.test", &[0]), ("b.test", &[1])], &[]);
    let server = server(&settings);
    let mut client = client_for(&settings.pairs);
    client.resumption = Resumption::store(Arc::new(Careless::default()));
    assert!(!shake(&server, &client, "a.test").await.resumed);
    assert!(shake(&server, &client, "a.test").await.resumed, "the careless client does offer its tickets");
    assert!(!shake(&server, &client, "b.test").await.resumed);
}

#[tokio::test]
async fn a_connection_covers_only_hosts_with_its_certificate() {
    let shared = ecdsa(&["a.test", "www.a.test", "b.test"]);
    let pairs = vec![shared.clone(), ecdsa(&["b.test"]), shared];
    let by_host: &[(&str, &[usize])] = &[("a.test", &[0]), ("www.a.test", &[2]), ("b.test", &[1])];
    let settings = settings(pairs, by_host, &[0]);
    let facts = shake(&server(&settings), &client_for(&settings.pairs), "a.test").await;
    assert!(facts.covers("a.test"));
    assert!(facts.covers("www.a.test"), "the same certificate given twice is one certificate");
    assert!(facts.covers("unknown.test"), "served by the default, which is this certificate");
    assert!(!facts.covers("b.test"), "it names b.test, but b.test has its own certificate");
}

#[tokio::test]
async fn who_trusts_the_local_authority_trusts_its_certificates() {
    const DAY: u64 = 86_400;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let dir = tempfile::tempdir().unwrap();
    let pair = local::ensure(dir.path(), &["localhost".to_owned()], now).unwrap();
    let before = std::fs::read(local::ca_path(dir.path())).unwrap();
    local::ensure(dir.path(), &["localhost".to_owned()], now + 3_500 * DAY).unwrap();
    let again = std::fs::read(local::ca_path(dir.path())).unwrap();
    assert_ne!(before, again);
    let settings = settings(vec![pair], &[("localhost", &[0])], &[0]);
    let server = server(&settings);
    let trusting = |chain: Vec<u8>| client_for(&[CertPair { chain, ..settings.pairs[0].clone() }]);
    for name in ["localhost", "127.0.0.1", "::1"] {
        shake(&server, &trusting(before.clone()), name).await;
    }
    // The library does not look at the dates of an authority: this tells of key and name.
    shake(&server, &trusting(again), "localhost").await;
    let other = tempfile::tempdir().unwrap();
    local::ensure(other.path(), &["localhost".to_owned()], now).unwrap();
    let stranger = std::fs::read(local::ca_path(other.path())).unwrap();
    assert!(try_shake(&server, &trusting(stranger), "localhost").await.1.is_err());
}

#[tokio::test]
async fn without_a_common_protocol_there_is_no_connection() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let mut client = client_for(&settings.pairs);
    client.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let error = try_shake(&server(&settings), &client, "a.test").await.0.unwrap_err();
    assert_eq!(error.why, Why::NothingInCommon);
    let only_http1 = server(&Settings { http2: false, ..settings.clone() });
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    assert_eq!(shake(&only_http1, &client, "a.test").await.alpn, Some("http/1.1"));
    client.alpn_protocols = Vec::new();
    assert_eq!(shake(&only_http1, &client, "a.test").await.alpn, None);
}

#[tokio::test]
async fn plain_http_is_told_from_broken_tls() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let (ours, mut theirs) = tokio::io::duplex(4096);
    theirs.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let error = server(&settings).accept(ours, std::future::pending()).await.unwrap_err();
    assert_eq!(error.why, Why::NotTls, "{:?}", error.source);
}

#[tokio::test]
async fn a_silent_client_is_dropped_at_the_deadline() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let (ours, _theirs) = tokio::io::duplex(4096);
    let error = server(&settings).accept(ours, std::future::ready(())).await.unwrap_err();
    assert_eq!((error.why, error.reason()), (Why::Timeout, "client_timeout"));
}

#[tokio::test]
async fn a_client_that_leaves_is_no_protocol_error() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let (ours, mut theirs) = tokio::io::duplex(4096);
    theirs.write_all(&[22, 3, 1]).await.unwrap();
    drop(theirs);
    let error = server(&settings).accept(ours, std::future::pending()).await.unwrap_err();
    assert_eq!(error.why, Why::Closed);
}

#[tokio::test]
async fn a_client_that_distrusts_us_says_so() {
    let settings = settings(vec![ecdsa(&["a.test"])], &[("a.test", &[0])], &[]);
    let distrustful = client_for(&[ecdsa(&["a.test"])]);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let server = server(&settings);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(distrustful));
    let name = ServerName::try_from("a.test").unwrap();
    let (served, _) =
        tokio::join!(server.accept(ours, std::future::pending()), connector.connect(name, theirs));
    assert!(matches!(served.unwrap_err().why, Why::ClientAlert(_)));
}

proptest::proptest! {
    #[test]
    fn the_table_of_names_agrees_with_the_rule_for_names(
        host in "(a|b|x|test|\\*)?(\\.(a|b|x|test)){0,3}",
    ) {
        let names = ["a.test", "*.a.test", "*.b.a.test", "test"];
        let loaded = pair::load(&NAMED.with(Clone::clone), &default_provider()).unwrap();
        let by_host = names.map(|name| (name, [0].as_slice()));
        let resolver = resolver::Resolver::new(&settings(Vec::new(), &by_host, &[]), &[loaded]).unwrap();
        let facts = inspect(&NAMED.with(Clone::clone)).unwrap();
        if !host.contains('*') {
            proptest::prop_assert_eq!(resolver.find(Some(&host)).is_some(), facts.covers(&host), "{}", host);
        }
    }
}

thread_local! {
    static NAMED: CertPair = ecdsa(&["a.test", "*.a.test", "*.b.a.test", "test"]);
}

#[test]
fn all_errors_are_told_at_once() {
    let good = ecdsa(&["a.test"]);
    let swapped = CertPair { key: ecdsa(&["a.test"]).key, origin: "swapped".into(), ..good.clone() };
    let keyless = CertPair { key: Vec::new(), origin: "keyless".into(), ..good.clone() };
    let empty = CertPair { chain: b"hello".to_vec(), origin: "empty".into(), ..good.clone() };
    let bad = settings(vec![swapped, keyless, empty], &[], &[]);
    let errors = Server::new(&bad, &Tickets::new().unwrap()).unwrap_err();
    assert!(matches!(errors[0], TlsError::KeyMismatch { .. }));
    assert!(matches!(errors[1], TlsError::NoKey { .. }));
    assert!(matches!(errors[2], TlsError::NoCertificate { .. }));

    let bad = settings(vec![good], &[("b.test", &[]), ("c.test", &[7])], &[]);
    let errors = Server::new(&bad, &Tickets::new().unwrap()).unwrap_err();
    assert!(matches!(errors[0], TlsError::HostWithoutCertificate { .. }));
    assert!(matches!(errors[1], TlsError::NoSuchPair { index: 7, count: 1, .. }));
}

#[test]
fn findings_tell_what_clients_will_refuse() {
    let facts = CertFacts {
        names: vec!["a.test".into(), "*.b.test".into()],
        issuer: String::new(),
        not_before: 0,
        not_after: 90 * 86_400,
        key_matches: true,
        kind: KeyKind::Rsa(1024),
        chain_length: 1,
    };
    let at = |day: i64, host: &'static str| facts.findings(day * 86_400, [host]);
    assert_eq!(at(1, "A.test"), [Finding::WeakKey]);
    assert_eq!(at(1, "x.b.test"), [Finding::WeakKey]);
    assert_eq!(at(1, "b.test")[1], Finding::DoesNotCover { host: "b.test".into() });
    assert_eq!(at(1, "y.x.b.test").len(), 2);
    assert_eq!(at(80, "a.test")[0], Finding::ExpiresSoon { in_days: 10 });
    assert_eq!(at(92, "a.test")[0], Finding::Expired { days_ago: 2 });
    assert_eq!(at(-2, "a.test")[0], Finding::NotYetValid { in_days: 2 });
}

#[test]
fn key_kinds_are_read_from_the_certificate() {
    assert_eq!(inspect(&ecdsa(&["a.test"])).unwrap().kind, KeyKind::EcdsaP256);
    assert_eq!(inspect(&rsa(&["a.test"])).unwrap().kind, KeyKind::Rsa(2048));
    let ed = pair_with(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), &["a.test"]);
    assert_eq!(inspect(&ed).unwrap().kind, KeyKind::Ed25519);
}

#[test]
fn debug_output_hides_the_key() {
    let pair = ecdsa(&["a.test"]);
    let text = format!("{pair:?}");
    assert!(!text.contains("PRIVATE") && text.len() < 100, "{text}");
}
