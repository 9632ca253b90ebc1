//! Random REGISTERs against a table that is nothing but a list.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// How each of four contacts is written; all spellings of one mean the same.
const CONTACTS: [[&str; 2]; 4] = [
    ["sip:a@h", "sip:%61@H"],
    ["sip:a@h:5060", "sip:a@h:5060;x=1"],
    ["sip:a@h;transport=tcp", "sip:a@h;Transport=TCP"],
    ["sip:10.0.0.7", "sip:10.0.0.7;lr"],
];

const CALLS: [&str; 2] = ["one", "two"];

/// The most bindings here.
const MAX: usize = 3;

/// A contact of a REGISTER; 0 stands for no device and no reg-id.
#[derive(Clone, Debug)]
struct Wish {
    contact: usize,
    spelling: usize,
    expires_s: u64,
    device: u32,
    reg_id: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Register { call: usize, cseq: u32, wishes: Vec<Wish> },
    RemoveAll { call: usize, cseq: u32 },
    Wait(u64),
}

#[derive(Clone, Debug)]
struct Row {
    contact: usize,
    device: u32,
    reg_id: u32,
    call: usize,
    cseq: u32,
    ends: u64,
    /// Whether this very REGISTER set it.
    touched: bool,
}

/// The rules as they are written, one contact after the other, on a copy. Returns the status it comes to.
fn register(rows: &mut Vec<Row>, call: usize, cseq: u32, wishes: &[Wish], now: u64) -> u16 {
    if wishes.iter().any(|wish| (1..60).contains(&wish.expires_s)) {
        return 423;
    }
    let mut copy: Vec<Row> = rows.iter().map(|row| Row { touched: false, ..row.clone() }).collect();
    let mut repeated = false;
    for wish in wishes {
        let flow = |row: &Row| wish.reg_id != 0 && (row.device, row.reg_id) == (wish.device, wish.reg_id);
        let place = |row: &Row| (row.reg_id == 0 || wish.reg_id == 0) && row.contact == wish.contact;
        let device = |row: &Row| wish.device != 0 && (row.device, row.reg_id) == (wish.device, wish.reg_id);
        let find = |touched: bool, means: &dyn Fn(&Row) -> bool| {
            copy.iter().position(|row| row.touched == touched && means(row))
        };
        let found = find(true, &flow)
            .or_else(|| find(false, &flow))
            .or_else(|| find(true, &place))
            .or_else(|| find(false, &place))
            .or_else(|| find(false, &device));
        if let Some(old) = found.map(|at| copy.remove(at)).filter(|old| !old.touched && old.call == call) {
            if old.cseq > cseq {
                return 500;
            }
            repeated |= old.cseq == cseq;
        }
        let Wish { contact, device, reg_id, expires_s, .. } = *wish;
        if expires_s > 0 {
            copy.insert(0, Row { contact, device, reg_id, call, cseq, ends: now + expires_s, touched: true });
        }
    }
    let touched = copy.iter().filter(|row| row.touched);
    if touched.count() > 1 && wishes.iter().any(|wish| wish.expires_s > 0 && wish.reg_id > 0) {
        return 400;
    }
    if !repeated && copy.len() > MAX {
        return 403;
    }
    if !repeated {
        *rows = copy;
    }
    200
}

fn wish() -> impl Strategy<Value = Wish> {
    let expires = prop::sample::select(vec![0_u64, 0, 30, 60, 90, 200, 200, 200]);
    (0..4_usize, 0..2_usize, expires, 0..3_u32, 0..3_u32).prop_map(
        |(contact, spelling, expires_s, device, reg_id)| {
            let reg_id = if device == 0 { 0 } else { reg_id };
            Wish { contact, spelling, expires_s, device, reg_id }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let wishes = prop::collection::vec(wish(), 0..4);
    prop_oneof![
        8 => (0..2_usize, 1..6_u32, wishes)
            .prop_map(|(call, cseq, wishes)| Step::Register { call, cseq, wishes }),
        1 => (0..2_usize, 1..6_u32).prop_map(|(call, cseq)| Step::RemoveAll { call, cseq }),
        2 => (1..100_u64).prop_map(Step::Wait),
    ]
}

fn contact(wish: &Wish) -> String {
    let mut line = format!("Contact: <{}>;expires={}", CONTACTS[wish.contact][wish.spelling], wish.expires_s);
    if wish.device > 0 {
        line.push_str(&format!(";+sip.instance=\"<urn:x:{}>\"", wish.device));
    }
    if wish.reg_id > 0 {
        line.push_str(&format!(";reg-id={}", wish.reg_id));
    }
    line
}

/// The REGISTER of a step, and what the rules make of it.
fn play(step: &Step, rows: &mut Vec<Row>, clock: u64) -> Option<(Message, u16)> {
    match step {
        Step::Wait(_) => None,
        Step::Register { call, cseq, wishes } => {
            let lines: Vec<String> = wishes.iter().map(contact).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            Some((request(CALLS[*call], *cseq, &lines), register(rows, *call, *cseq, wishes, clock)))
        }
        Step::RemoveAll { call, cseq } => {
            let late = rows.iter().any(|row| row.call == *call && row.cseq >= *cseq);
            if !late {
                rows.clear();
            }
            let message = request(CALLS[*call], *cseq, &["Contact: *", "Expires: 0"]);
            Some((message, if late { 500 } else { 200 }))
        }
    }
}

/// A binding as the model sees it.
fn seen(binding: &Binding, now: Instant) -> (usize, u32, u32, u64) {
    let contact = CONTACTS.iter().position(|all| all.contains(&binding.contact())).unwrap();
    let device = binding.instance().map_or(0, |instance| instance[7..8].parse().unwrap());
    (contact, device, binding.reg_id, binding.expires_s(now).into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_what_the_rules_make(steps in prop::collection::vec(step(), 1..24)) {
        let mut desk = Desk::new();
        desk.limits.max_bindings = MAX;
        let (mut rows, mut clock, mut stored) = (Vec::<Row>::new(), 0, BTreeSet::new());
        for step in steps {
            if let Step::Wait(seconds) = step {
                clock += seconds;
                rows.retain(|row| row.ends > clock);
                desk.wait(seconds);
            }
            let mut changes = desk.changes();
            if let Some((message, expected)) = play(&step, &mut rows, clock) {
                let (view, path) = (message.view(), desk.path);
                let result = desk.locations.register(1, &view, path, &desk.limits, desk.now);
                let status = result.as_ref().map_or_else(|refusal| refusal.status, |_| 200);
                prop_assert_eq!(status, expected, "{:?}", step);
                if let Ok(registered) = result {
                    prop_assert_eq!(listed(&registered).len(), rows.len());
                    changes.extend(registered.changes);
                }
            }
            let now = desk.now;
            let got: Vec<_> = desk.locations.bindings(1).map(|binding| seen(binding, now)).collect();
            let wanted: Vec<_> =
                rows.iter().map(|row| (row.contact, row.device, row.reg_id, row.ends - clock)).collect();
            prop_assert_eq!(got, wanted, "{:?}", step);
            prop_assert_eq!(desk.locations.counts().bindings, rows.len());
            // Who follows the changes knows the table.
            for change in changes {
                match change {
                    Change::Saved(saved) => drop(stored.insert(saved.key)),
                    Change::Removed { key, .. } => prop_assert!(stored.remove(&key)),
                }
            }
            let keys: BTreeSet<u64> = desk.locations.bindings(1).map(Binding::key).collect();
            prop_assert_eq!(&keys, &stored);
        }
    }
}
