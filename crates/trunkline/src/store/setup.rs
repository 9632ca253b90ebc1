//! What happens at start: the master key's proof, the first rows, the settings' trunk.

use std::sync::Arc;

use call::TrunkKind;
use sqlx::{AnyConnection, AnyPool, Row};

use super::trunks::{self, FROM_SETTINGS};
use super::{
    Country, MasterKey, NewKey, NewTrunk, NumberRow, OPERATOR, Store, StoreError, Target, TrunkRow, next_id,
    numbers,
};
use crate::config::Provider;
use crate::flow::Step;
use crate::secret::Secret;
use crate::time::now_ms;
use crate::trunk::TrunkSettings;

/// Where the proof that a master key is the right one is sealed for.
const PROOF: &str = "0/facts/master_key/value";

/// What the first start made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bootstrap {
    /// The operator's key, if one was generated: to be shown now, for nothing else knows it.
    pub new_key: Option<Secret>,
}

/// Refuses a master key that cannot open what another one sealed.
pub(super) async fn check_master_key(pool: &AnyPool, master: &MasterKey) -> Result<(), StoreError> {
    let sealed = master.seal(&Secret::from("trunkline".to_owned()), PROOF)?;
    sqlx::query("INSERT INTO facts (name, value) VALUES ('master_key', $1) ON CONFLICT (name) DO NOTHING")
        .bind(sealed)
        .execute(pool)
        .await?;
    let mut connection = pool.acquire().await?;
    compare_master_key(&mut connection, master).await
}

/// As [`check_master_key`], for a database that has been in use.
pub(super) async fn compare_master_key(
    connection: &mut AnyConnection,
    master: &MasterKey,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT value FROM facts WHERE name = 'master_key'").fetch_one(connection).await?;
    let sealed: String = row.try_get("value")?;
    master.open(&sealed, PROOF).map(|_| ()).map_err(|_| StoreError::MasterKey)
}

impl Store {
    /// The first start makes the operator's account and key (`operator_key`, or a generated one). With `demo` it makes
    /// customer 1 "ACME Corp" with number 1 `+15551234567`, and for both accounts the trunk "sim", their default one.
    /// On later starts simulated trunks are enabled or disabled as `demo` says.
    pub async fn bootstrap(
        &self,
        demo: bool,
        operator_key: Option<&Secret>,
    ) -> Result<Bootstrap, StoreError> {
        let mut first = Bootstrap::default();
        {
            let _changing = self.0.changing.lock().await;
            self.insert_account(OPERATOR, "Operator").await?;
            let made = self.insert_demo(demo).await?;
            sqlx::query("UPDATE trunks SET enabled = $1 WHERE kind = 'simulated' AND enabled <> $1")
                .bind(i64::from(demo))
                .execute(&self.0.writes)
                .await?;
            self.refresh().await?;
            if made {
                tracing::info!("made the example customer and the simulated trunks");
            }
        }
        if self.keys(None).await?.iter().any(|key| key.operator) {
            return Ok(first);
        }
        let new = NewKey { account: OPERATOR, name: "operator".into(), operator: true, ..NewKey::default() };
        match operator_key {
            Some(key) => {
                self.insert_key(new, key).await?;
            }
            None => first.new_key = Some(self.create_key(new).await?.1),
        }
        Ok(first)
    }

    async fn insert_account(&self, id: i64, name: &str) -> Result<(), StoreError> {
        let insert = "INSERT INTO accounts (id, name, countries, created_at) VALUES ($1, $2, '[]', $3) \
                      ON CONFLICT (id) DO NOTHING";
        sqlx::query(insert).bind(id).bind(name.to_owned()).bind(now_ms()).execute(&self.0.writes).await?;
        Ok(())
    }

