use super::*;

const TEMPLATE: &str = include_str!("../../../../trunkline.toml");

/// The settings that a file and an environment give.
fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, file).unwrap();
    Config::load(Some(&path), env.iter().map(|(name, value)| (name.to_string(), value.to_string())))
}

/// The error's line, without the folder of the test.
fn error(file: &str, env: &[(&str, &str)]) -> String {
    let text = load(file, env).unwrap_err().to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    match (text.find('/'), text.find("t.toml")) {
        (Some(0), Some(name)) => text[name..].to_owned(),
        _ => text,
    }
}

#[test]
fn the_template_lists_every_key_with_its_default() {
    assert!(TEMPLATE.parse::<toml::Table>().unwrap().is_empty(), "everything is commented out");
    // Settings are commented with "#", prose with "# ".
    let set: String = TEMPLATE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty()))
        .map(|line| format!("{}\n", line.unwrap_or_default()))
        .collect();
    let table: toml::Table = set.parse().unwrap();
    let names: Vec<String> = keys::KEYS.iter().map(|key| key.name.to_owned()).collect();
    let mut listed = Vec::new();
    for line in set.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            listed.extend(table[name].as_table().unwrap().keys().map(|key| format!("{name}.{key}")));
        } else if let Some((key, _)) = line.split_once(" = ")
            && table.contains_key(key)
        {
            listed.push(key.to_owned());
        }
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(listed), sorted(names));
    // Only the host is missing for the provider's defaults to make one.
    let with_provider = load(&set, &[("SIP_PROVIDER_HOST", "sip.example.com")]).unwrap();
    let provider = Provider { host: "sip.example.com".into(), port: Some(5060), ..Provider::default() };
    assert_eq!(with_provider, Config { provider: Some(provider), ..Config::default() });
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(load("", &[("PATH", "/bin"), ("TRUNKLINE_DEMO", "")]).unwrap(), Config::default());
    let config = Config::default();
    assert_eq!(config.database_url(), "sqlite://./data/trunkline.db");
    assert_eq!(config.master_key_file(), Path::new("./data/master.key"));
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = "http_listen = \"0.0.0.0:80\"\nmax_calls = 5\ndemo = false\ncountries = [\"us\", \"DE\"]\n\
                ring_timeout = \"90s\"\n[speech]\nengine = \"espeak\"\n[provider]\nhost = \"sip.example.com\"\nport = 5070";
    let env = [
        ("TRUNKLINE_MAX_CALLS", "7"),
        ("TRUNKLINE_SPEECH_ENGINE", "flite"),
        ("SIP_PROVIDER_HOST", "sip.example.net"),
        ("SIP_USERNAME", "me"),
        ("SIP_PASSWORD", "geheim"),
        ("SIP_TRANSPORT", "TCP"),
        ("GOOGLE_API_KEY", "old"),
        ("TRUNKLINE_SPEECH_GOOGLE_API_KEY", "new"),
        ("TRUNKLINE_PUBLIC_URL", "https://voice.example.com/"),
        ("TRUNKLINE_KEY", "tl_of_the_shell"),
        ("TRUNKLINE_TEST_POSTGRES", "postgres://x"),
        ("TRUNKLINE_RTP_PORTS", "20000-20100"),
    ];
    let config = load(file, &env).unwrap();
    assert_eq!(config.http_listen.to_string(), "0.0.0.0:80");
    assert_eq!((config.max_calls, config.demo), (7, false));
    assert_eq!(config.countries, ["US", "DE"]);
    assert_eq!(config.ring_timeout, Duration::from_secs(90));
    assert_eq!(config.rtp_ports, 20000..=20100);
    assert_eq!(config.public_url.as_deref(), Some("https://voice.example.com"));
    assert_eq!(config.speech.engine, EngineChoice::Flite);
    assert_eq!(config.speech.google_api_key.as_ref().unwrap().expose(), "new");
    let provider = config.provider.clone().unwrap();
    assert_eq!((&*provider.host, provider.port(), &*provider.transport), ("sip.example.net", 5070, "tcp"));
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn an_error_says_which_key_what_was_given_and_what_is_expected() {
    insta::assert_snapshot!(error("http_lisen = \"127.0.0.1:3000\"", &[]), @"t.toml: unknown key http_lisen; did you mean http_listen?");
    insta::assert_snapshot!(error("[speach]\nengine = \"auto\"", &[]), @"t.toml: unknown key speach.engine; did you mean speech.engine?");
    insta::assert_snapshot!(error("[speech.deep]\nengine = 1", &[]), @"t.toml: unknown key speech.deep");
    insta::assert_snapshot!(error("[zzz]", &[]), @"t.toml: unknown key zzz");
    insta::assert_snapshot!(error("", &[("TRUNKLINE_SIP_LISTN", "x")]), @"environment: unknown variable TRUNKLINE_SIP_LISTN; did you mean TRUNKLINE_SIP_LISTEN?");
    insta::assert_snapshot!(error("http_listen = 3000", &[]), @r#"t.toml: http_listen is "3000"; expected an IP address and port such as 127.0.0.1:3000"#);
    insta::assert_snapshot!(error("countries = [\"US\", \"XX\"]", &[]), @r#"t.toml: countries is "XX"; expected ISO 3166 codes of countries such as US or GB (* for all)"#);
    insta::assert_snapshot!(error("", &[("TRUNKLINE_REGION", "UK")]), @r#"environment: TRUNKLINE_REGION is "UK"; expected the ISO 3166 code of one country such as US or GB"#);
    insta::assert_snapshot!(error("demo = \n", &[]), @"t.toml: line 1: string values must be quoted, expected literal string");
    insta::assert_snapshot!(error("", &[("TRUNKLINE_MASTER_KEY", "short")]), @"environment: TRUNKLINE_MASTER_KEY is ***; expected 32 bytes in hex or base64");
    insta::assert_snapshot!(error("", &[("SIP_PROVIDER_PORT", "0")]), @r#"environment: SIP_PROVIDER_PORT is "0"; expected a port from 1 to 65535"#);
    insta::assert_snapshot!(error("", &[("SIP_USERNAME", "me")]), @"a SIP provider is given without its host; set SIP_PROVIDER_HOST (or host in [provider]), or remove the rest");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let table = [
        ("TRUNKLINE_SIP_LISTEN", &["5060", "localhost:5060", "127.0.0.1", "127.0.0.1:99999"][..]),
        ("TRUNKLINE_RTP_PORTS", &["16384", "2-1", "80-90", "20000-20000", "20001-20002", "a-b", "1-70000"]),
        ("TRUNKLINE_SIPS_LISTEN", &["5061", "on", "localhost:5061"]),
        (
            "TRUNKLINE_WEB_ORIGINS",
            &["phone.example.com", "https://x/page", "https://x,y", "://x", "https://a b"],
        ),
        ("TRUNKLINE_SIP_CONNECTIONS", &["0", "many", "1000001"]),
        ("TRUNKLINE_SIP_CONNECTIONS_PER_SOURCE", &["-1", "many"]),
        ("TRUNKLINE_EXTERNAL_IP", &["example.com", "1.2.3"]),
        ("TRUNKLINE_SIP_DOMAIN", &["a b", "a\nb"]),
        ("TRUNKLINE_DEMO", &["yes", "2"]),
        ("TRUNKLINE_DATABASE_URL", &["mysql://x", "data.db"]),
        ("TRUNKLINE_BOOTSTRAP_KEY", &["short", "with blanks in it"]),
        ("TRUNKLINE_PUBLIC_URL", &["example.com", "ftp://x", "https://", "https:///"]),
        ("TRUNKLINE_COUNTRIES", &["USA", "US;DE", "1", "US,XX", "UK"]),
        ("TRUNKLINE_PREFIXES", &["49", "+0", "+4930,x"]),
        ("TRUNKLINE_REGION", &["*", "001", "Germany", "XX"]),
        ("TRUNKLINE_MAX_CALLS", &["0", "-1", "100001", "many"]),
        (
            "TRUNKLINE_RING_TIMEOUT",
            &["0s", "60", "-5s", "1d", "99999999999999999999s", "18446744073709551615h"],
        ),
        ("TRUNKLINE_KEEP_CALLS", &["0d", "1.5d", "90", "never", "40000d"]),
        ("TRUNKLINE_KEEP_RECORDINGS", &["d", "-1d"]),
        ("TRUNKLINE_WEBHOOK_ATTEMPTS", &["0", "101", "many"]),
        ("TRUNKLINE_LOG", &["trunkline=loud"]),
        ("TRUNKLINE_LOG_FORMAT", &["xml"]),
        ("TRUNKLINE_PROVIDER_PROXY", &["sip:example.com", "example.com:0"]),
        ("TRUNKLINE_PROVIDER_CODECS", &["g729", "pcmu,pcmu"]),
        ("TRUNKLINE_PROVIDER_PING_S", &["1", "often"]),
        ("TRUNKLINE_PROVIDER_CHANNELS", &["0", "many"]),
        ("TRUNKLINE_PROVIDER_CALLS_PER_SECOND", &["0", "fast"]),
        ("SIP_REGISTER", &["yes"]),
        ("SIP_PROVIDER_HOST", &["sip:example.com", "example.com:5060", "a b"]),
        ("SIP_TRANSPORT", &["sctp"]),
        ("TRUNKLINE_SPEECH_ENGINE", &["festival"]),
        ("TRUNKLINE_SPEECH_LANGUAGE", &["english language", "e", "en_US"]),
        ("TRUNKLINE_SPEECH_OPENAI_URL", &["localhost:8880"]),
    ];
    for (name, values) in table {
        for value in values {
            let line = error("", &[(name, value)]);
            assert!(line.contains(name) && line.contains("expected"), "{name}={value:?}: {line}");
        }
    }
}

#[test]
fn tls_listens_beside_sip_unless_told() {
    for (file, expected) in [
        ("", Some("127.0.0.1:5061")),
        ("sip_listen = \"0.0.0.0:5070\"", Some("0.0.0.0:5071")),
        ("sip_listen = \"127.0.0.1:0\"", Some("127.0.0.1:0")),
        ("sip_listen = \"127.0.0.1:65535\"", None),
        ("sips_listen = \"0.0.0.0:443\"", Some("0.0.0.0:443")),
        ("sips_listen = \"off\"", None),
    ] {
        let address = load(file, &[]).unwrap().sips_listen();
        assert_eq!(address, expected.map(|address| address.parse().unwrap()), "{file}");
    }
}

#[test]
fn a_certificate_comes_with_its_key() {
    insta::assert_snapshot!(error("tls_cert_file = \"c.pem\"", &[]), @"tls_cert_file (TRUNKLINE_TLS_CERT_FILE) is set, but not tls_key_file (TRUNKLINE_TLS_KEY_FILE); a certificate is of use with its key only");
    insta::assert_snapshot!(error("", &[("TRUNKLINE_TLS_KEY_FILE", "k.pem")]), @"tls_key_file (TRUNKLINE_TLS_KEY_FILE) is set, but not tls_cert_file (TRUNKLINE_TLS_CERT_FILE); a certificate is of use with its key only");
    let both = load(
        "tls_cert_file = \"c.pem\"\ntls_key_file = \"k.pem\"\nweb_origins = [\"https://Phone.example.com\"]",
        &[],
    );
    assert_eq!(both.unwrap().web_origins, ["https://phone.example.com"]);
}

#[test]
fn a_named_file_must_be_there() {
    let missing = Path::new("/nonexistent/t.toml");
    let error = Config::load(Some(missing), std::iter::empty()).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
}

#[test]
fn a_trunk_outside_needs_more_than_loopback() {
    let config = Config::default();
    assert!(
        config
            .check(["127.0.0.1", "localhost", "LOCALHOST.", "pbx.localhost", "::1", "[::1]", "127.9.9.9"])
            .is_ok()
    );
    for outside in ["sip.example.com", "192.0.2.1", "localhost.example.com", "2001:db8::1"] {
        assert!(config.check(["127.0.0.1", outside]).is_err(), "{outside}");
    }
    insta::assert_snapshot!(config.check(["sip.example.com"]).unwrap_err(), @"trunk sip.example.com is outside this machine, but sip_listen (TRUNKLINE_SIP_LISTEN) is 127.0.0.1:5060, which only this machine can reach; set sip_listen (TRUNKLINE_SIP_LISTEN) to 0.0.0.0:5060 (SIP and RTP both bind its address)");
    let everywhere = Config { sip_listen: "0.0.0.0:5060".parse().unwrap(), ..Config::default() };
    assert!(everywhere.check(["sip.example.com"]).is_ok());
}

#[test]
fn the_provider_has_settings_that_go_together() {
    let host = ("SIP_PROVIDER_HOST", "sip.example.com");
    let set = [
        host,
        ("SIP_TRANSPORT", "tls"),
        ("SIP_USERNAME", "me"),
        ("SIP_REGISTER", "1"),
        ("TRUNKLINE_PROVIDER_SRTP", "required"),
        ("TRUNKLINE_PROVIDER_CODECS", "pcma, pcmu"),
    ];
    let provider = load("[provider]\nchannels = 4\ncalls_per_second = 0.5", &set).unwrap().provider.unwrap();
    let settings = &provider.settings;
    assert_eq!((provider.port(), settings.register, settings.channels), (5061, true, Some(4)));
    assert_eq!(settings.calls_per_second, Some(0.5));
    assert_eq!(settings.codecs, [crate::trunk::CodecName::Pcma, crate::trunk::CodecName::Pcmu]);
    let error = |set: &[(&str, &str)]| load("", set).unwrap_err().to_string();
    let plain = error(&[host, ("TRUNKLINE_PROVIDER_SRTP", "required")]);
    assert!(plain.contains("settings.srtp") && plain.contains("transport to tls"), "{plain}");
    assert!(error(&[host, ("SIP_REGISTER", "1")]).contains("username"));
}
