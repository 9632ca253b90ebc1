//! From a transfer that was asked for to where it leads: planned like a call, before anybody is put on hold.

use std::sync::Arc;

use call::Number;
use tokio::runtime::Handle;

use super::{at_once, called, dial_of};
use crate::app::App;
use crate::flow;
use crate::originate::{Hears, Renderer, Shows};
use crate::refused::Refused;
use crate::store::{Account, Target, UserRow};
use crate::switch::{Party, Referral, Transfer};

/// Finds out where a user sends somebody on to: at once, if nothing has to be waited for; otherwise the switch is told
/// later.
pub fn refer(app: &Arc<App>, tokio: &Handle, referral: Referral) -> Option<Result<Transfer, Refused>> {
    let leg = referral.leg;
    let transfer = {
        let app = app.clone();
        async move { by_user(&app, &referral).await }
    };
    let app = app.clone();
    at_once(tokio, transfer, move |transfer| app.switch.referred(leg, transfer))
}

/// What a user asks for goes by the rules of the user's own calls.
async fn by_user(app: &App, referral: &Referral) -> Result<Transfer, Refused> {
    let account = account(app, referral.account)?;
    let user = app.store.directory().user_by_id(account.id, referral.user);
    let Some(user) = user.filter(|user| user.enabled) else {
        return Err(Refused::new(403, "user_gone", "This user does not exist any more."));
    };
    let targets = called(app, &account, &user, &referral.to)?;
    let trunks = app.store.trunks(account.id);
    let shows = shows(app, &account, Some(&user), &referral.party);
    let hears = referral.party.address.as_deref().unwrap_or_default();
    let mut renderer = Renderer::new(app, &account, &trunks, shows, None, Hears::Of(hears));
    let mut dial = people(app, &account, &mut renderer, &targets).await?;
    dial.to.clone_from(&referral.to);
    let Renderer { clips, routes, .. } = renderer;
    let mut dials: Vec<_> = routes.into_iter().flatten().collect();
    // Phones of ours may show who sent the caller on (RFC 3892).
    let domain = account.domain.as_deref().unwrap_or(&app.config.sip_domain);
    let referred_by = format!("<sip:{}@{domain}>", user.username);
    for dial in dials.iter_mut().filter(|dial| dial.phone.is_some()) {
        dial.headers.push(("Referred-By".into(), referred_by.clone()));
    }
    Ok(Transfer { dial, dials, clips, by: Some(user.username.to_string()) })
}

/// Where the account itself sends somebody on to, who is `party`: by the rules of a flow's `dial`.
pub async fn by_account(
    app: &App,
    account_id: i64,
    to: &flow::Dial,
    party: &Party,
) -> Result<Transfer, Refused> {
    let account = account(app, account_id)?;
    let trunks = app.store.trunks(account.id);
    let shows = shows(app, &account, None, party);
    let hears = party.address.as_deref().unwrap_or_default();
    let mut renderer = Renderer::new(app, &account, &trunks, shows, None, Hears::Of(hears));
    let dial = renderer.dial(to).await?;
    let Renderer { clips, routes, .. } = renderer;
    Ok(Transfer { dial, dials: routes.into_iter().flatten().collect(), clips, by: None })
}

fn account(app: &App, id: i64) -> Result<Account, Refused> {
    let missing = || Refused::missing("account_not_found", "This account does not exist.");
    app.store.account(id).ok_or_else(missing)
}

/// Those whom the targets ring, one after another; what is no person is passed by, for nobody would be left to be told
/// how it went.
async fn people(
    app: &App,
    account: &Account,
    renderer: &mut Renderer<'_>,
    targets: &[Target],
) -> Result<call::Dial, Refused> {
    let mut found: Option<call::Dial> = None;
    let mut nobody = Refused::missing("number_not_routed", "This number leads to nobody.");
    for dial in targets.iter().filter_map(|target| dial_of(app, account, target)) {
        match (renderer.dial(&dial).await, &mut found) {
            (Ok(dial), None) => found = Some(dial),
            (Ok(dial), Some(first)) => first.route.rounds.extend(dial.route.rounds),
            (Err(refused), _) if refused.code == "user_not_registered" => nobody = refused,
            (Err(refused), _) => return Err(refused),
        }
    }
    found.ok_or(nobody)
}

/// What those who are rung are shown: who is sent on. To the outside a user of ours shows a number of its own, and
/// for anybody else whoever sends them on does, for carriers refuse numbers that are not the account's.
fn shows(app: &App, account: &Account, by: Option<&UserRow>, party: &Party) -> Shows {
    let user = party.user.and_then(|user| app.store.directory().user_by_id(account.id, user));
    let name = match &user {
        Some(user) => Some(user.username.to_string()),
        None => party.address.clone().filter(|address| Number::parse(address).is_ok()),
    };
    Shows {
        number: user.as_deref().or(by).and_then(|user| user.caller_ids.first().cloned()),
        name,
        display: user.and_then(|user| user.display_name.clone()),
        withheld: party.withheld,
    }
}
