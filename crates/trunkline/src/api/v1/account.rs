//! `/v1/account`: what an account may do.

use axum::Json as Reply;
use axum::extract::State;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Whose, given};
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::body::{Asked, Json};
use crate::api::reply::store_failed;
use crate::refused::Refused;
use crate::store::Account as Row;

/// Entries a list of destinations may have.
const MOST: usize = 500;
const COUNTRIES: &str =
    "the ISO 3166 code of a country such as US or GB, 001 for international toll-free numbers, or *";
const PREFIXES: &str = "the beginning of numbers such as +4930, !+4930 to refuse them, or *";
const REGION: &str = "the ISO 3166 code of a country such as US or GB, or null";
/// What limits may be set to.
const LIMIT: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// An account.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "id": 1, "name": "ACME Corp", "domain": "acme.example.com", "realm": "acme.example.com",
    "limits": {
        "max_calls": 20, "calls_per_second": 2, "max_duration_s": 3600, "max_users": 100, "max_registrations": 300,
    },
    "destinations": { "countries": ["US", "CA"], "prefixes": ["+4930", "!+1876"], "region": "US" },
}))]
pub(super) struct Account {
    /// 0 is the operator's own.
    id: i64,
    name: String,
    /// Its own SIP domain: what phones register with.
    domain: Option<String>,
    /// The digest realm of its users, fixed when the account was made.
    realm: String,
    limits: Limits,
    destinations: Destinations,
}

/// How much an account may call; null where only the server's own limits hold.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Calls at once.
    max_calls: Option<u32>,
    /// New calls in one second.
    calls_per_second: Option<u32>,
    /// Seconds after which an answered call is hung up.
    max_duration_s: Option<u32>,
    /// SIP users.
    max_users: Option<u32>,
    /// Phones registered at once, of all its users together.
    max_registrations: Option<u32>,
}

/// Whom an account may call over real trunks. Where neither list allows anything, the server's settings do; where
/// those do not either, the country of the account's own caller ID.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Destinations {
    /// ISO 3166 codes, `*` for all.
    countries: Vec<String>,
    /// Beginnings of numbers: `+4930` may be called, `!+4930` may not, `*` is all; the longest that fits decides,
    /// whatever the country. Premium and satellite numbers are called only where an entry is the whole number.
    prefixes: Vec<String>,
    /// The country by which numbers without `+` are read.
    region: Option<String>,
}

impl Account {
    pub(super) fn id(&self) -> i64 {
        self.id
    }
}

impl From<Row> for Account {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            domain: row.domain,
            realm: row.realm,
            limits: Limits {
                max_calls: row.max_calls,
                calls_per_second: row.calls_per_second,
                max_duration_s: row.max_duration_s,
                max_users: row.max_users,
                max_registrations: row.max_registrations,
            },
            destinations: Destinations {
                countries: row.countries,
                prefixes: row.prefixes,
                region: row.region,
            },
        }
    }
}

/// What to change; what is left out stays, null empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "limits": { "max_calls": 20 }, "destinations": { "countries": ["US", "CA"], "prefixes": ["!+1876"] },
}))]
pub(super) struct AccountPatch {
    /// 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub(super) name: Option<String>,
    /// A host name that no other account has.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 253)]
    pub(super) domain: Option<Option<String>>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = Option<LimitsPatch>)]
    pub(super) limits: Option<LimitsPatch>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = Option<DestinationsPatch>)]
    pub(super) destinations: Option<DestinationsPatch>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    max_calls: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    calls_per_second: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    max_duration_s: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    max_users: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000000)]
    max_registrations: Option<Option<u32>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationsPatch {
    #[schema(max_items = 500)]
    countries: Option<Vec<String>>,
    #[schema(max_items = 500)]
    prefixes: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    region: Option<Option<String>>,
}

/// serde would read an array as the fields in their order.
pub(super) fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let Some(object) = Option::<serde_json::Map<_, _>>::deserialize(from)? else { return Ok(None) };
    let read = serde_path_to_error::deserialize(serde_json::Value::from(object));
    read.map(Some).map_err(|error| serde::de::Error::custom(format!("`{}`: {}", error.path(), error.inner())))
}

