//! Tries a trunk step by step without calling anybody, and says in plain words what to try where a step fails.

use std::time::{Duration, Instant};

use serde::Serialize;
use sip::{Method, Outside, Path};
use tokio::net::TcpStream;
use utoipa::ToSchema;

use super::Means;
use super::health::is_alive;
use super::keep::{ANSWER, options, registrar, targets};
use crate::endpoint::Trust;
use crate::id::Id;
use crate::store::TrunkRow;
use crate::switch::{Answer, Target};
use crate::trunk;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// What is tried, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckName {
    /// The next hop's name becomes addresses.
    Dns,
    /// A connection over TCP or TLS comes about; UDP has none.
    Connect,
    /// An OPTIONS is answered.
    Options,
    /// A REGISTER that changes nothing is accepted; only where the trunk has a user name.
    Register,
}

/// What came of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Which.
    pub step: CheckName,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub ms: u64,
    /// What happened.
    pub detail: String,
    /// What to try, where it did not go well.
    pub hint: Option<String>,
}

/// What a step says: what happened, and a hint where it failed.
type Told = Result<String, (String, String)>;

/// Tries a trunk. The steps after one that leaves them nothing to try are left out.
pub(super) async fn probe(row: &TrunkRow, means: &Means) -> Vec<Check> {
    let mut steps = Vec::new();
    let mut record = |step, start: Instant, told: Told| {
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (ok, detail, hint) = match told {
            Ok(detail) => (true, detail, None),
            Err((detail, hint)) => (false, detail, Some(hint)),
        };
        steps.push(Check { step, ok, ms, detail, hint });
        ok
    };
    let start = Instant::now();
    let (told, target) = locate(row, means).await;
    record(CheckName::Dns, start, told);
    let Some(target) = target else { return steps };

    let start = Instant::now();
    if !record(CheckName::Connect, start, connect(&target, &means.trust).await) {
        return steps;
    }
    let path = match means.switch.path(target.clone()).await {
        Ok(path) => path,
        Err(why) => {
            record(CheckName::Options, Instant::now(), Err((why, OWN_SIDE.into())));
            return steps;
        }
    };
    let start = Instant::now();
    let answer = ask(means, options(row, path)).await;
    record(CheckName::Options, start, judge_options(row, &target, answer.as_ref()));

    if row.username.is_some() {
        let start = Instant::now();
        let request = match bindings(row, path) {
            Ok(request) => request,
            Err(why) => {
                record(CheckName::Register, start, Err((why, OWN_SIDE.into())));
                return steps;
            }
        };
        let answer = ask(means, request).await;
        record(CheckName::Register, start, judge_register(row, answer.as_ref()));
    }
    steps
}

const OWN_SIDE: &str = "This is a fault of this server's own side: look at sip_listen and the log.";

async fn locate(row: &TrunkRow, means: &Means) -> (Told, Option<Target>) {
    let (host, _) = trunk::next_hop(row, &trunk::route(&row.settings, &row.transport, &[]));
    if let Some((detail, hint)) = known_mistake(&host) {
        return (Err((detail, hint)), None);
    }
    match targets(row, means).await {
        Ok(found) => {
            let list: Vec<String> = found.iter().map(|target| target.remote.to_string()).collect();
            let said = format!("{host} is at {}.", list.join(", "));
            (Ok(said), found.into_iter().next())
        }
        Err(why) => {
            let which = if row.settings.proxy.is_some() { "settings.proxy" } else { "host" };
            let hint = format!("Check the spelling of the trunk's {which}, and this machine's DNS.");
            (Err((format!("{}.", why.trim_end_matches('.')), hint)), None)
        }
    }
}

/// Names that people take for their trunk's and that no trunk has.
fn known_mistake(host: &str) -> Option<(String, String)> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.as_str() {
        "sip.twilio.com" | "pstn.twilio.com" | "twilio.com" => Some((
            format!("{host} is not the host of any trunk: Twilio drops what is sent there without a word."),
            "A trunk's host is <name>.pstn.twilio.com, with the name you gave it under Elastic SIP Trunking, \
             Termination. Allow this server's address or add a credential list there."
                .into(),
        )),
        _ if host.ends_with(".sip.twilio.com") => Some((
            format!("{host} is a SIP domain of Twilio, for phones; it carries no trunk."),
            "A trunk's host is <name>.pstn.twilio.com, from Elastic SIP Trunking, Termination.".into(),
        )),
        _ => None,
    }
}

