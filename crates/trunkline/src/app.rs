//! Builds the App, serves it, drains it, ends it.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use call::TrunkKind;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api::{self, Door};
use crate::callers::Registrars;
use crate::config::{Config, EngineChoice, SpeechConfig};
use crate::dns::Resolver;
use crate::endpoint::{
    CertificateError, Certificates, Doors, Files, Limits, Listen, Trust, own_names, self_signed,
};
use crate::http;
use crate::insight::Keeper;
use crate::outward::Outward;
use crate::receive;
use crate::recordings;
use crate::refused::Refused;
use crate::registrar::Registrar;
use crate::rtp::Media;
use crate::secret::Secret;
use crate::sim::{self, Directory, GREETING, Network, Voices};
use crate::speech::Speech;
use crate::store::{Keep, MasterKey, Store, StoreError, TrunkRow};
use crate::switch::{self, Switch};
use crate::threads;
use crate::time::now_ms;
use crate::upkeep::{Means, Upkeep};
use crate::upload::Uploads;
use crate::webhook;

/// How long HTTP requests may go on once all calls have ended.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// The first look for what has been kept long enough, and the time between two.
const SWEEP_FIRST: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The time between two marks of life: by so much a call is cut short at most that a crash ends.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Everything that runs, for those who serve requests.
pub struct App {
    /// The settings.
    pub config: Config,
    /// Accounts, keys, trunks, calls.
    pub store: Store,
    /// The call loop.
    pub switch: Switch,
    /// Who is registered with us.
    pub registrar: Registrar,
    /// Registrations and health of the trunks.
    pub upkeep: Upkeep,
    /// Name lookups.
    pub resolver: Resolver,
    /// Text to speech.
    pub speech: Speech,
    /// Uploaded audio.
    pub uploads: Uploads,
    /// The simulated network, where it runs.
    pub sim: Option<Network>,
    /// The figures behind `/metrics`.
    pub metrics: PrometheusHandle,
    /// Unix ms.
    pub started_at: i64,
    /// Whether this was the very first start, which made the operator's key.
    pub made_key: bool,
    /// Where HTTP listens.
    pub http_address: SocketAddr,
}

impl App {
    /// Where recordings are kept.
    pub fn recordings_dir(&self) -> PathBuf {
        self.config.data_dir.join("recordings")
    }

    /// Which addresses may be reached on behalf of API callers.
    pub fn outward(&self) -> Outward {
        Outward { internal: self.config.allow_internal_http }
    }
}

/// The Unix socket of the server that works in `data_dir`.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("trunkline.sock")
}

