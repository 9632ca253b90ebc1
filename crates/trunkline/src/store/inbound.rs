//! Which trunk a call comes from: what cannot be told apart is refused when it is configured, never guessed.

use ipnet::IpNet;

use super::directory::Tables;
use super::snapshot::Snapshot;
use super::{Account, TrunkRow};
use crate::refused::Refused;

/// What a call from either of two trunks would show, where it would be the same.
fn alike(one: &TrunkRow, one_realm: &str, other: &TrunkRow, other_realm: &str) -> Option<String> {
    let (a, b) = (&one.settings.inbound, &other.settings.inbound);
    let overlap = a.sources.iter().find(|net| b.sources.iter().any(|other| overlaps(net, other)));
    let apart = !a.sources.is_empty() && !b.sources.is_empty() && overlap.is_none();
    let differ = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
    if apart || differ(&a.username, &b.username) || differ(&a.tls_name, &b.tls_name) {
        return None;
    }
    if let Some(net) = overlap {
        return Some(format!("come from {net}"));
    }
    if let (Some(name), Some(_)) = (&a.username, &b.username)
        && one_realm == other_realm
    {
        return Some(format!("present the user {name}"));
    }
    a.tls_name
        .as_ref()
        .filter(|_| b.tls_name.is_some())
        .map(|name| format!("present a certificate for {name}"))
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether domain or number tell calls for two accounts apart that are alike in all else.
fn told_apart(tables: &Tables, one: &Account, other: &Account) -> bool {
    if one.domain.is_some() && other.domain.is_some() {
        return true;
    }
    let known =
        |account: &Account| account.domain.is_some() || tables.numbers_of(account.id).next().is_some();
    let shared = tables.numbers_of(one.id).any(|row| tables.e164.get(other.id, &row.number).is_some());
    known(one) && known(other) && !shared
}

fn refused(own: &str, what: &str, other: &str) -> Refused {
    Refused::new(409, "trunk_ambiguous", format!("Calls that {what} could be from {own} or from {other}."))
        .hint("Give each inbound sources, a username or a tls_name that the other has not; accounts can also differ in domain, or in numbers.")
}

/// Refuses an enabled trunk whose calls could be another's. Another account's trunk is never named.
pub(super) fn check_trunk(memory: &Snapshot, tables: &Tables, trunk: &TrunkRow) -> Result<(), Refused> {
    let Some(account) = memory.account(trunk.account).filter(|_| trunk.calls_in()) else { return Ok(()) };
    for other in memory.inbound().iter().filter(|other| other.id != trunk.id) {
        let Some(theirs) = memory.account(other.account) else { continue };
        let Some(what) = alike(trunk, &account.realm, other, &theirs.realm) else { continue };
        if other.account == trunk.account {
            return Err(refused("this trunk", &what, &format!("the trunk {:?}", other.name)));
        }
        if !told_apart(tables, account, theirs) {
            return Err(refused("this trunk", &what, "another account's trunk"));
        }
    }
    if let Some(name) = &trunk.settings.inbound.username {
        let accounts = memory.accounts_of_realm(&account.realm);
        let mut users = tables.usernames.all(name).iter();
        if users.any(|user| accounts.binary_search(&user.account).is_ok()) {
            let message = format!("The inbound username {name:?} is a user's already.");
            return Err(Refused::new(409, "trunk_ambiguous", message).hint("Give the trunk another."));
        }
    }
    Ok(())
}

/// Refuses a user name that a trunk of the same realm calls in with.
pub(super) fn check_username(memory: &Snapshot, account: &Account, username: &str) -> Result<(), Refused> {
    let accounts = memory.accounts_of_realm(&account.realm);
    let mut trunks = memory.inbound().iter().filter(|trunk| accounts.binary_search(&trunk.account).is_ok());
    if trunks.any(|trunk| trunk.settings.inbound.username.as_deref() == Some(username)) {
        let message = format!("A trunk calls in with the user name {username:?}.");
        return Err(Refused::new(409, "user_exists", message).hint("Give the user another."));
    }
    Ok(())
}

/// Refuses a number of `account` that another account has too, where their calls come from the same place.
pub(super) fn check_number(
    memory: &Snapshot,
    tables: &Tables,
    account: &Account,
    number: &str,
) -> Result<(), Refused> {
    let others = tables.e164.all(number).iter().filter_map(|row| memory.account(row.account));
    for other in others.filter(|other| other.id != account.id) {
        if account.domain.is_some() && other.domain.is_some() {
            continue;
        }
        check_pair(memory, account, other, |what| {
            let message = format!(
                "Another account has the number {number} too, and calls for either {what}: nothing tells them apart."
            );
            Refused::new(409, "number_ambiguous", message)
                .hint("Give both accounts a domain, or their trunks different inbound settings.")
        })?;
    }
    Ok(())
}

/// Refuses a change of an account's domain after which calls could be another account's.
pub(super) fn check_account(memory: &Snapshot, tables: &Tables, account: &Account) -> Result<(), Refused> {
    let mut others: Vec<i64> = memory.inbound().iter().map(|trunk| trunk.account).collect();
    others.sort_unstable();
    others.dedup();
    let others = others.into_iter().filter(|other| *other != account.id).filter_map(|id| memory.account(id));
    for other in others.filter(|other| !told_apart(tables, account, other)) {
        check_pair(memory, account, other, |what| refused("this account", &what, "another account"))?;
    }
    Ok(())
}

fn check_pair(
    memory: &Snapshot,
    account: &Account,
    other: &Account,
    refusal: impl Fn(String) -> Refused,
) -> Result<(), Refused> {
    let of = |id: i64| memory.inbound().iter().filter(move |trunk| trunk.account == id);
    for own in of(account.id) {
        let mut clashes = of(other.id).filter_map(|theirs| alike(own, &account.realm, theirs, &other.realm));
        if let Some(what) = clashes.next() {
            return Err(refusal(what));
        }
    }
    Ok(())
}