async fn connect(target: &Target, trust: &Trust) -> Told {
    if target.transport == sip::Transport::Udp {
        return Ok("UDP has no connection; the next step tells whether anybody is there.".into());
    }
    let remote = target.remote;
    let silent = || {
        let hint = format!(
            "A firewall may be in between, here or there: allow TCP port {} out, and ask the carrier whether your \
             address is on its access list.",
            remote.port()
        );
        Err((format!("{remote} did not answer within {} s.", CONNECT.as_secs()), hint))
    };
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err((
                format!("{remote} takes no connection: {error}."),
                "Check the port and the transport (TLS is mostly on 5061, TCP on 5060), or try udp.".into(),
            ));
        }
        Err(_) => return silent(),
    };
    let (sip::Transport::Tls, Some(name)) = (target.transport, target.server_name.clone()) else {
        return Ok(format!("{remote} takes connections."));
    };
    let trust = trust.clone();
    let shaken = tokio::task::spawn_blocking(move || shake(stream, &name, &trust).map(|()| name)).await;
    match shaken {
        Ok(Ok(name)) => Ok(format!("{remote} takes connections and has a good certificate for {name}.")),
        Ok(Err(why)) => Err((
            format!("{remote} takes connections, but TLS fails: {}.", why.trim_end_matches('.')),
            "The trunk's host must be the name in the carrier's certificate; TLS is mostly on port 5061. A carrier's \
             own authority belongs into tls_ca_file."
                .into(),
        )),
        Err(_) => silent(),
    }
}

/// A TLS handshake, as calls make it.
fn shake(stream: TcpStream, name: &str, trust: &Trust) -> Result<(), String> {
    let said = |error: std::io::Error| crate::endpoint::explain(&error);
    let mut stream = stream.into_std().map_err(said)?;
    stream.set_nonblocking(false).map_err(said)?;
    stream.set_read_timeout(Some(CONNECT)).map_err(said)?;
    stream.set_write_timeout(Some(CONNECT)).map_err(said)?;
    let mut connection = trust.connect(name).map_err(said)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(said)?;
    }
    Ok(())
}

async fn ask(means: &Means, request: Outside) -> Option<Answer> {
    tokio::time::timeout(ANSWER, means.switch.ask(request)).await.ok()
}

fn judge_options(row: &TrunkRow, target: &Target, answer: Option<&Answer>) -> Told {
    let Some(answer) = answer else { return Err(silence(target)) };
    let Ok(message) = &answer.result else {
        return Err((
            format!("OPTIONS could not be sent: {}.", answer.why()),
            "Check the port and the transport; over TLS, that the host is the name in the carrier's certificate."
                .into(),
        ));
    };
    let (status, said) = said(message);
    match status {
        200..300 => Ok(format!("The carrier answered {said}.")),
        401 | 407 => {
            Ok(format!("The carrier answered {said}: it is there, and asks for credentials even here."))
        }
        _ if is_alive(status) => {
            Ok(format!("The carrier answered {said}: it is there, though it does not care for OPTIONS."))
        }
        _ => Err((
            format!("The carrier answered {said} to OPTIONS for {}.", trunk::peer_uri(row)),
            "Whoever answered has nobody behind it for this domain at the moment: check host and \
             settings.request_domain, or ask the carrier."
                .into(),
        )),
    }
}

