//! Our own certificate, and those that are shown to us.

use std::os::unix::fs::PermissionsExt as _;

use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::endpoint::tls::tests::{Authority, dns};

#[test]
fn sip_is_spoken_over_tls() {
    let mut bench = Bench::new();
    let (address, roots) = (bench.tls(), bench.roots());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let roots = roots.clone();
        bench.serve(move || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder =
                ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
            let config = builder.with_root_certificates(roots).with_no_client_auth();
            let mut stream = connect_tls(address, config);
            assert!(super::ask(&mut stream, "TLS", 1).starts_with(OK));
        });
    }
    let stats = bench.endpoint.stats();
    assert_eq!((stats.accepted, stats.handshakes_failed), (2, 0));
}

#[test]
fn what_is_no_tls_comes_to_nothing() {
    let mut bench = Bench::new();
    let address = bench.tls();
    bench.serve(move || {
        let mut stream = connect(address);
        stream.write_all(options("TCP", 1).as_bytes()).unwrap();
        assert!(is_closed(&mut stream));
        // And who does not believe our certificate.
        let mut stream = connect_tls(address, client(RootCertStore::empty()));
        assert!(stream.write_all(b"x").is_err());
    });
    bench.until(|endpoint| endpoint.stats().tls == 0 && endpoint.stats().handshakes_failed == 2);
}

/// The certificate a connection is shown now.
fn shown(bench: &mut Bench, roots: RootCertStore) -> Result<CertificateDer<'static>, String> {
    let address = bench.tls();
    bench.serve(move || {
        let mut stream = connect_tls(address, client(roots));
        stream.write_all(b"\r\n\r\n").map_err(|error| error.to_string())?;
        Ok(stream.conn.peer_certificates().unwrap()[0].clone().into_owned())
    })
}

#[test]
fn a_changed_certificate_is_read_and_a_broken_one_is_not_used() {
    let mut bench = Bench::new();
    let (first, old) = (bench.certificate(), bench.roots());
    let before = shown(&mut bench, old.clone()).unwrap();

    std::fs::write(&first, "half a file").unwrap();
    bench.late = Duration::from_secs(2);
    assert_eq!(shown(&mut bench, old.clone()), Ok(before.clone()), "the old one stays");

    std::fs::remove_file(&first).unwrap();
    self_signed(bench.folder.path(), &own_names("here.test", [])).unwrap();
    let new = bench.roots();
    assert_eq!(shown(&mut bench, old.clone()), Ok(before.clone()), "looked at once a second");
    bench.late = Duration::from_secs(4);
    assert_ne!(shown(&mut bench, new).unwrap(), before);
    assert!(shown(&mut bench, old).is_err());
}

#[test]
fn a_certificate_is_made_once_for_the_names_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let names =
        own_names("Voice.example.com", ["0.0.0.0", "192.0.2.1"].map(|address| address.parse().unwrap()));
    assert_eq!(names, ["voice.example.com", "localhost", "127.0.0.1", "192.0.2.1"]);
    let files = self_signed(folder.path(), &names).unwrap();
    let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let made = std::fs::read(&files.chain).unwrap();
    self_signed(folder.path(), &names).unwrap();
    assert_eq!(std::fs::read(&files.chain).unwrap(), made, "kept");
    let fewer = own_names("voice.example.com", []);
    self_signed(folder.path(), &fewer).unwrap();
    assert_eq!(std::fs::read(&files.chain).unwrap(), made, "good for these too");
    self_signed(folder.path(), &own_names("other.example.com", [])).unwrap();
    assert_ne!(std::fs::read(&files.chain).unwrap(), made, "made for the new name");
    assert!(Certificates::load(files.clone(), Trust::none()).is_ok());
    std::fs::remove_file(&files.key).unwrap();
    self_signed(folder.path(), &fewer).unwrap();
    assert!(Certificates::load(files, Trust::none()).is_ok());
}

#[test]
fn files_that_cannot_be_used_say_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let good = self_signed(folder.path(), &own_names("a.test", [])).unwrap();
    let other = tempfile::tempdir().unwrap();
    let other = self_signed(other.path(), &own_names("a.test", [])).map(|files| (files, other)).unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = PathBuf::from("/nowhere/tls.pem");
    for (chain, key, at_chain, why) in [
        (&missing, &good.key, true, "/nowhere/tls.pem: "),
        (&empty, &good.key, true, "empty.pem: no certificate in PEM form is in it"),
        (&good.chain, &missing, false, "/nowhere/tls.pem: "),
        (&good.chain, &empty, false, "empty.pem: no private key in PEM form is in it"),
        (&good.chain, &good.chain, false, "no private key in PEM form is in it"),
        (&good.chain, &other.0.key, false, "it is not the key of "),
    ] {
        let files = Files { chain: chain.clone(), key: key.clone() };
        let error = Certificates::load(files, Trust::none()).err().unwrap();
        assert_eq!(matches!(error, CertificateError::Chain(_)), at_chain, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// The names that the endpoint reads from what a client shows, and whether the client was asked to show something.
fn identity(
    bench: &mut Bench,
    shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    alpn: &[&[u8]],
) -> Option<Vec<String>> {
    let (address, roots) = (bench.tls(), bench.roots());
    let builder = builder().with_root_certificates(roots);
    let mut config = match shown {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = bench.serve(move || {
        let mut stream = connect_tls(address, config);
        assert!(super::ask(&mut stream, "TLS", 1).starts_with(OK));
        stream
    });
    let path = Path::new(Transport::Tls, address, stream.sock.local_addr().unwrap());
    bench.endpoint.identity(&path).map(<[String]>::to_vec)
}

#[test]
fn a_clients_certificate_says_who_it_is_where_it_is_believed() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let mut bench = Bench::with(Limits::default(), authority.trust());
    let names = [dns("sip.Carrier.test"), rcgen::SanType::URI("sip:carrier.test".try_into().unwrap())];
    let believed = Some(vec!["sip.carrier.test".to_owned(), "sip:carrier.test".to_owned()]);
    assert_eq!(identity(&mut bench, Some(authority.sign(&names, false)), &[]), believed);
    assert_eq!(identity(&mut bench, Some(authority.sign(&names, true)), &[]), None, "expired");
    assert_eq!(identity(&mut bench, Some(stranger.sign(&names, false)), &[]), None, "of nobody we know");
    assert_eq!(identity(&mut bench, None, &[]), None);
    // A browser is not even asked: it would give the connection up.
    assert_eq!(identity(&mut bench, Some(authority.sign(&names, false)), &[b"http/1.1"]), None);
    assert_eq!(bench.endpoint.stats().handshakes_failed, 0);
}
