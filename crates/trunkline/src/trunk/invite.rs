//! What the settings make of an INVITE: its URIs, its route and the headers that say who calls.

use super::{Identity, Privacy, TrunkSettings, bracketed, default_port, host_port, transport};
use crate::dns::Resolver;
use crate::store::TrunkRow;
use crate::switch::Target;

/// Who is shown where the caller is withheld (RFC 3323 section 4.1.1.3).
const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

/// The parts of a request towards a trunk that its settings decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The Request-URI.
    pub request_uri: String,
    /// The To URI: the Request-URI without what only says how to get there.
    pub to_uri: String,
    /// The name beside the From URI.
    pub from_display: Option<String>,
    /// The From URI.
    pub from_uri: String,
    /// Route values, the next hop first.
    pub route: Vec<String>,
    /// Who calls, as the carrier wants it said.
    pub headers: Vec<(String, String)>,
}

/// The lines of a call to `destination` (a number in the trunk's form, or a SIP URI) from `caller` (the same), along
/// the Service-Route of the trunk's registration (RFC 3608), if it has one.
pub fn lines(row: &TrunkRow, destination: &str, caller: &str, service_route: &[String]) -> Lines {
    let settings = &row.settings;
    let domain = request_domain(row);
    let to_uri = match destination.starts_with("sip:") || destination.starts_with("sips:") {
        true => destination.to_owned(),
        false => format!("sip:{destination}@{domain}"),
    };
    let identity = identity_uri(row, caller);
    let withheld = settings.privacy == Privacy::Id;
    let mut headers = Vec::new();
    let mut header = |name: &str, value: String| headers.push((name.to_owned(), value));
    match settings.identity {
        Identity::From => {}
        Identity::Pai => header("P-Asserted-Identity", format!("<{identity}>")),
        Identity::Rpid => {
            let privacy = if withheld { "full" } else { "off" };
            header("Remote-Party-ID", format!("<{identity}>;party=calling;screen=yes;privacy={privacy}"));
        }
    }
    if withheld {
        header("Privacy", "id".into());
    }
    if let Some(own) = row.caller_id.as_deref().filter(|own| settings.diversion && *own != caller) {
        let own = identity_uri(row, own);
        header("Diversion", format!("<{own}>;reason=unconditional;counter=1;privacy=off"));
    }
    Lines {
        request_uri: format!("{to_uri}{}", transport_parameter(&row.transport)),
        to_uri,
        from_display: withheld.then(|| "Anonymous".into()),
        from_uri: if withheld { ANONYMOUS.into() } else { identity },
        route: route(settings, &row.transport, service_route),
        headers,
    }
}

/// The URI by which the trunk itself is known to its registrar: its address of record.
pub fn own_uri(row: &TrunkRow) -> String {
    identity_uri(row, row.username.as_deref().unwrap_or("trunkline"))
}

/// The URI of the registrar, or of whoever answers OPTIONS.
pub fn peer_uri(row: &TrunkRow) -> String {
    format!("sip:{}{}", request_domain(row), transport_parameter(&row.transport))
}

/// Host and port a request is sent to: those of the first Route value (RFC 3261 section 8.1.2), else the trunk's own.
pub fn next_hop(row: &TrunkRow, route: &[String]) -> (String, u16) {
    let first = route.first().and_then(|value| sip::NameAddr::parse(value).ok());
    let uri = first.as_ref().and_then(|value| value.sip_uri().ok());
    let Some(uri) = uri else { return (row.host.clone(), row.port) };
    let host = match uri.host {
        sip::Host::Ip(ip) => ip.to_string(),
        sip::Host::Domain(name) => name.to_owned(),
    };
    (host, uri.port.unwrap_or(default_port(&row.transport)))
}

/// Where a request with this route goes, the first to be tried first: at least one target.
pub async fn targets(row: &TrunkRow, route: &[String], resolver: &Resolver) -> Result<Vec<Target>, String> {
    let transport = transport(&row.transport);
    let (host, port) = next_hop(row, route);
    // The default port cannot be told from none, which leaves the choice to SRV.
    let port = Some(port).filter(|port| *port != transport.default_port());
    resolver.locate(&host, port, Some(transport)).await
}

/// The outbound proxy first, then the Service-Route.
pub fn route(settings: &TrunkSettings, transport: &str, service_route: &[String]) -> Vec<String> {
    let proxy = settings.proxy.as_deref().and_then(|proxy| host_port(proxy).ok()).map(|(host, port)| {
        let host = bracketed(&host);
        let port = port.filter(|port| *port != default_port(transport));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("<sip:{host}{port}{};lr>", transport_parameter(transport))
    });
    proxy.into_iter().chain(service_route.iter().cloned()).collect()
}