fn judge_register(row: &TrunkRow, answer: Option<&Answer>) -> Told {
    let nothing = |why: String| {
        let hint =
            "Many carriers take no registrations and drop them; if calls work, leave settings.register off.";
        Err((why, hint.to_owned()))
    };
    let Some(answer) = answer else {
        return nothing(format!("REGISTER was not answered within {} s.", ANSWER.as_secs()));
    };
    let Ok(message) = &answer.result else {
        return nothing(format!("REGISTER could not be sent: {}.", answer.why()));
    };
    let (status, said) = said(message);
    let as_whom = format!("as {} at {}", trunk::own_uri(row), trunk::peer_uri(row));
    let realm = realm_of(message);
    let asked = realm.as_deref().map(|realm| format!(", asking for realm {realm:?}")).unwrap_or_default();
    match status {
        200..300 => Ok(format!("The carrier accepted the credentials {as_whom}.")),
        405 | 501 if !row.settings.register => {
            Ok(format!("The carrier answered {said}: it takes no registrations, and this trunk makes none."))
        }
        401 | 407 => match (row.settings.realm.as_deref(), realm) {
            (Some(set), Some(asked)) if set != asked => Err((
                format!("The carrier answered {said}: it asks for realm {asked:?}, and credentials are kept for {set:?}."),
                format!("Set settings.realm to {asked:?}, or to null if any realm will do."),
            )),
            _ => Err((
                format!("The carrier answered {said} {as_whom}{asked}: user name or password is wrong."),
                "Check username and password; some carriers have other ones for SIP than for their portal.".into(),
            )),
        },
        403 => Err((
            format!("The carrier answered {said} {as_whom}{asked}."),
            "Check username and password, and that settings.from_domain is the domain the carrier expects in From; \
             some answer 403 where this server's address is not on their access list."
                .into(),
        )),
        404 => Err((
            format!("The carrier answered {said}: it does not know {}.", trunk::own_uri(row)),
            "Check username, settings.from_domain and settings.request_domain.".into(),
        )),
        405 | 501 => Err((
            format!("The carrier answered {said}: it takes no registrations."),
            "Set settings.register to false: calls prove who they are by themselves.".into(),
        )),
        _ => Err((
            format!("The carrier answered {said} {as_whom}."),
            "Ask the carrier what this status means for your account.".into(),
        )),
    }
}

fn silence(target: &Target) -> (String, String) {
    let over = target.transport.param().to_uppercase();
    (
        format!("{} did not answer OPTIONS over {over} within {} s.", target.remote, ANSWER.as_secs()),
        format!(
            "A firewall may be in between (allow {over} port {} out and its answers in), this server's address may not \
             be on the carrier's access list, or nobody speaks SIP there: check host, port and transport.",
            target.remote.port()
        ),
    )
}

/// A REGISTER without Contact asks for the bindings and changes none (RFC 3261 section 10.2.3).
fn bindings(row: &TrunkRow, path: Path) -> Result<Outside, String> {
    let call_id = Id::new().map_err(|error| error.to_string())?.to_string();
    let registrar = registrar(row, path, &call_id, row.credentials());
    Ok(Outside {
        route: registrar.route,
        credentials: registrar.credentials,
        ..Outside::new(
            Method::Register,
            path,
            registrar.uri,
            registrar.address_of_record.clone(),
            registrar.address_of_record,
        )
    })
}

/// The status, and it with its phrase.
fn said(message: &sip::Message) -> (u16, String) {
    let view = message.view();
    let status = view.status().unwrap_or(500);
    let phrase: String = view.reason().chars().filter(|c| !c.is_control()).take(60).collect();
    (status, format!("{status} {phrase}").trim_end().to_owned())
}

