use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn limits(channels: Option<u32>, per_second: Option<f32>, queue_ms: u32) -> Limits {
    Limits { channels, per_second, queue: MS * queue_ms }
}

/// Lets time pass, asking whenever the trunk wants to be asked; what happened at which ms.
fn wait(pace: &mut Pace<u32>, start: Instant, until_ms: u32) -> Vec<(u128, Next<u32>)> {
    let until = start + MS * until_ms;
    let mut told = Vec::new();
    while let Some(at) = pace.poll_timeout().filter(|at| *at <= until) {
        let before = told.len();
        told.extend(std::iter::from_fn(|| pace.poll(at)).map(|next| ((at - start).as_millis(), next)));
        assert!(told.len() > before, "woken at {:?} for nothing", at - start);
    }
    told
}

#[test]
fn without_limits_everybody_leaves_at_once() {
    let (mut pace, now) = (Pace::new(Limits::default()), Instant::now());
    for key in 0..1000 {
        assert_eq!(pace.enter(key, now), Turn::Now);
    }
    assert_eq!((pace.up(), pace.waiting(), pace.poll_timeout()), (1000, 0, None));
}

#[test]
fn departures_are_evenly_spaced_in_the_order_of_asking() {
    let (mut pace, start) = (Pace::new(limits(None, Some(4.0), 2000)), Instant::now());
    let turns: Vec<Turn> = (0..5).map(|key| pace.enter(key, start)).collect();
    assert_eq!(turns.first(), Some(&Turn::Now));
    assert!(turns.iter().skip(1).all(|turn| *turn == Turn::Later(Held::Rate)));
    let expected = [(250, Next::Go(1)), (500, Next::Go(2)), (750, Next::Go(3)), (1000, Next::Go(4))];
    assert_eq!(wait(&mut pace, start, 5000), expected);
    // Rest earns no burst: the next pair is spaced as ever.
    let later = start + MS * 60_000;
    assert_eq!(pace.enter(5, later), Turn::Now);
    assert_eq!(pace.enter(6, later), Turn::Later(Held::Rate));
}

#[test]
fn who_would_come_too_late_is_told_so_at_once() {
    let (mut pace, start) = (Pace::new(limits(None, Some(1.0), 3000)), Instant::now());
    let turns: Vec<Turn> = (0..6).map(|key| pace.enter(key, start)).collect();
    let later = Turn::Later(Held::Rate);
    assert_eq!(turns, [Turn::Now, later, later, later, Turn::Never(Held::Rate), Turn::Never(Held::Rate)]);
    let expected = [(1000, Next::Go(1)), (2000, Next::Go(2)), (3000, Next::Go(3))];
    assert_eq!(wait(&mut pace, start, 9000), expected);
}

#[test]
fn a_free_channel_goes_to_the_first_in_the_queue_and_not_to_a_newcomer() {
    let (mut pace, start) = (Pace::new(limits(Some(1), None, 5000)), Instant::now());
    assert_eq!(pace.enter(0, start), Turn::Now);
    assert_eq!(pace.enter(1, start), Turn::Later(Held::Channels));
    assert_eq!(pace.enter(2, start + MS), Turn::Later(Held::Channels));
    assert_eq!(pace.poll(start + MS), None);
    pace.release();
    assert_eq!(pace.enter(3, start + MS * 2), Turn::Later(Held::Channels), "two wait before it");
    assert_eq!(pace.poll(start + MS * 2), Some(Next::Go(1)));
    assert_eq!(pace.poll(start + MS * 2), None);
    assert!(pace.leave(2));
    assert!(!pace.leave(2));
    assert_eq!(wait(&mut pace, start, 9000), [(5002, Next::Late(3, Held::Channels))]);
    pace.release();
    assert!(pace.idle_from(start + MS * 9000).is_some_and(|at| at <= start + MS * 9000));
}

