//! Trunks: where calls go out. Passwords are sealed, each for its own row.

use call::TrunkKind;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::numbers::check_unused;
use super::{Ha1, MasterKey, OPERATOR, Store, StoreError, id_of, inbound, json, parsed};
use crate::id::Id;
use crate::refused::Refused;
use crate::secret::Secret;
use crate::time::now_ms;
use crate::trunk::{self, TrunkSettings};

/// The name of the trunk that the settings make.
pub(super) const FROM_SETTINGS: &str = "provider";

/// A way out.
#[derive(Clone, Debug, PartialEq)]
pub struct TrunkRow {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub account: i64,
    /// What people call it; unique within the account.
    pub name: String,
    /// Real or simulated.
    pub kind: TrunkKind,
    /// Host name or IP address.
    pub host: String,
    /// SIP port, 1 to 65535.
    pub port: u16,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// User name of the digest.
    pub username: Option<String>,
    /// Password of the digest; sealed at rest.
    pub password: Option<Secret>,
    /// `md5` or `sha-256`: the one algorithm answered where a challenge offers both.
    pub digest: String,
    /// How it wants numbers written: `+e164`, `e164`, `national` or `as-given`.
    pub number_form: String,
    /// Put before every number.
    pub prefix: Option<String>,
    /// The number shown where a call names none.
    pub caller_id: Option<String>,
    /// Lower is tried first.
    pub priority: i32,
    /// Whether it is tried before all others; one of an account's at most.
    pub is_default: bool,
    /// Whether it may be used.
    pub enabled: bool,
    /// How it wants to be spoken to.
    pub settings: TrunkSettings,
    /// What its `inbound` user presents when it calls in, for the account's realm; sealed at rest.
    pub inbound_ha1: Option<Ha1>,
    /// Unix ms.
    pub created_at: i64,
}

impl TrunkRow {
    /// Whether calls that come in are tied to it.
    pub fn calls_in(&self) -> bool {
        self.enabled && self.kind == TrunkKind::Sip && self.settings.inbound.is_given()
    }

    /// Whether the settings make it: their provider, or the simulated network.
    pub(super) fn is_of_settings(&self) -> bool {
        self.kind == TrunkKind::Simulated || self.name == FROM_SETTINGS
    }

    /// The trunk as routes are planned over it.
    pub fn route(&self) -> call::Trunk {
        call::Trunk {
            id: self.id.to_string(),
            name: self.name.clone(),
            kind: self.kind,
            form: match self.number_form.as_str() {
                "e164" => call::NumberForm::E164,
                "national" => call::NumberForm::National,
                "as-given" => call::NumberForm::AsGiven,
                _ => call::NumberForm::PlusE164,
            },
            prefix: self.prefix.clone(),
            caller_id: self.caller_id.clone(),
            priority: self.priority,
            enabled: self.enabled,
            is_default: self.is_default,
        }
    }

    /// What answers the trunk's challenge, if it has a user name.
    pub fn credentials(&self) -> Option<sip::digest::Credentials> {
        Some(sip::digest::Credentials {
            username: self.username.clone()?,
            password: self.password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default(),
            realm: self.settings.realm.clone(),
            algorithm: match self.digest.as_str() {
                "sha-256" => sip::digest::Algorithm::Sha256,
                _ => sip::digest::Algorithm::Md5,
            },
        })
    }
}

/// A trunk to be made; the fields are those of [`TrunkRow`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "said at TrunkRow")]
pub struct NewTrunk {
    pub account: i64,
    pub name: String,
    pub kind: TrunkKind,
    pub host: String,
    pub port: u16,
    pub transport: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub digest: String,
    pub number_form: String,
    pub prefix: Option<String>,
    pub caller_id: Option<String>,
    pub priority: i32,
    pub is_default: bool,
    pub enabled: bool,
    pub settings: TrunkSettings,
}