/// Get the account
#[utoipa::path(get, path = "/v1/account", tag = "account", params(Whose),
    responses((status = OK, description = "The account.", body = Account)))]
pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
) -> Result<Reply<Account>, Refused> {
    let id = caller.account(whose.account)?;
    api.app.store.account(id).map(|row| Reply(row.into())).ok_or_else(|| missing(id))
}

/// Change the account
///
/// Operators only: limits and destinations are what the operator grants.
#[utoipa::path(patch, path = "/v1/account", tag = "account", params(Whose), request_body = AccountPatch,
    responses((status = OK, description = "The account as it is now.", body = Account)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Asked(whose): Asked<Whose>,
    Json(asked): Json<AccountPatch>,
) -> Result<Reply<Account>, Refused> {
    let id = caller.account(whose.account)?;
    caller.operator("change what an account may do")?;
    let mut row = api.app.store.account(id).ok_or_else(|| missing(id))?;
    asked.apply(&mut row)?;
    store(&api, row).await
}

/// Stores a changed account and answers it as it is kept.
pub(super) async fn store(api: &Api, row: Row) -> Result<Reply<Account>, Refused> {
    api.app.store.update_account(&row).await.map_err(store_failed)?;
    api.app.store.account(row.id).map(|row| Reply(row.into())).ok_or_else(|| missing(row.id))
}

pub(super) fn missing(id: i64) -> Refused {
    Refused::missing("account_not_found", format!("There is no account {id}."))
}

impl AccountPatch {
    pub(super) fn apply(self, row: &mut Row) -> Result<(), Refused> {
        if let Some(name) = self.name {
            if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
                return Err(wrong("name", "1 to 64 characters, none of them a control character"));
            }
            row.name = name;
        }
        if let Some(domain) = self.domain {
            row.domain = domain;
        }
        if let Some(limits) = self.limits {
            for (name, given, place) in [
                ("limits.max_calls", limits.max_calls, &mut row.max_calls),
                ("limits.calls_per_second", limits.calls_per_second, &mut row.calls_per_second),
                ("limits.max_duration_s", limits.max_duration_s, &mut row.max_duration_s),
                ("limits.max_users", limits.max_users, &mut row.max_users),
                ("limits.max_registrations", limits.max_registrations, &mut row.max_registrations),
            ] {
                let Some(given) = given else { continue };
                if given.is_some_and(|limit| !LIMIT.contains(&limit)) {
                    return Err(wrong(name, "a number from 1 to 1000000, or null"));
                }
                *place = given;
            }
        }
        let Some(destinations) = self.destinations else { return Ok(()) };
        if let Some(countries) = destinations.countries {
            row.countries = list("destinations.countries", COUNTRIES, countries, call::policy::country)?;
        }
        if let Some(prefixes) = destinations.prefixes {
            let read = |text: &str| call::Prefix::parse(text).map(|prefix| prefix.to_string());
            row.prefixes = list("destinations.prefixes", PREFIXES, prefixes, read)?;
        }
        if let Some(region) = destinations.region {
            let read = |text: String| {
                call::policy::region(&text).ok_or_else(|| wrong_entry("destinations.region", &text, REGION))
            };
            row.region = region.map(read).transpose()?;
        }
        Ok(())
    }
}

fn list(
    field: &str,
    expected: &str,
    given: Vec<String>,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Refused> {
    if given.len() > MOST {
        return Err(wrong(field, &format!("up to {MOST} entries")));
    }
    let read = |(n, text): (usize, String)| {
        read(&text).ok_or_else(|| wrong_entry(&format!("{field}[{n}]"), &text, expected))
    };
    given.into_iter().enumerate().map(read).collect()
}

fn wrong_entry(field: &str, given: &str, expected: &str) -> Refused {
    let given: String = given.chars().take(64).collect();
    Refused::bad("invalid_field", format!("The field `{field}` is {given:?}; expected {expected}."))
}

fn wrong(field: &str, expected: &str) -> Refused {
    Refused::bad("invalid_field", format!("The field `{field}` is wrong; expected {expected}."))
}