/// The realm of a challenge.
fn realm_of(message: &sip::Message) -> Option<String> {
    let view = message.view();
    let challenge = view.header("WWW-Authenticate").or(view.header("Proxy-Authenticate"))?;
    let (_, after) = challenge.split_once("realm=\"")?;
    Some(after.split('"').next()?.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::trunk::tests_row;

    fn answer(status_line: &str, more: &str) -> Answer {
        let text = format!(
            "SIP/2.0 {status_line}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n{more}Content-Length: 0\r\n\r\n"
        );
        Answer { result: Ok(sip::Message::parse(Bytes::from(text)).unwrap()), trouble: String::new() }
    }

    fn told(told: Told) -> String {
        match told {
            Ok(detail) => format!("ok   {detail}"),
            Err((detail, hint)) => format!("FAIL {detail} -> {hint}"),
        }
    }

    #[test]
    fn what_a_register_comes_to_is_said_in_plain_words() {
        let challenge = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"1\"\r\n";
        let registering = tests_row(|row| row.settings.register = true);
        let plain = tests_row(|_| {});
        let other_realm = tests_row(|row| row.settings.realm = Some("elsewhere".into()));
        let failed =
            Answer { result: Err(sip::FailureKind::Transport), trouble: "connection refused".into() };
        let table = [
            (&plain, Some(answer("200 OK", ""))),
            (&plain, Some(answer("401 Unauthorized", challenge))),
            (&other_realm, Some(answer("401 Unauthorized", challenge))),
            (&plain, Some(answer("403 Forbidden", ""))),
            (&plain, Some(answer("404 Not Found", ""))),
            (&plain, Some(answer("405 Method Not Allowed", ""))),
            (&registering, Some(answer("405 Method Not Allowed", ""))),
            (&plain, Some(answer("500 Oh", ""))),
            (&plain, Some(failed)),
            (&plain, None),
        ];
        let lines: Vec<String> =
            table.iter().map(|(row, answer)| told(judge_register(row, answer.as_ref()))).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ok   The carrier accepted the credentials as sip:4915@sip.carrier.example at sip:sip.carrier.example.
        FAIL The carrier answered 401 Unauthorized as sip:4915@sip.carrier.example at sip:sip.carrier.example, asking for realm "carrier": user name or password is wrong. -> Check username and password; some carriers have other ones for SIP than for their portal.
        FAIL The carrier answered 401 Unauthorized: it asks for realm "carrier", and credentials are kept for "elsewhere". -> Set settings.realm to "carrier", or to null if any realm will do.
        FAIL The carrier answered 403 Forbidden as sip:4915@sip.carrier.example at sip:sip.carrier.example. -> Check username and password, and that settings.from_domain is the domain the carrier expects in From; some answer 403 where this server's address is not on their access list.
        FAIL The carrier answered 404 Not Found: it does not know sip:4915@sip.carrier.example. -> Check username, settings.from_domain and settings.request_domain.
        ok   The carrier answered 405 Method Not Allowed: it takes no registrations, and this trunk makes none.
        FAIL The carrier answered 405 Method Not Allowed: it takes no registrations. -> Set settings.register to false: calls prove who they are by themselves.
        FAIL The carrier answered 500 Oh as sip:4915@sip.carrier.example at sip:sip.carrier.example. -> Ask the carrier what this status means for your account.
        FAIL REGISTER could not be sent: connection refused. -> Many carriers take no registrations and drop them; if calls work, leave settings.register off.
        FAIL REGISTER was not answered within 4 s. -> Many carriers take no registrations and drop them; if calls work, leave settings.register off.
        "#);
    }

    #[test]
    fn what_options_come_to_is_said_in_plain_words() {
        let row = tests_row(|_| {});
        let target = Target::udp("192.0.2.1:5060".parse().unwrap());
        let table = [
            Some(answer("200 OK", "")),
            Some(answer("407 Proxy Authentication Required", "")),
            Some(answer("404 Not Found", "")),
            Some(answer("503 Service Unavailable", "")),
            Some(Answer { result: Err(sip::FailureKind::Transport), trouble: "connection refused".into() }),
            None,
        ];
        let lines: Vec<String> =
            table.iter().map(|answer| told(judge_options(&row, &target, answer.as_ref()))).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        ok   The carrier answered 200 OK.
        ok   The carrier answered 407 Proxy Authentication Required: it is there, and asks for credentials even here.
        ok   The carrier answered 404 Not Found: it is there, though it does not care for OPTIONS.
        FAIL The carrier answered 503 Service Unavailable to OPTIONS for sip:sip.carrier.example. -> Whoever answered has nobody behind it for this domain at the moment: check host and settings.request_domain, or ask the carrier.
        FAIL OPTIONS could not be sent: connection refused. -> Check the port and the transport; over TLS, that the host is the name in the carrier's certificate.
        FAIL 192.0.2.1:5060 did not answer OPTIONS over UDP within 4 s. -> A firewall may be in between (allow UDP port 5060 out and its answers in), this server's address may not be on the carrier's access list, or nobody speaks SIP there: check host, port and transport.
        ");
    }

    #[test]
    fn hosts_that_are_nobodys_trunk() {
        for host in ["sip.twilio.com", "SIP.Twilio.com.", "acme.sip.twilio.com"] {
            assert!(
                known_mistake(host).is_some_and(|(_, hint)| hint.contains("<name>.pstn.twilio.com")),
                "{host}"
            );
        }
        for host in ["acme.pstn.twilio.com", "sip.telnyx.com", "192.0.2.1"] {
            assert_eq!(known_mistake(host), None, "{host}");
        }
    }
}
