//! Every make of phone calls every other one, through whatever they are registered at.

use std::path::Path;
use std::rc::Rc;

use super::baresip::{self, Baresip, Transport};
use super::browser::{Browser, Library};
use super::linphonec::Linphonec;
use super::{Media, Phone, Registrar, press_for};

/// A make of phone, as it is set up.
#[derive(Clone, Debug)]
pub enum Make {
    Baresip(baresip::Setup),
    Linphonec(Transport),
    /// With all it may offer and take; nothing means whatever the browser has.
    Browser(Library, &'static [&'static str]),
}

impl Make {
    fn media(&self) -> Media {
        match self {
            Self::Baresip(setup) => setup.media,
            Self::Linphonec(_) => Media::Plain,
            Self::Browser(..) => Media::Dtls,
        }
    }
}

/// Calls between every two of `makes`, those between different kinds of media only where the registrar joins them.
/// `password` makes a user and says its password. Skipped where one of the programs is missing.
pub fn pairings(registrar: &Registrar, mut password: impl FnMut(&str) -> String, makes: &[Make]) {
    let folder = tempfile::tempdir().expect("a folder for the phones");
    let mut browser = None;
    let mut phones: Vec<[Box<dyn Phone>; 3]> = Vec::new();
    for (kind, make) in makes.iter().enumerate() {
        let mut of_kind = Vec::new();
        for number in 0..3 {
            let user = format!("phone{kind}{number}");
            // Far enough from each other to be told apart.
            let hz = 400.0 + 90.0 * (kind * 3 + number) as f64;
            let line = registrar.line(&user, &password(&user), hz);
            let Some(phone) = start(make, folder.path(), line, registrar, &mut browser) else { return };
            phone.register();
            of_kind.push(phone);
        }
        phones.extend(<[_; 3]>::try_from(of_kind));
    }
    for (from, [caller, ..]) in phones.iter().enumerate() {
        for (to, [first, callee, third]) in phones.iter().enumerate() {
            if !registrar.joins_media && makes[from].media() != makes[to].media() {
                continue;
            }
            eprintln!("{:?} calls {:?}", makes[from], makes[to]);
            // baresip 1.0 that offered `actpass` answers re-INVITEs with it too, which no browser takes (RFC 5763
            // section 5): with no one in between the browser cannot change such a call.
            let stubborn = !registrar.joins_media
                && matches!((&makes[from], &makes[to]), (Make::Baresip(_), Make::Browser(..)));
            let holders: &[&dyn Phone] = if stubborn { &[&**caller] } else { &[&**caller, &**callee] };
            talk(&**caller, &**callee, holders);
            let (ends, hears) = if (from + to) % 2 == 0 { (caller, callee) } else { (callee, caller) };
            ends.hang_up();
            ends.wait_ended();
            hears.wait_ended();
            if !registrar.transfers {
                continue;
            }
            let target = if from == to { third } else { first };
            // SIP.js ends the subscription with its first NOTIFY; baresip then never learns that the transfer went well.
            let untold = !registrar.joins_media
                && matches!((&makes[from], &makes[to]), (Make::Baresip(_), Make::Browser(Library::SipJs, _)));
            transfer(&**caller, &**callee, &**target, !untold);
        }
    }
}

fn start(
    make: &Make,
    folder: &Path,
    line: super::Line,
    registrar: &Registrar,
    browser: &mut Option<Rc<Browser>>,
) -> Option<Box<dyn Phone>> {
    Some(match make {
        Make::Baresip(setup) => Box::new(Baresip::start(folder, line, registrar, setup)?),
        Make::Linphonec(transport) => Box::new(Linphonec::start(folder, line, registrar, *transport)?),
        Make::Browser(library, codecs) => {
            if browser.is_none() {
                *browser = Browser::start(folder);
            }
            Box::new(browser.as_ref()?.phone(line, registrar, *library, codecs))
        }
    })
}

/// A call with sound both ways.
#[track_caller]
pub fn connect(caller: &dyn Phone, callee: &dyn Phone) {
    caller.call(&callee.line().uri());
    callee.wait_incoming();
    caller.wait_ringing();
    callee.answer();
    caller.wait_established();
    callee.wait_established();
    hear_each_other(caller, callee);
}

#[track_caller]
fn hear_each_other(one: &dyn Phone, other: &dyn Phone) {
    one.hears(other.line().hz);
    other.hears(one.line().hz);
}

/// A call with everything that is done inside of one: keys both ways, hold by these.
#[track_caller]
fn talk(caller: &dyn Phone, callee: &dyn Phone, holders: &[&dyn Phone]) {
    connect(caller, callee);
    press_for(caller, callee, "1#");
    press_for(callee, caller, "5*");
    for holder in holders {
        holder.hold();
        holder.hears_nothing();
        holder.resume();
        hear_each_other(caller, callee);
    }
}

/// `sender` sends the one it called on to `target`, and hangs up itself if it is not `told` what came of it.
#[track_caller]
fn transfer(sender: &dyn Phone, sent: &dyn Phone, target: &dyn Phone, told: bool) {
    connect(sender, sent);
    sender.blind_transfer(&target.line().uri());
    target.wait_incoming();
    target.answer();
    target.wait_established();
    hear_each_other(sent, target);
    if !told {
        sender.hang_up();
    }
    sender.wait_ended();
    sent.wait_established();
    target.hang_up();
    target.wait_ended();
    sent.wait_ended();
}

/// `sender`, in a call with `sent`, asks `target` first, then joins the two; `false` where its make cannot.
#[track_caller]
pub fn attended_transfer(sender: &dyn Phone, sent: &dyn Phone, target: &dyn Phone) -> bool {
    connect(sender, sent);
    sender.hold();
    sender.call(&target.line().uri());
    target.wait_incoming();
    target.answer();
    sender.wait_both_established();
    sender.hears(target.line().hz);
    if !sender.attended_transfer() {
        return false;
    }
    hear_each_other(sent, target);
    sender.wait_ended();
    sent.wait_established();
    target.wait_established();
    sent.hang_up();
    sent.wait_ended();
    target.wait_ended();
    true
}