/// The host of the Request-URI, with the port where the trunk's own host is meant and its port is not the usual one.
fn request_domain(row: &TrunkRow) -> String {
    match &row.settings.request_domain {
        Some(domain) => bracketed(domain),
        None if row.port == default_port(&row.transport) => bracketed(&row.host),
        None => format!("{}:{}", bracketed(&row.host), row.port),
    }
}

fn identity_uri(row: &TrunkRow, caller: &str) -> String {
    match caller.starts_with("sip:") || caller.starts_with("sips:") {
        true => caller.to_owned(),
        false => format!("sip:{caller}@{}", bracketed(row.settings.from_domain(&row.host))),
    }
}

/// UDP is what a URI without it means (RFC 3261 section 19.1.1).
fn transport_parameter(transport: &str) -> &'static str {
    match transport {
        "tcp" => ";transport=tcp",
        "tls" => ";transport=tls",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trunk::{Refresher, tests_row as row};

    fn written(row: &TrunkRow, caller: &str, service_route: &[&str]) -> String {
        let service_route: Vec<String> = service_route.iter().map(|it| (*it).to_owned()).collect();
        let lines = lines(row, "+12025550123", caller, &service_route);
        let display = lines.from_display.map(|it| format!("\"{it}\" ")).unwrap_or_default();
        let mut text = format!("INVITE {}\n", lines.request_uri);
        for route in lines.route {
            text += &format!("Route: {route}\n");
        }
        text += &format!("From: {display}<{}>\nTo: <{}>\n", lines.from_uri, lines.to_uri);
        for (name, value) in lines.headers {
            text += &format!("{name}: {value}\n");
        }
        text
    }

    const OWN: &str = "+12025550100";
    const OTHER: &str = "+12025550177";

    #[test]
    fn the_default_asserts_the_caller_beside_from() {
        insta::assert_snapshot!(written(&row(|_| {}), OTHER, &[]), @"
        INVITE sip:+12025550123@sip.carrier.example
        From: <sip:+12025550177@sip.carrier.example>
        To: <sip:+12025550123@sip.carrier.example>
        P-Asserted-Identity: <sip:+12025550177@sip.carrier.example>
        ");
    }

    #[test]
    fn from_alone() {
        let row = row(|row| row.settings.identity = Identity::From);
        insta::assert_snapshot!(written(&row, OTHER, &[]), @"
        INVITE sip:+12025550123@sip.carrier.example
        From: <sip:+12025550177@sip.carrier.example>
        To: <sip:+12025550123@sip.carrier.example>
        ");
    }

    #[test]
    fn remote_party_id() {
        let row = row(|row| row.settings.identity = Identity::Rpid);
        insta::assert_snapshot!(written(&row, OTHER, &[]), @"
        INVITE sip:+12025550123@sip.carrier.example
        From: <sip:+12025550177@sip.carrier.example>
        To: <sip:+12025550123@sip.carrier.example>
        Remote-Party-ID: <sip:+12025550177@sip.carrier.example>;party=calling;screen=yes;privacy=off
        ");
    }

    #[test]
    fn a_withheld_number_is_known_to_the_carrier_alone() {
        let pai = row(|row| row.settings.privacy = Privacy::Id);
        insta::assert_snapshot!(written(&pai, OTHER, &[]), @r#"
        INVITE sip:+12025550123@sip.carrier.example
        From: "Anonymous" <sip:anonymous@anonymous.invalid>
        To: <sip:+12025550123@sip.carrier.example>
        P-Asserted-Identity: <sip:+12025550177@sip.carrier.example>
        Privacy: id
        "#);
        let rpid = row(|row| {
            row.settings.privacy = Privacy::Id;
            row.settings.identity = Identity::Rpid;
        });
        insta::assert_snapshot!(written(&rpid, OTHER, &[]), @r#"
        INVITE sip:+12025550123@sip.carrier.example
        From: "Anonymous" <sip:anonymous@anonymous.invalid>
        To: <sip:+12025550123@sip.carrier.example>
        Remote-Party-ID: <sip:+12025550177@sip.carrier.example>;party=calling;screen=yes;privacy=full
        Privacy: id
        "#);
        let from = row(|row| {
            row.settings.privacy = Privacy::Id;
            row.settings.identity = Identity::From;
        });
        insta::assert_snapshot!(written(&from, OTHER, &[]), @r#"
        INVITE sip:+12025550123@sip.carrier.example
        From: "Anonymous" <sip:anonymous@anonymous.invalid>
        To: <sip:+12025550123@sip.carrier.example>
        Privacy: id
        "#);
    }

    #[test]
    fn diversion_names_the_trunks_own_number_where_another_is_shown() {
        let row = row(|row| row.settings.diversion = true);
        insta::assert_snapshot!(written(&row, OTHER, &[]), @"
        INVITE sip:+12025550123@sip.carrier.example
        From: <sip:+12025550177@sip.carrier.example>
        To: <sip:+12025550123@sip.carrier.example>
        P-Asserted-Identity: <sip:+12025550177@sip.carrier.example>
        Diversion: <sip:+12025550100@sip.carrier.example>;reason=unconditional;counter=1;privacy=off
        ");
        assert!(!written(&row, OWN, &[]).contains("Diversion"));
    }

    #[test]
    fn proxy_domains_and_realm_are_four_things() {
        let row = row(|row| {
            row.settings.proxy = Some("edge.carrier.example:5070".into());
            row.settings.request_domain = Some("acme.carrier.example".into());
            row.settings.from_domain = Some("acme.example".into());
            row.settings.realm = Some("carrier".into());
            row.settings.session_timer.refresher = Refresher::Local;
            row.password = Some(crate::secret::Secret::from("secret".to_owned()));
        });
        insta::assert_snapshot!(written(&row, OTHER, &["<sip:orig@core.carrier.example;lr>"]), @"
        INVITE sip:+12025550123@acme.carrier.example
        Route: <sip:edge.carrier.example:5070;lr>
        Route: <sip:orig@core.carrier.example;lr>
        From: <sip:+12025550177@acme.example>
        To: <sip:+12025550123@acme.carrier.example>
        P-Asserted-Identity: <sip:+12025550177@acme.example>
        ");
        assert_eq!(row.credentials().and_then(|it| it.realm).as_deref(), Some("carrier"));
        assert_eq!(next_hop(&row, &route(&row.settings, "udp", &[])), ("edge.carrier.example".into(), 5070));
        assert_eq!(own_uri(&row), "sip:4915@acme.example");
        assert_eq!(peer_uri(&row), "sip:acme.carrier.example");
    }

    #[test]
    fn hosts_ports_and_transports_in_uris() {
        let table = [
            ("udp", "sip.example", 5060, "sip:x@sip.example"),
            ("udp", "sip.example", 5061, "sip:x@sip.example:5061"),
            ("tcp", "192.0.2.1", 5060, "sip:x@192.0.2.1;transport=tcp"),
            ("tls", "sip.example", 5061, "sip:x@sip.example;transport=tls"),
            ("tls", "sip.example", 5060, "sip:x@sip.example:5060;transport=tls"),
            ("udp", "2001:db8::1", 5070, "sip:x@[2001:db8::1]:5070"),
        ];
        for (transport, host, port, expected) in table {
            let row = row(|row| (row.transport, row.host, row.port) = (transport.into(), host.into(), port));
            assert_eq!(lines(&row, "x", OWN, &[]).request_uri, expected);
        }
        let plain = row(|_| {});
        assert_eq!(next_hop(&plain, &[]), ("sip.carrier.example".into(), 5060));
        assert_eq!(next_hop(&plain, &["<sip:[2001:db8::1];lr>".into()]), ("2001:db8::1".into(), 5060));
        assert_eq!(lines(&plain, "sip:bob@elsewhere.example", OWN, &[]).to_uri, "sip:bob@elsewhere.example");
    }

    proptest::proptest! {
        /// Whatever the settings: no header ends early, every URI can be read.
        #[test]
        fn what_is_written_is_one_line_and_can_be_read(
            caller in "[+]?[0-9]{2,15}",
            identity in 0..3_usize,
            withheld in proptest::bool::ANY,
            diversion in proptest::bool::ANY,
            domain in proptest::option::of("[a-z]{1,10}(\\.[a-z]{1,10}){0,3}"),
        ) {
            let row = row(|row| {
                row.settings.identity = [Identity::From, Identity::Pai, Identity::Rpid][identity];
                row.settings.privacy = if withheld { Privacy::Id } else { Privacy::None };
                row.settings.diversion = diversion;
                row.settings.from_domain = domain;
            });
            let lines = lines(&row, &caller, &caller, &[]);
            for uri in [&lines.request_uri, &lines.to_uri, &lines.from_uri] {
                proptest::prop_assert!(sip::Uri::parse(uri).is_ok(), "{}", uri);
            }
            proptest::prop_assert!(lines.headers.iter().all(|(_, value)| !value.contains(['\r', '\n'])));
            proptest::prop_assert_eq!(lines.from_uri.contains("anonymous"), withheld);
        }
    }
}
