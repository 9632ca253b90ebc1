//! Messages nobody here wrote, from the corpora beside the checkout: they may be refused but do no harm.
#![allow(clippy::disallowed_methods, reason = "it needs a first instant, and reads data")]
#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use sip::{Config, Endpoint, Input, Message, Transport};

/// A folder of the corpora, or `None` with a loud word about it.
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let root = std::env::var_os("TRUNKLINE_CORPORA").map_or(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIP: no corpus at {} (set TRUNKLINE_CORPORA)", folder.display());
    None
}

fn messages(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Some(folder) = corpus(name) else { return Vec::new() };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// What a Go fuzz input quotes: `string("…")` on its second line.
fn unquoted(file: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(file);
    let quoted = text.split_once('"').and_then(|(_, rest)| Some(rest.rsplit_once('"')?.0)).unwrap();
    quoted.replace("\\r", "\r").replace("\\n", "\n").replace("\\\"", "\"").into_bytes()
}

#[test]
fn inputs_that_crashed_another_parser_do_no_harm() {
    for (_, bytes) in messages("sip/fuzz-sipgo") {
        let bytes = unquoted(&bytes);
        for transport in [Transport::Udp, Transport::Tcp] {
            let path =
                sip::Path::new(transport, ([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 2], 5060).into());
            let mut endpoint = Endpoint::new(Config::default(), [5; 32]);
            let input = match transport {
                Transport::Udp => Input::Datagram { path, bytes: &bytes },
                Transport::Tcp | Transport::Tls => Input::Stream { path, bytes: &bytes },
                Transport::Ws | Transport::Wss => Input::Message { path, bytes: &bytes },
            };
            endpoint.handle_input(input, Instant::now());
            while endpoint.poll_output().is_some() {}
        }
    }
}

#[test]
fn the_invite_of_baresip_is_read() {
    let invites = messages("sip/baresip").into_iter().filter(|(path, _)| path.ends_with("invite.sip"));
    for (_, bytes) in invites {
        let message = Message::parse(bytes.into()).unwrap();
        let view = message.view();
        assert_eq!(view.from().unwrap().display_name().as_deref(), Some("Name A"));
        assert_eq!(view.contact().unwrap().sip_uri().unwrap().params.get("transport"), Some("tcp"));
        assert!(view.body().starts_with(b"v=0") && view.top_via().unwrap().unique_branch().is_some());
        // The file lost its carriage returns, and with them the length it states.
        assert_eq!(view.check().map_err(|fault| fault.status), Err(400));
    }
}
