//! What a REGISTER asks for, read and judged before anything is changed.

use super::{Binding, Limits, Locations};
use crate::header::Name;
use crate::message::View;
use crate::name_addr::NameAddr;
use crate::params::Params;
use crate::refusal::Refusal;
use crate::uri::Uri;

/// The longest contact, Path and Call-ID that are kept, in bytes.
const MAX_FIELD: usize = 1_024;

/// The longest instance that is kept, in bytes.
const MAX_INSTANCE: usize = 256;

/// No interval of this length or longer is too brief (RFC 3261 section 10.3), in seconds.
const NEVER_BRIEF_S: u32 = 3_600;

/// A contact of a REGISTER.
pub struct Wanted<'a> {
    pub contact: &'a str,
    pub uri: Uri<'a>,
    /// 0 removes it.
    pub expires_s: u32,
    pub q: u16,
    pub instance: Option<&'a str>,
    /// 0 stands for none.
    pub reg_id: u32,
}

impl Wanted<'_> {
    /// Whether another contact of the same REGISTER means the same flow of the same device.
    fn is_same_flow(&self, other: &Wanted<'_>) -> bool {
        self.reg_id != 0 && (self.instance, self.reg_id) == (other.instance, other.reg_id)
    }

    /// Whether it means the same place.
    fn is_same_place(&self, other: &Wanted<'_>) -> bool {
        (self.reg_id == 0 || other.reg_id == 0) && self.uri.is_equivalent(&other.uri)
    }
}

/// What a contact means: a contact before it in the same REGISTER, or a binding.
enum Meant {
    Step(usize),
    Slot(usize),
}

/// One change: a binding that is there to be changed or removed, or a new one.
pub struct Step<'a> {
    pub slot: Option<usize>,
    /// None removes it.
    pub wanted: Option<Wanted<'a>>,
}

/// What a REGISTER comes to.
pub struct Plan<'a> {
    pub steps: Vec<Step<'a>>,
    /// Lost bindings that make room.
    pub evicted: Vec<usize>,
    /// Whether it was carried out before.
    pub repeated: bool,
    pub call_id: &'a str,
    pub cseq: u32,
    /// Path values, joined by commas, where its sender knows what they mean (RFC 3327).
    pub route: Option<String>,
    /// Whether it speaks of flows, and we keep them (RFC 5626).
    pub outbound: bool,
}

impl Plan<'_> {
    /// Whether it changes nothing.
    pub fn is_idle(&self) -> bool {
        self.repeated || self.steps.iter().all(|step| step.slot.is_none() && step.wanted.is_none())
    }
}

