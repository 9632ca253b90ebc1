//! The phones of users and groups: where calls to them go.

use std::time::Duration;

use call::Number;

use super::Shows;
use crate::app::App;
use crate::store::{Account, Strategy, UserRow};
use crate::switch::{Dial, Target};
use crate::trunk::TrunkSettings;

/// Phones that ring at once: an engine's round has no more.
const MOST: usize = 16;

/// The phones to ring for a user or a group of the account, in rounds, each with how long it is to ring if that is
/// said; none where nobody is registered.
pub(super) fn named(
    app: &App,
    account: &Account,
    caller: &Shows,
    name: &str,
) -> Vec<(Vec<Dial>, Option<Duration>)> {
    let directory = app.store.directory();
    if let Some(user) = directory.user(account.id, name) {
        let dials = of_user(app, account, caller, &user);
        return if dials.is_empty() { Vec::new() } else { vec![(dials, None)] };
    }
    let Some(group) = directory.group_named(account.id, name) else { return Vec::new() };
    let timeout = Some(Duration::from_secs(group.timeout_s.into()));
    let members = group.members.iter().filter_map(|id| directory.user_by_id(account.id, *id));
    let mut rounds: Vec<Vec<Dial>> = members.map(|user| of_user(app, account, caller, &user)).collect();
    if group.strategy == Strategy::All {
        rounds = vec![rounds.into_iter().flatten().take(MOST).collect()];
    }
    rounds.retain(|dials| !dials.is_empty());
    rounds.into_iter().map(|dials| (dials, timeout)).collect()
}

fn of_user(app: &App, account: &Account, caller: &Shows, user: &UserRow) -> Vec<Dial> {
    if !user.enabled {
        return Vec::new();
    }
    let domain = account.domain.as_deref().unwrap_or(&app.config.sip_domain);
    let (display, from) = match (caller.withheld, &caller.name, &caller.number) {
        (true, ..) => (Some("Anonymous".to_owned()), "sip:anonymous@anonymous.invalid".to_owned()),
        (_, Some(name), _) | (_, None, Some(name)) => {
            (caller.display.clone(), format!("sip:{}@{domain}", escaped(name)))
        }
        (_, None, None) => (caller.display.clone(), format!("sip:trunkline@{domain}")),
    };
    let contact = caller.number.as_deref().filter(|number| Number::parse(number).is_ok());
    let targets = app.registrar.targets(user.id).into_iter().take(MOST);
    targets
        .map(|target| Dial {
            target: Ok(Target {
                transport: target.path.transport,
                remote: target.path.remote,
                server_name: None,
            }),
            request_uri: target.request_uri,
            from_display: display.clone(),
            from_uri: from.clone(),
            to_uri: format!("sip:{}@{domain}", user.username),
            contact_user: Some(contact.unwrap_or("trunkline").to_owned()),
            route: target.route,
            headers: Vec::new(),
            credentials: None,
            trunk: None,
            settings: TrunkSettings::for_phone(target.path.transport),
            simulated: false,
            phone: Some((target.path, user.id)),
        })
        .collect()
}

/// A name as the user part of a URI: what may not stand there as it is (RFC 3261 section 25.1) is escaped.
fn escaped(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match is_plain(byte) {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
