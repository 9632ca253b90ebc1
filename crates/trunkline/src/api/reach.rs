//! How phones reach the SIP server: what is typed into them beside user name and password.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};

use super::{Api, Door};
use crate::store::UserRow;
use crate::trunk::{bracketed, check_host};

/// What a phone of a user needs to know.
pub(super) struct Reach {
    /// The user's address.
    pub(super) uri: String,
    /// The part behind the `@`.
    pub(super) domain: String,
    /// Host and port to send to (outbound proxy).
    pub(super) server: String,
    /// How it can be reached there, or at [`Self::web`].
    pub(super) transports: Vec<&'static str>,
    /// Where browsers connect to over WebSocket.
    pub(super) web: Option<String>,
    /// Where browsers connect to over secure WebSocket.
    pub(super) secure_web: Option<String>,
    /// What keeps phones from reaching it.
    pub(super) warning: Option<String>,
}

impl Reach {
    /// `asked` is the host under which the asker reached us.
    pub(super) fn new(api: &Api, asked: Option<&str>, user: &UserRow) -> Self {
        let config = &api.app.config;
        let account = api.app.store.account(user.account);
        let of_server = Some(config.sip_domain.clone()).filter(|domain| domain != "localhost");
        let named = account.and_then(|account| account.domain).or(of_server);
        let listen = api.app.switch.address();
        let address = config.external_ip.or(Some(listen.ip()).filter(|ip| !ip.is_unspecified()));
        let address = address.map(|ip| ip.to_string()).or_else(|| asked.map(ToOwned::to_owned));
        let host = bracketed(&address.or_else(|| named.clone()).unwrap_or_else(|| listen.ip().to_string()));
        let domain = named.unwrap_or_else(|| host.clone());
        let warning = listen.ip().is_loopback().then(|| {
            "SIP listens on loopback, which only this machine can reach: set sip_listen to 0.0.0.0:5060."
                .to_owned()
        });
        let at = |address: SocketAddr| format!("{host}:{}", address.port());
        Self {
            uri: format!("sip:{}@{domain}", user.username),
            domain,
            server: at(listen),
            transports: addresses(api).into_iter().map(|(transport, _)| transport).collect(),
            web: api.app.switch.tcp_address().map(|address| format!("ws://{}", at(address))),
            secure_web: api.app.switch.tls_address().map(|address| format!("wss://{}", at(address))),
            warning,
        }
    }
}

/// Where SIP listens, by transport. WebSockets are taken at the ports of TCP and TLS.
pub(super) fn addresses(api: &Api) -> Vec<(&'static str, SocketAddr)> {
    let switch = &api.app.switch;
    let (tcp, tls) = (switch.tcp_address(), switch.tls_address());
    let all = [("udp", Some(switch.address())), ("tcp", tcp), ("tls", tls), ("ws", tcp), ("wss", tls)];
    all.into_iter().filter_map(|(transport, address)| Some((transport, address?))).collect()
}

/// The host that an HTTP request names, where it came over the network.
pub(super) fn asked_host<'a>(api: &Api, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(header::HOST).filter(|_| api.door == Door::Tcp)?.to_str().ok()?;
    let end = host.rfind(':').filter(|end| !host.get(*end..).is_some_and(|port| port.contains(']')));
    let host = end.map_or(host, |end| host.get(..end).unwrap_or(host));
    check_host(host).is_ok().then(|| host.trim_matches(['[', ']']))
}