impl Locations {
    /// What a REGISTER would change (RFC 3261 section 10.3 steps 6 and 7). It is all or nothing.
    pub(super) fn plan<'a>(
        &self,
        user: u64,
        request: &View<'a>,
        streamed: bool,
        limits: &Limits,
    ) -> Result<Plan<'a>, Refusal> {
        let (Some(call_id), Some(cseq)) = (request.call_id(), request.cseq()) else {
            return Err(malformed("no Call-ID or CSeq"));
        };
        let route = route(request)?;
        if call_id.contains(char::is_control) {
            return Err(malformed("control characters in the Call-ID"));
        }
        if call_id.len() > MAX_FIELD || route.as_ref().is_some_and(|route| route.len() > MAX_FIELD) {
            return Err(malformed("a header field is too long"));
        }
        let mut plan = Plan {
            steps: Vec::new(),
            evicted: Vec::new(),
            repeated: false,
            call_id,
            cseq: cseq.number,
            route,
            outbound: false,
        };
        if request.values(Name::Contact).any(|contact| contact == "*") {
            self.plan_removal(user, request, &mut plan)?;
            return Ok(plan);
        }
        for wanted in wanted(request, limits)? {
            plan.outbound |= wanted.reg_id != 0 && wanted.expires_s != 0;
            self.add_step(user, wanted, &mut plan)?;
        }
        if plan.outbound && plan.steps.iter().filter(|step| step.wanted.is_some()).count() > 1 {
            return Err(malformed("one contact with a reg-id at a time"));
        }
        plan.outbound &= streamed && lists(request, "outbound") && comes_straight(request);
        self.make_room(user, limits, &mut plan)?;
        Ok(plan)
    }

    /// `Contact: *`, which is good for one thing only.
    fn plan_removal(&self, user: u64, request: &View<'_>, plan: &mut Plan<'_>) -> Result<(), Refusal> {
        let is_alone = request.values(Name::Contact).nth(1).is_none();
        if !is_alone || request.header("Expires").and_then(seconds) != Some(0) {
            return Err(malformed("Contact: * goes with Expires: 0, and alone"));
        }
        for slot in self.slots(user) {
            if self.bindings.get(slot).is_some_and(|b| *b.call_id == *plan.call_id && b.cseq >= plan.cseq) {
                return Err(out_of_order());
            }
            plan.steps.push(Step { slot: Some(slot), wanted: None });
        }
        Ok(())
    }

    /// Adds a contact: one after the other, each means what those before it left.
    fn add_step<'a>(&self, user: u64, wanted: Wanted<'a>, plan: &mut Plan<'a>) -> Result<(), Refusal> {
        let slot = match self.meant(user, &wanted, plan) {
            Some(Meant::Step(index)) => plan.steps.remove(index).slot,
            Some(Meant::Slot(slot)) => {
                self.check_order(slot, plan)?;
                Some(slot)
            }
            None => None,
        };
        plan.steps.push(Step { slot, wanted: Some(wanted).filter(|wanted| wanted.expires_s != 0) });
        Ok(())
    }

    /// What a contact means: the same flow of the same device (RFC 5626 section 6), or else the same place (RFC 3261
    /// section 10.3), or else what the device registered before.
    fn meant(&self, user: u64, wanted: &Wanted<'_>, plan: &Plan<'_>) -> Option<Meant> {
        let step = |means: fn(&Wanted<'_>, &Wanted<'_>) -> bool| {
            let is_it = |step: &Step<'_>| step.wanted.as_ref().is_some_and(|other| means(wanted, other));
            plan.steps.iter().rposition(is_it).map(Meant::Step)
        };
        let is_free = |slot: &usize| plan.steps.iter().all(|step| step.slot != Some(*slot));
        let slot = |means: fn(&Binding, &Wanted<'_>) -> bool| {
            let is_it = |slot: &usize| self.bindings.get(*slot).is_some_and(|binding| means(binding, wanted));
            self.slots(user).filter(is_free).find(is_it).map(Meant::Slot)
        };
        step(|one, other| one.is_same_flow(other))
            .or_else(|| slot(Binding::is_same_flow))
            .or_else(|| step(|one, other| one.is_same_place(other)))
            .or_else(|| slot(Binding::is_same_place))
            .or_else(|| slot(Binding::is_same_device))
    }

    /// Refuses what was overtaken: within one Call-ID only a higher CSeq counts.
    fn check_order(&self, slot: usize, plan: &mut Plan<'_>) -> Result<(), Refusal> {
        let binding = self.bindings.get(slot).filter(|binding| *binding.call_id == *plan.call_id);
        let Some(binding) = binding else { return Ok(()) };
        plan.repeated |= plan.cseq == binding.cseq;
        match plan.cseq < binding.cseq {
            true => Err(out_of_order()),
            false => Ok(()),
        }
    }

    /// Counts what there would be; the oldest of the lost make room.
    fn make_room(&self, user: u64, limits: &Limits, plan: &mut Plan<'_>) -> Result<(), Refusal> {
        let mut count = self.slots(user).count();
        for step in &plan.steps {
            match (step.slot, &step.wanted) {
                (None, Some(_)) => count += 1,
                (Some(_), None) => count -= 1,
                _ => {}
            }
        }
        if count <= limits.max_bindings || plan.is_idle() {
            return Ok(());
        }
        let is_free = |slot: &usize| plan.steps.iter().all(|step| step.slot != Some(*slot));
        let lost = |slot: &usize| self.bindings.get(*slot).is_some_and(|binding| binding.lost);
        let mut lost: Vec<usize> = self.slots(user).filter(|slot| lost(slot) && is_free(slot)).collect();
        lost.sort_by_key(|slot| self.bindings.get(*slot).map(|binding| binding.expires_at));
        lost.truncate(count - limits.max_bindings);
        if count - lost.len() > limits.max_bindings {
            let words = format!("at most {} bindings a user", limits.max_bindings);
            return Err(Refusal::new(403).with("Warning", warning(&words)));
        }
        plan.evicted = lost;
        Ok(())
    }
}

