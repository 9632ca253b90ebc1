//! HTTP to addresses that API callers name: never into the network this server stands in.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};

use crate::refused::Refused;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// IPv4 that is not the public Internet: the IANA special-purpose registry (RFC 6890), multicast and what is reserved.
const NOT_PUBLIC_V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// The IPv6 that is the public Internet (RFC 4291 section 2.4) …
const PUBLIC_V6: &str = "2000::/3";
/// … without protocol assignments and Teredo, documentation, and 6to4, which leads to any IPv4.
const NOT_PUBLIC_V6: &[&str] = &["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];
/// IPv4 behind a translator (RFC 6052 section 2.1): as public as the IPv4 in it.
const TRANSLATED: &str = "64:ff9b::/96";

struct Ranges {
    not_public_v4: Vec<Ipv4Net>,
    public_v6: Option<Ipv6Net>,
    not_public_v6: Vec<Ipv6Net>,
    translated: Option<Ipv6Net>,
}

static RANGES: LazyLock<Ranges> = LazyLock::new(|| Ranges {
    not_public_v4: NOT_PUBLIC_V4.iter().filter_map(|text| text.parse().ok()).collect(),
    public_v6: PUBLIC_V6.parse().ok(),
    not_public_v6: NOT_PUBLIC_V6.iter().filter_map(|text| text.parse().ok()).collect(),
    translated: TRANSLATED.parse().ok(),
});

/// Whether an address belongs to the public Internet.
pub fn is_public(address: IpAddr) -> bool {
    let ranges = &*RANGES;
    match address.to_canonical() {
        IpAddr::V4(address) => !ranges.not_public_v4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) if ranges.translated.is_some_and(|net| net.contains(&address)) => {
            is_public(embedded(address))
        }
        IpAddr::V6(address) => {
            ranges.public_v6.is_some_and(|net| net.contains(&address))
                && !ranges.not_public_v6.iter().any(|net| net.contains(&address))
        }
    }
}

fn embedded(address: Ipv6Addr) -> IpAddr {
    let [.., a, b, c, d] = address.octets();
    IpAddr::from([a, b, c, d])
}

/// Which addresses may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outward {
    /// Internal ones too (`allow_internal_http`).
    pub internal: bool,
}

impl Outward {
    /// Refuses what is no `http` or `https` URL, holds a password, or names an internal address. A name that leads
    /// inside is refused when it is resolved.
    pub fn check(self, text: &str) -> Result<Url, Refused> {
        let bad = |message: &str| Refused::bad("invalid_url", format!("The field `url` {message}."));
        // The parser drops tabs and line ends, the text would keep them.
        if text.chars().any(char::is_control) {
            return Err(bad("holds a control character"));
        }
        let url = Url::parse(text).map_err(|error| bad(&format!("is no URL: {error}")))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(bad("must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("holds a user name or password")
                .hint("Requests are signed instead: check the header webhook-signature."));
        }
        if url.fragment().is_some() {
            return Err(bad("has a fragment (#…), which is never sent"));
        }
        match url.host_str() {
            None => Err(bad("names no host")),
            Some(host) if self.permits_host(host) => Ok(url),
            Some(_) => Err(internal()),
        }
    }

    /// Whether a URL's host may be reached as far as its text tells.
    fn permits_host(self, host: &str) -> bool {
        if self.internal {
            return true;
        }
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => is_public(address),
            Err(_) => {
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                let inside = |end: &str| name == end || name.ends_with(&format!(".{end}"));
                // Names that no public server has (RFC 6761, RFC 6762, RFC 8375).
                !["localhost", "local", "internal", "home.arpa"].into_iter().any(inside) && name.contains('.')
            }
        }
    }

    /// Refuses what [`Outward::check`] refuses, and a name that has only internal addresses, or none.
    pub async fn check_reachable(self, text: &str) -> Result<Url, Refused> {
        let url = self.check(text)?;
        let host =
            url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if self.internal || host.parse::<IpAddr>().is_ok() {
            return Ok(url);
        }
        match resolve(host).await {
            Ok(addresses) if addresses.iter().any(|address| is_public(address.ip())) => Ok(url),
            Ok(addresses) if addresses.is_empty() => Err(unknown()),
            Ok(_) => Err(internal()),
            Err(_) => Err(unknown()),
        }
    }

    /// A client that follows no redirect, uses no proxy and connects to permitted addresses only, whatever a name
    /// resolves to at that moment. Check each URL with [`Outward::check`] as well: literals are not resolved.
    pub fn client(self, timeout: Duration) -> reqwest::Result<Client> {
        // The first to come installs it; that another one did is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .user_agent(concat!("trunkline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(timeout)
            .pool_max_idle_per_host(8)
            .dns_resolver(Arc::new(self))
            .build()
    }
}

impl Resolve for Outward {
    fn resolve(&self, name: Name) -> Resolving {
        let internal = self.internal;
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found = resolve(host).await?;
            let permitted: Vec<SocketAddr> =
                found.into_iter().filter(|address| internal || is_public(address.ip())).collect();
            if permitted.is_empty() {
                return Err("the name leads to no address that may be reached".into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

async fn resolve(host: String) -> std::io::Result<Vec<SocketAddr>> {
    let looked_up = tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, 0))).await;
    Ok(looked_up.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??.collect())
}

fn internal() -> Refused {
    Refused::bad("internal_address", "The field `url` leads into a private or reserved network.")
        .hint("Use a public address, or set allow_internal_http = true (TRUNKLINE_ALLOW_INTERNAL_HTTP=1).")
}

fn unknown() -> Refused {
    Refused::bad("unknown_host", "The field `url` names a host that cannot be found.")
        .hint("Check its spelling.")
}

/// Whether every entry of the tables above is a range.
#[cfg(test)]
fn tables_are_sound() -> bool {
    let ranges = NOT_PUBLIC_V4.iter().chain(NOT_PUBLIC_V6).chain([&PUBLIC_V6, &TRANSLATED]);
    ranges.into_iter().all(|text| text.parse::<ipnet::IpNet>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        assert!(tables_are_sound());
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let internal = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for address in internal {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn urls_are_checked_by_what_they_mean() {
        let outward = Outward { internal: false };
        for url in [
            "https://example.com/hook?a=b",
            "http://example.com:8080",
            "https://8.8.8.8/",
            "https://[2606:4700:4700::1111]/",
        ] {
            assert!(outward.check(url).is_ok(), "{url}");
        }
        let inside = [
            "http://localhost/",
            "http://LOCALHOST.:80/",
            "http://a.localhost/",
            "http://intranet/",
            "http://printer.local/",
            "http://metadata.google.internal/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://10.1.2.3:9200/",
        ];
        for url in inside {
            assert_eq!(outward.check(url).unwrap_err().code, "internal_address", "{url}");
            assert!(Outward { internal: true }.check(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "example.com",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://u:p@example.com/",
            "http://u@example.com/",
            "http://example.com/#x",
            "http://",
            "unix:/run/x",
            "http://exa mple.com/",
            "http://exam\r\nple.com/",
        ] {
            assert_eq!(outward.check(url).unwrap_err().code, "invalid_url", "{url}");
            assert!(Outward { internal: true }.check(url).is_err(), "{url}");
        }
    }

    /// A name that led outside when it was checked and leads inside when it is called.
    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let client = Outward { internal: false }.client(Duration::from_secs(5)).unwrap();
        let error = client.get(&url).send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        assert!(listener.accept().is_err(), "nobody has called");
        assert!(
            Outward { internal: false }
                .check_reachable("http://localhost.localdomain.invalid/")
                .await
                .is_err()
        );
    }
}