    /// Makes the demonstration's rows once; what was deleted of them since stays deleted.
    async fn insert_demo(&self, demo: bool) -> Result<bool, StoreError> {
        let made =
            sqlx::query("SELECT value FROM facts WHERE name = 'demo'").fetch_optional(&self.0.writes).await?;
        if !demo || made.is_some() {
            return Ok(false);
        }
        // Where there is a customer 1 already, what it has is its own.
        let customer = self.account(1).is_none();
        if customer {
            self.insert_account(1, "ACME Corp").await?;
        }
        let password = super::keys::generate()?;
        let mut change = self.0.writes.begin().await?;
        let number = match customer {
            true => Some(demo_number(&mut change).await?),
            false => None,
        };
        for account in [OPERATOR, 1].into_iter().filter(|account| *account == OPERATOR || customer) {
            let sim = NewTrunk {
                account,
                name: "sim".into(),
                kind: TrunkKind::Simulated,
                // The simulated network has a port of the day; nobody resolves this name (RFC 6761 section 6.4).
                host: "sim.invalid".into(),
                username: Some("sim".into()),
                password: Some(password.clone()),
                is_default: true,
                ..NewTrunk::default()
            };
            trunks::put(&mut change, &sim.into_row()?, &self.0.master).await?;
        }
        sqlx::query("INSERT INTO facts (name, value) VALUES ('demo', 'made')").execute(&mut *change).await?;
        change.commit().await?;
        if let Some(number) = number {
            self.directory().change(|tables| tables.put_number(Arc::new(number)));
        }
        Ok(true)
    }

    /// Makes the settings' SIP provider the default trunk "provider" of the operator and of every account that has no
    /// real default trunk of its own; without one in the settings, disables "provider" and lets the simulated trunk be
    /// the default again where there is none.
    pub async fn set_provider(&self, provider: Option<&Provider>) -> Result<(), StoreError> {
        let _changing = self.0.changing.lock().await;
        let mut change = self.0.writes.begin().await?;
        for account in self.accounts() {
            let trunks = self.trunks(account.id);
            let present = trunks.iter().find(|trunk| trunk.name == FROM_SETTINGS);
            let own = trunks
                .iter()
                .any(|trunk| trunk.is_default && trunk.kind == TrunkKind::Sip && trunk.name != FROM_SETTINGS);
            let next = match (provider, present) {
                (Some(provider), Some(present)) => {
                    let is_default = account.id == OPERATOR || !own;
                    Some(TrunkRow { is_default, ..provided(provider, present.clone()) })
                }
                (Some(provider), None) if account.id == OPERATOR || !own => {
                    let new =
                        NewTrunk { account: account.id, name: FROM_SETTINGS.into(), ..NewTrunk::default() };
                    Some(TrunkRow { is_default: true, ..provided(provider, new.into_row()?) })
                }
                (Some(_), None) => None,
                (None, present) => {
                    present.map(|trunk| TrunkRow { enabled: false, is_default: false, ..trunk.clone() })
                }
            };
            if let Some(next) = next {
                trunks::put(&mut change, &next, &self.0.master).await?;
            }
            let others = trunks.iter().filter(|trunk| trunk.name != FROM_SETTINGS);
            let default_left = others.clone().any(|trunk| trunk.is_default);
            let sim = others.clone().find(|trunk| trunk.kind == TrunkKind::Simulated && trunk.enabled);
            // Only when the settings themselves take their trunk back: a trunk somebody deleted is not replaced by it.
            let taken_back =
                provider.is_none() && present.is_some_and(|trunk| trunk.enabled && trunk.is_default);
            if let Some(sim) = sim.filter(|_| taken_back && !default_left) {
                let sim = TrunkRow { is_default: true, ..sim.clone() };
                trunks::put(&mut change, &sim, &self.0.master).await?;
            }
        }
        change.commit().await?;
        self.refresh().await
    }
}

/// The example customer's number, which greets whoever calls.
async fn demo_number(change: &mut AnyConnection) -> Result<NumberRow, StoreError> {
    let text = "Hello, this is ACME Corporation. Calls to this number work.".into();
    let number = NumberRow {
        id: next_id(change, "numbers").await?,
        account: 1,
        number: "+15551234567".into(),
        name: String::new(),
        trunk: None,
        route: vec![Target::Flow(vec![Step::Say { text, voice: None, language: None }])],
        created_at: now_ms(),
        country: Country::default(),
    };
    numbers::insert(change, &number).await?;
    Ok(number)
}

/// `trunk` as the settings want it.
fn provided(provider: &Provider, trunk: TrunkRow) -> TrunkRow {
    TrunkRow {
        host: provider.host.clone(),
        port: provider.port(),
        transport: provider.transport.clone(),
        username: provider.username.clone(),
        password: provider.password.clone(),
        caller_id: provider.caller_id.clone(),
        // Who calls in is said through the API.
        settings: TrunkSettings { inbound: trunk.settings.inbound.clone(), ..provider.settings.clone() },
        enabled: true,
        ..trunk
    }
}