/// The contacts of a REGISTER; none only asks for what there is.
fn wanted<'a>(request: &View<'a>, limits: &Limits) -> Result<Vec<Wanted<'a>>, Refusal> {
    let default_s = request.header("Expires").and_then(seconds).unwrap_or(limits.default_expires_s);
    let mut all = Vec::new();
    for value in request.values(Name::Contact) {
        // Each may take the place of another, but no more.
        if all.len() >= limits.max_bindings.saturating_mul(2) {
            return Err(Refusal::new(403).with("Warning", warning("too many contacts")));
        }
        let address = NameAddr::parse(value).map_err(|_| malformed("a Contact cannot be read"))?;
        let uri = address.sip_uri().map_err(|_| malformed("a Contact is no SIP URI"))?;
        if address.uri.len() > MAX_FIELD {
            return Err(malformed("a Contact is too long"));
        }
        let params = address.params;
        let expires_s = match params.get("expires") {
            Some(text) => seconds(text).unwrap_or(limits.default_expires_s),
            None => default_s,
        };
        if expires_s != 0 && expires_s < limits.min_expires_s && expires_s < NEVER_BRIEF_S {
            return Err(Refusal::new(423).with("Min-Expires", limits.min_expires_s.to_string()));
        }
        let instance = params.get("+sip.instance").and_then(instance);
        let reg_id = params.get("reg-id").filter(|_| instance.is_some()).and_then(|id| id.parse().ok());
        all.push(Wanted {
            contact: address.uri,
            uri,
            expires_s: expires_s.min(limits.max_expires_s),
            q: q(params),
            instance,
            reg_id: reg_id.unwrap_or(0),
        });
    }
    Ok(all)
}

/// A number of seconds, however large; none where it is no number.
fn seconds(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

/// A q in thousandths; what cannot be read is 1, as if there were none.
fn q(params: Params<'_>) -> u16 {
    let Some(text) = params.get("q") else { return 1_000 };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().chain(*b"000").take(3);
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    match whole {
        "0" | "" if is_number && !text.is_empty() => {
            digits.fold(0, |q, digit| q * 10 + u16::from(digit.wrapping_sub(b'0')))
        }
        _ => 1_000,
    }
}

/// What an instance says between its quotes.
fn instance(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = !inner.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'));
    (!inner.is_empty() && inner.len() <= MAX_INSTANCE && is_plain).then_some(inner)
}

/// The Path values of a REGISTER whose sender knows of them, joined by commas.
fn route(request: &View<'_>) -> Result<Option<String>, Refusal> {
    let mut route = String::new();
    for value in request.values("Path") {
        if !NameAddr::parse(value).is_ok_and(|value| value.sip_uri().is_ok()) {
            return Err(malformed("a Path cannot be read"));
        }
        route.push_str(if route.is_empty() { "" } else { ", " });
        // One that was folded is one line again.
        route.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    Ok(Some(route).filter(|route| !route.is_empty() && lists(request, "path")))
}

/// Whether the flow is the phone's own, or its first proxy keeps it (RFC 5626 section 6).
fn comes_straight(request: &View<'_>) -> bool {
    let keeps = |route: &str| {
        let uri = NameAddr::parse(route).ok().and_then(|route| route.sip_uri().ok());
        uri.is_some_and(|uri| uri.params.get("ob").is_some())
    };
    request.values(Name::Via).nth(1).is_none() || request.values("Path").last().is_some_and(keeps)
}

/// Whether a request says that its sender knows an extension.
fn lists(request: &View<'_>, option: &str) -> bool {
    request.values(Name::Supported).any(|known| known.eq_ignore_ascii_case(option))
}

fn malformed(words: &str) -> Refusal {
    Refusal::new(400).with("Warning", warning(words))
}

fn out_of_order() -> Refusal {
    Refusal::new(500).with("Warning", warning("an older request of this Call-ID"))
}

/// A Warning value for people (RFC 3261 section 20.43).
fn warning(words: &str) -> String {
    format!("399 trunkline \"{words}\"")
}