impl Default for NewTrunk {
    /// An enabled SIP trunk over UDP port 5060 without name and host.
    fn default() -> Self {
        Self {
            account: OPERATOR,
            name: String::new(),
            kind: TrunkKind::Sip,
            host: String::new(),
            port: 5060,
            transport: "udp".into(),
            username: None,
            password: None,
            digest: "md5".into(),
            number_form: "+e164".into(),
            prefix: None,
            caller_id: None,
            priority: 10,
            is_default: false,
            enabled: true,
            settings: TrunkSettings::default(),
        }
    }
}

impl NewTrunk {
    pub(super) fn into_row(self) -> Result<TrunkRow, StoreError> {
        Ok(TrunkRow {
            id: Id::new()?,
            account: self.account,
            name: self.name,
            kind: self.kind,
            host: self.host,
            port: self.port,
            transport: self.transport,
            username: self.username,
            password: self.password,
            digest: self.digest,
            number_form: self.number_form,
            prefix: self.prefix,
            caller_id: self.caller_id,
            priority: self.priority,
            is_default: self.is_default,
            enabled: self.enabled,
            settings: self.settings,
            inbound_ha1: None,
            created_at: now_ms(),
        })
    }
}

/// A name stands in URLs, on the command line and beside ids, which it must not be taken for.
fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("The name is empty: give one such as acme.".into());
    }
    let known = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
    let shown: String = name.chars().take(80).collect();
    if name.len() > 64 || !name.chars().all(known) || name.trim() != name {
        return Err(format!(
            "The name is {shown:?}: a trunk's name has 1 to 64 letters, digits, dots, hyphens, underscores, and blanks \
             between them."
        ));
    }
    match Id::parse(name) {
        Some(_) => Err(format!("The name is {shown:?}, which could be an id: give another.")),
        None => Ok(()),
    }
}

fn kind_word(kind: TrunkKind) -> &'static str {
    match kind {
        TrunkKind::Sip => "sip",
        TrunkKind::Simulated => "simulated",
    }
}

/// The columns of what an inbound user presents.
const INBOUND_HA1: [&str; 2] = ["inbound_ha1_md5", "inbound_ha1_sha256"];

/// What a password's seal is bound to.
fn place(account: i64, id: Id) -> String {
    format!("{account}/trunks/{id}/password")
}

pub(super) fn from_row(row: &AnyRow, master: &MasterKey) -> Result<TrunkRow, StoreError> {
    let (id, account) = (id_of(row, "id")?, row.try_get("account")?);
    let sealed: Option<String> = row.try_get("password")?;
    let password = sealed.map(|sealed| master.open(&sealed, &place(account, id))).transpose()?;
    let port = row.try_get::<i64, _>("port")?;
    let priority = row.try_get::<i64, _>("priority")?;
    Ok(TrunkRow {
        id,
        account,
        name: row.try_get("name")?,
        kind: parsed(row, "kind", |word| match word {
            "sip" => Some(TrunkKind::Sip),
            "simulated" => Some(TrunkKind::Simulated),
            _ => None,
        })?,
        host: row.try_get("host")?,
        port: port.try_into().map_err(|_| StoreError::Value { field: "trunks.port" })?,
        transport: row.try_get("transport")?,
        username: row.try_get("username")?,
        password,
        digest: row.try_get("digest")?,
        number_form: row.try_get("number_form")?,
        prefix: row.try_get("prefix")?,
        caller_id: row.try_get("caller_id")?,
        priority: priority.try_into().map_err(|_| StoreError::Value { field: "trunks.priority" })?,
        is_default: row.try_get::<i64, _>("is_default")? != 0,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        settings: parsed(row, "settings", json)?,
        inbound_ha1: Ha1::open(row, INBOUND_HA1, master, &format!("{account}/trunks/{id}/inbound"))?,
        created_at: row.try_get("created_at")?,
    })
}