/// Serves until SIGTERM or Ctrl-C, then drains; a second signal ends at once. The very first start makes the operator's
/// key and hands it to `show` at once: whatever comes between, nobody can see it again. Runs `started` beside the
/// server once everything is up.
pub async fn serve_with<F: Future<Output = ()> + Send + 'static>(
    config: Config,
    show: fn(&Secret),
    started: impl FnOnce(Arc<App>) -> F,
) -> Result<()> {
    let _lock = prepare(&config.data_dir)?;
    raise_file_limit(&config);
    let listener = TcpListener::bind(config.http_listen)
        .await
        .map_err(|e| port_error("http_listen", config.http_listen, &e))?;
    let unix = unix_listener(&socket_path(&config.data_dir))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let (app, media, switch_thread) = start(config, listener.local_addr()?, show).await?;
    let sips = app.switch.tls_address().map_or("off".to_owned(), |address| address.to_string());
    tracing::info!(http = %app.http_address, sip = %app.switch.address(), sips, "trunkline is ready");
    let (stop, stopped) = watch::channel(false);
    let tcp = api::router(app.clone(), Door::Tcp);
    let local: Router = api::router(app.clone(), Door::Unix);
    let tcp = tokio::spawn(http::serve(listener, tcp, until(stopped.clone())));
    let local = tokio::spawn(axum::serve(unix, local).with_graceful_shutdown(until(stopped)).into_future());
    let beside = tokio::spawn(started(app.clone()));
    let sweeping = tokio::spawn(sweep(app.clone()));
    let alive = tokio::spawn(mark_alive(app.store.clone()));
    let (stop_webhooks, webhooks_stopped) = watch::channel(false);
    let policy = webhook::Policy {
        first_retry: app.config.webhook_retry,
        attempts: app.config.webhook_attempts,
        max_age: app.config.webhook_max_age,
    };
    let delivering =
        tokio::spawn(webhook::deliver(app.store.clone(), app.outward(), policy, webhooks_stopped));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    beside.abort();
    sweeping.abort();
    tracing::info!(
        calls = app.switch.live(),
        grace_s = app.config.drain_grace.as_secs(),
        "stopping: no new calls"
    );
    app.upkeep.stop().await;
    tokio::select! {
        () = app.switch.drain(app.config.drain_grace) => {}
        _ = terminate.recv() => tracing::warn!("stopping at once"),
        _ = interrupt.recv() => tracing::warn!("stopping at once"),
    }
    app.switch.drain(Duration::ZERO).await;
    let _ = stop.send(true);
    let _ = tokio::time::timeout(HTTP_GRACE, async { tokio::join!(tcp, local) }).await;
    let _ = tokio::task::spawn_blocking(move || switch_thread.join()).await;
    media.exit();
    app.store.flush().await;
    let _ = stop_webhooks.send(true);
    // What is not through by then is tried again after the next start.
    let _ = tokio::time::timeout(HTTP_GRACE, delivering).await;
    alive.abort();
    app.store.flush().await;
    let _ = std::fs::remove_file(socket_path(&app.config.data_dir));
    tracing::info!("stopped");
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn start(
    config: Config,
    http_address: SocketAddr,
    show: fn(&Secret),
) -> Result<(Arc<App>, Media, std::thread::JoinHandle<()>)> {
    // Another provider may have been installed by a library's test; either serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = PrometheusBuilder::new().install_recorder().context("metrics cannot be started")?;
    crate::metrics::describe();
    let store = open_store(&config).await?;
    let bootstrap = store.bootstrap(config.demo, config.bootstrap_key.as_ref()).await?;
    if let Some(key) = &bootstrap.new_key {
        show(key);
    }
    store.fix_realms(&config.realm()).await?;
    store.set_provider(config.provider.as_ref()).await?;
    check_reach(&config, &store)?;
    recordings::recover(&store, &config.data_dir.join("recordings")).await?;
    let (ended, saved) = store.orphans().await?;
    if ended > 0 || !saved.is_empty() {
        tracing::warn!(
            calls = ended,
            legs = saved.len(),
            "the last run did not end properly: its calls are ended now"
        );
    }
    let speech = Speech::new(&config.speech, config.data_dir.join("speech"));
    let uploads = Uploads::new(config.data_dir.join("uploads"));
    if config.demo {
        uploads.seed_demo()?;
    }

    let media = Media::start(config.sip_listen.ip(), config.rtp_ports.clone(), threads::processors())?;
    let listen = Listen { address: config.sip_listen, external: config.external_ip, tcp: true };
    let resolver = Resolver::new(&config.dns_servers, config.sip_listen.ip())
        .map_err(|why| anyhow::anyhow!("dns_servers: {why}"))?;
    let trust = Trust::load(config.tls_ca_file.as_deref())
        .map_err(|why| anyhow::anyhow!("tls_ca_file: {why} (TRUNKLINE_TLS_CA_FILE)"))?;
    let registrars = Arc::new(Registrars::default());
    let setup = switch::Setup {
        listen,
        doors: doors(&config, &trust)?,
        trust: trust.clone(),
        resolver: resolver.clone(),
        media: media.clone(),
        store: store.clone(),
        max_calls: config.max_calls,
        recordings: config.data_dir.join("recordings"),
        saved,
        bindings: config.data_dir.join("bindings.db"),
        registrars: registrars.clone(),
        domain: config.sip_domain.clone(),
        trusted: config
            .shield
            .then(|| config.shield_trusted.iter().filter_map(|it| it.parse().ok()).collect()),
        keeper: Keeper::start(store.clone(), config.insight),
    };
    let (switch, thread) =
        Switch::start(setup).map_err(|e| port_error("sip_listen", config.sip_listen, &e))?;
    let sim = match config.demo {
        true => Some(simulate(&config, &media, &switch).await?),
        false => None,
    };
    let upkeep = Upkeep::new(
        Means { switch: switch.clone(), resolver: resolver.clone(), trust, registrars },
        store.clone(),
    );
    upkeep.refresh();
    let app = App {
        upkeep,
        started_at: now_ms(),
        made_key: bootstrap.new_key.is_some(),
        config,
        store,
        registrar: switch.registrar().clone(),
        switch,
        resolver,
        speech,
        uploads,
        sim,
        metrics,
        http_address,
    };
    let app = Arc::new(app);
    attend(&app);
    Ok((app, media, thread))
}

/// From now on says what happens to calls that come in, and to those who ask for another. To be called inside a tokio
/// runtime.
pub(crate) fn attend(app: &Arc<App>) {
    let (weak, tokio) = (Arc::downgrade(app), Handle::current());
    app.switch.on_arrival(Box::new(move |arrival| match weak.upgrade() {
        Some(app) => receive::begin(&app, &tokio, arrival),
        None => Some(Err(stopping())),
    }));
    let (weak, tokio) = (Arc::downgrade(app), Handle::current());
    app.switch.on_referral(Box::new(move |referral| match weak.upgrade() {
        Some(app) => receive::refer(&app, &tokio, referral),
        None => Some(Err(stopping())),
    }));
}

fn stopping() -> Refused {
    Refused::new(503, "stopping", "The server is stopping.")
}

/// TLS with the certificate of the settings, or one made here, and who is let in.
fn doors(config: &Config, trust: &Trust) -> Result<Doors> {
    let tls = match config.sips_listen() {
        Some(address) => {
            let certificates = certificates(config, trust)?;
            let listener =
                mio::net::TcpListener::bind(address).map_err(|e| port_error("sips_listen", address, &e))?;
            Some((listener, certificates))
        }
        None => None,
    };
    let limits =
        Limits { connections: config.sip_connections, per_source: config.sip_connections_per_source };
    Ok(Doors { tls, origins: config.web_origins.clone(), limits })
}

fn certificates(config: &Config, trust: &Trust) -> Result<Certificates> {
    let files = match (&config.tls_cert_file, &config.tls_key_file) {
        (Some(chain), Some(key)) => Files { chain: chain.clone(), key: key.clone() },
        _ => {
            let addresses = [Some(config.sip_listen.ip()), config.external_ip].into_iter().flatten();
            self_signed(&config.data_dir, &own_names(&config.sip_domain, addresses))
                .map_err(|why| anyhow::anyhow!("data_dir: no TLS certificate can be made: {why}"))?
        }
    };
    Certificates::load(files, trust.clone()).map_err(|error| match error {
        CertificateError::Chain(why) => anyhow::anyhow!("tls_cert_file: {why} (TRUNKLINE_TLS_CERT_FILE)"),
        CertificateError::Key(why) => anyhow::anyhow!("tls_key_file: {why} (TRUNKLINE_TLS_KEY_FILE)"),
    })
}

/// The database under its master key. A key that was made just now fits no database that was there before: then it is
/// not left behind, to be taken for the right one.
async fn open_store(config: &Config) -> Result<Store> {
    let file = config.master_key_file();
    let had_key = config.master_key.is_some() || file.exists();
    let master = MasterKey::load(config.master_key.as_ref(), &file)?;
    match Store::open(&config.database_url(), &master).await {
        Err(StoreError::MasterKey) if !had_key => {
            std::fs::remove_file(&file).with_context(|| format!("{} cannot be removed", file.display()))?;
            bail!(
                "the database is there, but not its master key: bring back {}, or give the key in master_key \
                 (TRUNKLINE_MASTER_KEY)",
                file.display()
            );
        }
        opened => Ok(opened?),
    }
}

/// Notes now and then that this process is alive, once for all calls.
async fn mark_alive(store: Store) {
    let mut turns = tokio::time::interval(ALIVE_EVERY);
    loop {
        turns.tick().await;
        store.mark_alive();
    }
}

/// Forgets what has been kept long enough, now and then.
async fn sweep(app: Arc<App>) {
    let keep = Keep {
        calls: app.config.keep_calls,
        recordings: app.config.keep_recordings,
        events: app.config.keep_events,
        pending: Some(app.config.webhook_max_age),
    };
    tokio::time::sleep(SWEEP_FIRST).await;
    loop {
        match app.store.sweep(&keep, &app.recordings_dir()).await {
            Ok(swept) if swept == crate::store::Swept::default() => {}
            Ok(swept) => tracing::info!(?swept, "removed what has been kept long enough"),
            Err(error) => tracing::error!(%error, "what has been kept long enough cannot be removed"),
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

async fn simulate(config: &Config, media: &Media, switch: &Switch) -> Result<Network> {
    let directory = directory(config)?;
    // Always offline: no paid engine is asked for what nobody ordered. Without one callees answer with a tone.
    let offline = SpeechConfig { engine: EngineChoice::Flite, ..SpeechConfig::default() };
    let speech = Speech::new(&offline, config.data_dir.join("speech"));
    let voices = Arc::new(Voices::default());
    if learn(&speech, &voices, GREETING).await {
        // The start does not wait for the rest; who calls at once hears a tone in its place.
        let (texts, voices) = (directory.texts(), voices.clone());
        tokio::spawn(async move {
            for text in texts.iter().filter(|text| *text != GREETING) {
                learn(&speech, &voices, text).await;
            }
        });
    }
    let switch = switch.clone();
    let report = Box::new(move |call, heard| switch.heard(call, heard));
    // Both ends must be of one address family: an IPv6 socket does not reach 127.0.0.1.
    let listen = match (config.sip_listen, config.sim_listen) {
        (SocketAddr::V6(_), SocketAddr::V4(sim)) if sim.ip().is_loopback() => {
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), sim.port())
        }
        (_, sim) => sim,
    };
    let voicemail = config.data_dir.join("voicemail");
    let setup = sim::Setup { listen, media: media.clone(), directory, voices, voicemail, report };
    Network::start(setup).map_err(|e| port_error("sim_listen", listen, &e))
}

/// Whether a text could be rendered for the callees.
async fn learn(speech: &Speech, voices: &Voices, text: &str) -> bool {
    let spoken = speech.say(text, None, Some("en-US")).await;
    spoken.is_ok_and(|spoken| {
        voices.learn(text, spoken.clip);
        true
    })
}

/// Who answers at which number, one's own callees included.
pub fn directory(config: &Config) -> Result<Directory> {
    let Some(path) = &config.sim_callees else { return Ok(Directory::new(&[])?) };
    let own = sim::directory::read(path).and_then(|own| Directory::new(&own));
    own.map_err(|error| anyhow::anyhow!("sim_callees: {}: {error} (TRUNKLINE_SIM_CALLEES)", path.display()))
}

/// Each call needs two sockets, a recording and a share of the rest; a simulated one needs two more. Each connection of
/// SIP is one.
fn raise_file_limit(config: &Config) {
    let wanted = config.max_calls as u64 * 6 + config.sip_connections as u64 + 256;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < wanted => {
            tracing::warn!(
                limit,
                wanted,
                "too few open files are allowed for max_calls and sip_connections; raise the limit (ulimit -n)"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be read"),
    }
}

/// The data folder, private to its owner, and the lock that keeps a second server out of it.
fn prepare(data_dir: &Path) -> Result<File> {
    let create = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let folders = ["recordings", "uploads", "speech", "voicemail"].map(|name| data_dir.join(name));
    for path in std::iter::once(data_dir.to_owned()).chain(folders) {
        create(&path).with_context(|| format!("data_dir: {} cannot be created", path.display()))?;
    }
    // A folder that was there before may be open to others; what is kept in it is nobody else's.
    std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("data_dir: {} is not ours to protect", data_dir.display()))?;
    let lock = File::create(data_dir.join("lock"))
        .with_context(|| format!("data_dir: {} is not writable", data_dir.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => bail!(
            "data_dir: another trunkline is running in {}; stop it or set another data_dir",
            data_dir.display()
        ),
    }
}

fn unix_listener(path: &Path) -> Result<UnixListener> {
    // The lock is ours, so whatever socket lies here is a dead server's.
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("data_dir: cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn port_error(key: &str, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let variable = key.to_uppercase();
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{key}: {address} is in use by another program; stop it or set {key} (TRUNKLINE_{variable}) to another address"
        ),
        _ => anyhow::anyhow!("{key}: cannot listen on {address}: {error} (TRUNKLINE_{variable})"),
    }
}

/// A trunk elsewhere cannot be reached from sockets bound to loopback: said at the start, not by the first call.
fn check_reach(config: &Config, store: &Store) -> Result<()> {
    let accounts = store.accounts();
    let trunks: Vec<TrunkRow> = accounts.iter().flat_map(|account| store.trunks(account.id)).collect();
    let real = trunks.iter().filter(|trunk| trunk.enabled && trunk.kind == TrunkKind::Sip);
    config.check(real.map(|trunk| trunk.host.as_str()))?;
    Ok(())
}
