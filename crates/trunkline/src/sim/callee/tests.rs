use Action::*;

use super::super::directory::Directory;
use super::*;

/// A whole call in virtual time: each action with the time it is due at. Sounds last a second, keys 100 ms, offers no
/// time; `keys` come from the other side, at these times.
fn played(script: Script, refused: u32, keys: &[(u64, char)], longest: u64) -> Vec<(u128, Action)> {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut inputs: Vec<(Instant, Input)> =
        keys.iter().map(|(ms, key)| (at(*ms), Input::Key(*key))).collect();
    let mut callee = Callee::new(script, refused, start);
    let (mut now, mut seen) = (start, Vec::new());
    while now <= at(longest) {
        while let Some(index) = inputs.iter().position(|(at, _)| *at <= now) {
            let (_, input) = inputs.remove(index);
            callee.handle_input(input, now);
        }
        while let Some(action) = callee.poll_action(now) {
            match &action {
                Play { id, .. } => inputs.push((now + Duration::from_secs(1), Input::Done(*id))),
                Press { id, .. } => inputs.push((now + Duration::from_millis(100), Input::Done(*id))),
                Hold(_) => inputs.push((now, Input::Reoffered)),
                _ => {}
            }
            seen.push(((now - start).as_millis(), action));
        }
        let next = inputs.iter().map(|(at, _)| *at).chain(callee.poll_timeout()).min();
        let Some(next) = next else { break };
        now = next.max(now);
    }
    seen
}

fn script(lines: &[&str]) -> Script {
    Script::parse(lines).unwrap()
}

fn text(id: u32, text: &str) -> Action {
    Play { id, sound: Sound::Text(text.into()), limit: None }
}

#[test]
fn the_callees_known_from_the_first_day_stay_as_they_are() {
    let directory = Directory::new(&[]).unwrap();
    let greeting = super::super::directory::GREETING;
    let cut = |limit| Play { id: 1, sound: Sound::Text(greeting.into()), limit };
    for (user, expected) in [
        ("+12025550123", vec![(0, Progress(180)), (500, Answer), (500, cut(None))]),
        ("+12025550101", vec![(0, Reject(486))]),
        ("+12025550102", vec![(0, Progress(180))]),
        ("12025550103", vec![(0, Progress(180)), (300, Reject(603))]),
        ("+12025550104", vec![(0, Progress(180)), (3000, Answer), (3000, cut(None))]),
        ("+12025550105", vec![(0, Answer), (0, Echo)]),
        ("+12025550107", vec![(0, Reject(404))]),
        ("alice", vec![(0, Progress(180)), (500, Answer), (500, cut(None))]),
    ] {
        assert_eq!(played(directory.script(user), 0, &[], 60_000), expected, "{user}");
    }
    // Mid-sentence: what lasts longer than two seconds is cut off.
    let mut callee = Callee::new(directory.script("+12025550106"), 0, Instant::now());
    let mut seen = Vec::new();
    while let Some(at) = callee.poll_timeout() {
        seen.extend(std::iter::from_fn(|| callee.poll_action(at)));
    }
    let limit = Some(Duration::from_secs(2));
    assert_eq!(seen, [Progress(180), Answer, cut(limit), Stop, HangUp]);
}

#[test]
fn an_ivr_follows_the_keys() {
    let menu = script(&[
        "answer",
        "say \"menu\"",
        "expect 1 digit within 3s",
        "when 1 say \"one\"",
        "when 2 say \"two\"",
        "otherwise say \"wrong\"",
        "otherwise repeat",
        "hang up after 1s",
    ]);
    let menu = |keys: &[(u64, char)]| played(menu.clone(), 0, keys, 20_000);
    assert_eq!(
        menu(&[(1500, '1')]),
        [(0, Answer), (0, text(1, "menu")), (1500, text(2, "one")), (3500, HangUp)]
    );
    // Typed ahead, and a wrong key first.
    assert_eq!(menu(&[(200, '2')])[2], (1000, text(2, "two")));
    let wrong = menu(&[(1500, '7'), (3700, '1')]);
    assert_eq!(wrong[2..5], [(1500, text(2, "wrong")), (2600, text(3, "menu")), (3700, text(4, "one"))]);
    // Nobody presses anything: it asks again and again.
    assert_eq!(menu(&[])[2..4], [(4000, text(2, "wrong")), (5100, text(3, "menu"))]);
}

#[test]
fn keys_are_counted_or_ended() {
    let pin = script(&["answer", "expect 4 digits", "when 1234 beep", "when 12 echo", "otherwise hang up"]);
    let pin = |keys: &[(u64, char)]| played(pin.clone(), 0, keys, 20_000).pop().unwrap();
    let beep = Play { id: 1, sound: Sound::Beep, limit: None };
    assert_eq!(pin(&[(100, '1'), (200, '2'), (300, '3'), (400, '4')]), (400, beep));
    assert_eq!(pin(&[(100, '1'), (200, '2'), (300, '#')]), (300, Echo));
    assert_eq!(pin(&[(100, '1')]), (10_000, HangUp));
}

#[test]
fn a_refusal_that_is_counted_lets_every_nth_call_through() {
    let script = script(&["reject 503 twice", "answer"]);
    let first = |refused| played(script.clone(), refused, &[], 1000)[0].1.clone();
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(first),
        [Reject(503), Reject(503), Answer, Reject(503), Reject(503), Answer]
    );
}

#[test]
fn a_hold_ends_when_it_is_settled_and_its_time_is_over() {
    let script = script(&["answer", "hold 3s", "resume", "press 1 after 500ms", "hang up after 1s"]);
    assert_eq!(
        played(script, 0, &[], 10_000),
        [
            (0, Answer),
            (0, Hold(true)),
            (3000, Hold(false)),
            (3500, Press { id: 1, keys: "1".into() }),
            (4600, HangUp)
        ]
    );
}

#[test]
fn what_repeats_takes_time() {
    let calls = played(script(&["answer", "loss 5%", "repeat"]), 0, &[], 1000);
    assert_eq!(calls.len(), 1 + 11, "{calls:?}");
}