/// Writes a trunk, new or changed; a default one takes that from the account's others.
pub(super) async fn put(
    connection: &mut AnyConnection,
    trunk: &TrunkRow,
    master: &MasterKey,
) -> Result<(), StoreError> {
    if trunk.is_default {
        let others = "UPDATE trunks SET is_default = 0 WHERE account = $1 AND id <> $2";
        sqlx::query(others).bind(trunk.account).bind(trunk.id.to_string()).execute(&mut *connection).await?;
    }
    let settings =
        serde_json::to_string(&trunk.settings).map_err(|_| StoreError::Value { field: "trunks.settings" })?;
    let inbound = format!("{}/trunks/{}/inbound", trunk.account, trunk.id);
    let inbound = trunk.inbound_ha1.as_ref().map(|ha1| ha1.seal(master, &inbound)).transpose()?;
    let (inbound_md5, inbound_sha256) = inbound.unzip();
    let seal = |password: &Secret| master.seal(password, &place(trunk.account, trunk.id));
    let upsert = "INSERT INTO trunks (id, account, name, kind, host, port, transport, username, password, digest, \
                  number_form, prefix, caller_id, priority, is_default, enabled, created_at, settings, inbound_ha1_md5, \
                  inbound_ha1_sha256) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
                  ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, host = excluded.host, \
                  port = excluded.port, transport = excluded.transport, username = excluded.username, \
                  password = excluded.password, digest = excluded.digest, number_form = excluded.number_form, \
                  prefix = excluded.prefix, caller_id = excluded.caller_id, priority = excluded.priority, \
                  is_default = excluded.is_default, enabled = excluded.enabled, settings = excluded.settings, \
                  inbound_ha1_md5 = excluded.inbound_ha1_md5, inbound_ha1_sha256 = excluded.inbound_ha1_sha256";
    sqlx::query(upsert)
        .bind(trunk.id.to_string())
        .bind(trunk.account)
        .bind(trunk.name.clone())
        .bind(kind_word(trunk.kind))
        .bind(trunk.host.clone())
        .bind(i64::from(trunk.port))
        .bind(trunk.transport.clone())
        .bind(trunk.username.clone())
        .bind(trunk.password.as_ref().map(seal).transpose()?)
        .bind(trunk.digest.clone())
        .bind(trunk.number_form.clone())
        .bind(trunk.prefix.clone())
        .bind(trunk.caller_id.clone())
        .bind(i64::from(trunk.priority))
        .bind(i64::from(trunk.is_default))
        .bind(i64::from(trunk.enabled))
        .bind(trunk.created_at)
        .bind(settings)
        .bind(inbound_md5)
        .bind(inbound_sha256)
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Makes a trunk; refuses what is not valid and names that are taken.
    pub async fn create_trunk(&self, new: NewTrunk) -> Result<TrunkRow, StoreError> {
        let mut row = new.into_row()?;
        self.keep_trunk(&mut row, true).await?;
        Ok(row)
    }

    /// Changes a trunk to what `row` says (id, account and creation stay); false if there is none such.
    pub async fn update_trunk(&self, row: &TrunkRow) -> Result<bool, StoreError> {
        self.keep_trunk(&mut row.clone(), false).await
    }

    async fn keep_trunk(&self, row: &mut TrunkRow, new: bool) -> Result<bool, StoreError> {
        check(row)?;
        let _changing = self.0.changing.lock().await;
        let Some(account) = self.account(row.account) else {
            return Err(
                Refused::bad("account_not_found", format!("There is no account {}.", row.account)).into()
            );
        };
        let others = self.trunks(row.account);
        let before = others.iter().find(|trunk| trunk.id == row.id);
        if !new && before.is_none() {
            return Ok(false);
        }
        if others.iter().any(|trunk| trunk.id != row.id && trunk.name == row.name) {
            let message = format!("The account has a trunk named {:?} already.", row.name);
            return Err(Refused::new(409, "trunk_exists", message).into());
        }
        if row.name == FROM_SETTINGS && before.is_none_or(|trunk| trunk.name != FROM_SETTINGS) {
            let message = "The name \"provider\" is kept for the trunk that the settings make.";
            return Err(Refused::bad("invalid_trunk", message).into());
        }
        row.inbound_ha1 = inbound_ha1(row, before, &account.realm)?;
        inbound::check_trunk(&self.memory(), &self.directory().read(), row)?;
        let mut change = self.0.writes.begin().await?;
        put(&mut change, row, &self.0.master).await?;
        change.commit().await?;
        self.refresh().await?;
        Ok(true)
    }

    /// Removes a trunk of the account (or of anyone); false if there is none such. Calls keep its name; one that
    /// numbers name stays.
    pub async fn delete_trunk(&self, account: Option<i64>, id: Id) -> Result<bool, StoreError> {
        let _changing = self.0.changing.lock().await;
        let Some(trunk) = self.trunk(account, id) else { return Ok(false) };
        if trunk.kind == TrunkKind::Simulated {
            let message = "The simulated network's trunk belongs to the server and cannot be removed.";
            return Err(Refused::bad("simulated_trunk", message)
                .hint("Make another trunk the default, or start with demo = false.")
                .into());
        }
        let what = format!("trunk {}", trunk.name);
        check_unused(self.directory(), trunk.account, "trunk_in_use", &what, Vec::new(), |number| {
            number.trunk == Some(id)
        })?;
        sqlx::query("DELETE FROM trunks WHERE id = $1").bind(id.to_string()).execute(&self.0.writes).await?;
        self.refresh().await?;
        Ok(true)
    }
}