#[test]
fn new_limits_hold_for_those_who_wait() {
    let (mut pace, start) = (Pace::new(limits(Some(1), None, 60_000)), Instant::now());
    for key in 0..4 {
        pace.enter(key, start);
    }
    pace.set_limits(limits(Some(3), None, 60_000));
    assert_eq!(wait(&mut pace, start, 10), [(0, Next::Go(1)), (0, Next::Go(2))]);
    pace.set_limits(limits(Some(3), None, 1000));
    assert_eq!(wait(&mut pace, start, 2000), [(1000, Next::Late(3, Held::Channels))]);
}

#[test]
fn without_a_queue_nobody_waits_and_its_length_is_bounded() {
    let (mut pace, now) = (Pace::new(limits(Some(1), Some(1.0), 0)), Instant::now());
    assert_eq!(pace.enter(0, now), Turn::Now);
    assert_eq!(pace.enter(1, now), Turn::Never(Held::Channels));
    pace.release();
    assert_eq!(pace.enter(1, now), Turn::Never(Held::Rate));
    let mut pace = Pace::new(limits(Some(0), None, 1000));
    for key in 0..MOST_WAITING {
        assert_eq!(pace.enter(key, now), Turn::Later(Held::Channels));
    }
    assert_eq!(pace.enter(MOST_WAITING, now), Turn::Never(Held::Channels));
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Release,
    Leave(usize),
    Pass(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Enter),
        2 => Just(Step::Release),
        1 => (0..8_usize).prop_map(Step::Leave),
        3 => (0..700_u32).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever comes in whatever order: the limits hold, the order holds, the age holds, nobody is lost.
    #[test]
    fn the_limits_hold(
        channels in prop::option::of(1..5_u32),
        rate in prop::option::of(0.5..20.0_f32),
        queue_ms in 1..3000_u32,
        steps in steps(),
    ) {
        let limits = limits(channels, rate, queue_ms);
        let mut pace = Pace::new(limits);
        let mut now = Instant::now();
        let (mut key, mut up, mut left) = (0_u32, 0_u32, Vec::new());
        let mut queue: VecDeque<(u32, Instant)> = VecDeque::new();
        let serve = |pace: &mut Pace<u32>, now, queue: &mut VecDeque<(u32, Instant)>, up: &mut u32, left: &mut Vec<_>| {
            while let Some(next) = pace.poll(now) {
                let (first, since) = queue.pop_front().expect("somebody waits");
                match next {
                    Next::Go(key) => {
                        assert_eq!(key, first);
                        assert!(now - since <= limits.queue);
                        *up += 1;
                        left.push(now);
                    }
                    Next::Late(key, _) => {
                        assert_eq!(key, first);
                        assert!(now - since >= limits.queue);
                    }
                }
            }
        };
        for step in steps {
            match step {
                Step::Enter => {
                    key += 1;
                    match pace.enter(key, now) {
                        Turn::Now => {
                            prop_assert!(queue.is_empty());
                            up += 1;
                            left.push(now);
                        }
                        Turn::Later(_) => queue.push_back((key, now)),
                        Turn::Never(_) => {}
                    }
                }
                Step::Release if up > 0 => {
                    up -= 1;
                    pace.release();
                }
                Step::Release => {}
                Step::Leave(n) => {
                    if let Some((key, _)) = queue.get(n).copied() {
                        queue.remove(n);
                        prop_assert!(pace.leave(key));
                    }
                }
                Step::Pass(ms) => {
                    let until = now + MS * ms;
                    while let Some(at) = pace.poll_timeout().filter(|at| *at <= until) {
                        now = now.max(at);
                        serve(&mut pace, now, &mut queue, &mut up, &mut left);
                    }
                    now = until;
                }
            }
            serve(&mut pace, now, &mut queue, &mut up, &mut left);
            prop_assert_eq!((pace.up(), pace.waiting()), (up, queue.len()));
            prop_assert!(channels.is_none_or(|channels| up <= channels));
        }
        if let Some(rate) = rate {
            let least = Duration::from_secs_f32(1.0 / rate);
            prop_assert!(left.windows(2).all(|pair| pair[1] - pair[0] >= least));
        }
    }
}