/// What the trunk's inbound user presents from now on; the password itself is given up.
fn inbound_ha1(
    row: &mut TrunkRow,
    before: Option<&TrunkRow>,
    realm: &str,
) -> Result<Option<Ha1>, StoreError> {
    let password = row.settings.inbound.password.take();
    let Some(username) = row.settings.inbound.username.clone() else { return Ok(None) };
    if let Some(password) = password {
        return Ha1::new(&username, realm, &password).map(Some);
    }
    let kept = before.filter(|before| before.settings.inbound.username.as_ref() == Some(&username));
    match kept.and_then(|before| before.inbound_ha1.clone()) {
        Some(ha1) => Ok(Some(ha1)),
        None => Err(Refused::bad("invalid_trunk", "settings.inbound.username: a new user needs a password.")
            .hint("Send settings.inbound.password with it.")
            .into()),
    }
}

fn check(trunk: &TrunkRow) -> Result<(), Refused> {
    let refuse = |message: String| Err(Refused::bad("invalid_trunk", message));
    let plain = |text: &str, most: usize, extra: &[u8]| {
        (1..=most).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    let quiet = |text: &str| text.len() <= 256 && !text.chars().any(char::is_control);
    check_name(&trunk.name).or_else(refuse)?;
    trunk::check_host(&trunk.host).or_else(|why| refuse(format!("The host {why}.")))?;
    if trunk.port == 0 {
        return refuse("The port must be from 1 to 65535.".into());
    }
    let words: [(&str, &str, &[&str]); 3] = [
        ("transport", &trunk.transport, &["udp", "tcp", "tls"]),
        ("digest", &trunk.digest, &["md5", "sha-256"]),
        ("number form", &trunk.number_form, &["+e164", "e164", "national", "as-given"]),
    ];
    for (what, given, known) in words {
        if !known.contains(&given) {
            return refuse(format!("The {what} {given:?} is not known; there are {}.", known.join(", ")));
        }
    }
    if trunk.prefix.as_deref().is_some_and(|prefix| !plain(prefix, 16, b"+*#")) {
        return refuse("The prefix has at most 16 digits, letters, +, * or #.".into());
    }
    if trunk.caller_id.as_deref().is_some_and(|number| !plain(number, 64, b"+*#._-")) {
        return refuse(
            "The caller ID must be a number such as +12025550123, or a name without blanks.".into(),
        );
    }
    let username = trunk.username.as_deref().unwrap_or_default();
    let password = trunk.password.as_ref().map(Secret::expose).unwrap_or_default();
    if !quiet(username) || !quiet(password) {
        return refuse("User name and password have at most 256 bytes and no control characters.".into());
    }
    trunk.settings.check(&trunk.transport, trunk.username.as_deref()).or_else(refuse)
}
