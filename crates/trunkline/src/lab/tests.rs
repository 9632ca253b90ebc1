use std::path::Path;
use std::time::Instant;

use super::*;

const EXAMPLE: &str = include_str!("../../../../examples/flows.toml");

fn all(text: &str) -> Vec<Report> {
    let (tests, directory) = file::parse(text, &[]).unwrap();
    tests.iter().map(|test| run(test, &directory, Path::new("."))).collect()
}

/// What is wrong with one test, and how its call went.
fn failures(text: &str) -> String {
    let reports = all(text);
    let failed = reports.iter().filter(|report| !report.passed);
    failed.map(|report| format!("{}: {:?}\n{:#?}", report.name, report.failures, report.events)).collect()
}

#[test]
fn the_example_passes_in_no_time() {
    let began = Instant::now();
    let reports = all(EXAMPLE);
    assert_eq!(failures(EXAMPLE), "");
    let virtual_s: u64 = reports.iter().map(|report| report.virtual_ms).sum::<u64>() / 1000;
    assert!(virtual_s > 60, "{virtual_s} s of calls");
    // Twice, in a build without optimisation, beside other tests: it is a fraction of this.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn a_test_gives_the_same_each_time() {
    let events = || all(EXAMPLE).into_iter().map(|report| report.events).collect::<Vec<_>>();
    assert_eq!(events(), events());
}

#[test]
fn each_expectation_can_fail() {
    let test = |expect: &str| {
        format!(
            "[[test]]\nname = 't'\ncallee = ['ring 1s', 'answer', 'press 7 after 1s']\n\
             flow = [{{ say = {{ text = 'Hello.' }} }}, {{ gather = {{ max_digits = 1 }} }}]\nexpect = {{ {expect} }}\n"
        )
    };
    for (right, wrong, told) in [
        ("state = 'completed'", "state = 'busy'", "state: expected \"busy\", got \"completed\""),
        ("cause = 'flow_done'", "cause = 'busy'", "cause: expected \"busy\", got \"flow_done\""),
        ("says = ['Hello.']", "says = ['Bye.']", "says: \"Bye.\" was not said there; it said [\"Hello.\"]"),
        ("gathered = ['7']", "gathered = ['8']", "gathered: expected \"8\", got \"7\""),
        ("digits = ''", "digits = '1'", "digits: expected \"1\", got \"\""),
        ("joined = false", "joined = true", "joined: expected \"true\", got \"false\""),
        (
            "events = ['say', 'gathered 7']",
            "events = ['gathered', 'say']",
            "events: \"say\" did not come there;",
        ),
        ("duration_s = [1, 3]", "duration_s = [9, 10]", "duration_s: expected 9 to 10, got "),
        ("heard_s = 0.3", "heard_s = 3.0", "heard_s: expected at least 3, got 0."),
    ] {
        assert_eq!(failures(&test(right)), "", "{right}");
        let reports = all(&test(wrong));
        assert!(!reports[0].passed && reports[0].failures[0].starts_with(told), "{:?}", reports[0].failures);
    }
}

#[test]
fn a_file_that_cannot_be_used_says_where() {
    let flow = "flow = [{ hangup = {} }]";
    for (text, told) in [
        ("".to_owned(), "there is no [[test]] in it"),
        ("[[test]]\nname = 'a'\nto = '1'\nexpect = {}\n".into(), "line 1: missing field `flow`"),
        (
            format!("[[test]]\nname = 'a'\n{flow}\nexpect = {{ state = 'busy' }}"),
            "[[test]] 1 (a): give either to or callee",
        ),
        (
            format!("[[test]]\nname = 'a'\nto = '+12025550101'\n{flow}\nexpect = {{}}"),
            "[[test]] 1 (a): expect is empty, so nothing would be tested",
        ),
        (
            format!("[[test]]\nname = 'a'\nto = '+12025550101'\n{flow}\nexpect = {{ duration_s = [5, 2] }}"),
            "[[test]] 1 (a): expect.duration_s: [5, 2] holds for no call; write the least, then the most, in seconds",
        ),
        (
            format!(
                "[[test]]\nname = 'a'\nto = '+12025550101'\n{flow}\nexpect = {{ duration_s = [nan, 2] }}"
            ),
            "[[test]] 1 (a): expect.duration_s: [NaN, 2] holds for no call",
        ),
        (
            format!("[[test]]\nname = 'a'\nto = '+12025550101'\n{flow}\nexpect = {{ state = 'bsy' }}"),
            "[[test]] 1 (a): expect.state: \"bsy\" is no final state; there are completed, busy,",
        ),
        (
            format!("[[test]]\nname = 'a'\ncallee = ['anser']\n{flow}\nexpect = {{ state = 'busy' }}"),
            "[[test]] 1 (a): callee, line 1, word 1: \"anser\" is not understood here;",
        ),
        (
            "[[test]]\nname = 'a'\nto = '+12025550101'\nflow = []\nexpect = { state = 'busy' }".into(),
            "[[test]] 1 (a): There is nothing to do on the call.",
        ),
    ] {
        let error = file::parse(&text, &[]).unwrap_err();
        assert!(error.starts_with(told), "{error}");
    }
}

/// Every callee of the table, called once: nobody keeps the call for ever, and each does what it is there for.
#[test]
fn each_callee_of_the_table_ends_as_it_should() {
    for (suffix, state, cause, event) in [
        ("0101", "busy", "busy", "finished"),
        ("0102", "no-answer", "", "state ringing"),
        ("0103", "failed", "declined", "state ringing"),
        ("0104", "completed", "flow_done", "state in-progress"),
        ("0105", "completed", "flow_done", "state in-progress"),
        ("0106", "completed", "normal", "state in-progress"),
        ("0107", "failed", "unallocated_number", "finished"),
        ("0108", "completed", "flow_done", "state in-progress"),
        ("0109", "completed", "flow_done", "state in-progress"),
        ("0110", "completed", "flow_done", "early-media"),
        ("0111", "no-answer", "", "early-media"),
        ("0112", "failed", "", "finished"),
        ("0113", "failed", "", "finished"),
        ("0114", "completed", "flow_done", "state in-progress"),
        ("0115", "completed", "flow_done", "state in-progress"),
        ("0116", "completed", "flow_done", "state in-progress"),
        ("0117", "completed", "flow_done", "state in-progress"),
        ("0118", "completed", "flow_done", "held"),
        ("0119", "completed", "flow_done", "digit"),
        ("0120", "completed", "flow_done", "state in-progress"),
        ("0121", "completed", "flow_done", "state in-progress"),
        ("0126", "busy", "busy", "state ringing"),
        ("0127", "completed", "flow_done", "state ringing"),
        ("0128", "completed", "flow_done", "state in-progress"),
        ("0123", "completed", "flow_done", "state in-progress"),
    ] {
        let cause = if cause.is_empty() { String::new() } else { format!("cause = '{cause}'\n") };
        let text = format!(
            "[[test]]\nname = '{suffix}'\nto = '+1202555{suffix}'\nring_timeout_s = 30\n\
             flow = [{{ pause = {{ seconds = 8 }} }}]\n[test.expect]\nstate = '{state}'\n{cause}events = ['{event}']\n"
        );
        assert_eq!(failures(&text), "", "{suffix}");
    }
    let known = crate::sim::TABLE.len();
    assert_eq!(known, 25, "a new callee belongs into the list above");
}

/// How calls go over a bad network: what the callee does, what we do, and how that ends whatever is lost, doubled, late
/// or in another order.
const GO: &[(&str, &str, &str)] = &[
    ("'ring 300ms', 'reject 486'", "{ pause = { seconds = 1 } }", "state = 'busy'\ncause = 'busy'"),
    ("'reject 603'", "{ pause = { seconds = 1 } }", "state = 'failed'\ncause = 'declined'"),
    ("'ring 1m'", "{ pause = { seconds = 1 } }", "state = 'no-answer'"),
    ("'answer'", "{ pause = { seconds = 1 } }", "state = 'completed'\ncause = 'flow_done'"),
    (
        "'ring 300ms', 'answer', 'hang up after 1s'",
        "{ pause = { seconds = 60 } }",
        "state = 'completed'\ncause = 'normal'",
    ),
    (
        "'early media', 'wait 1s', 'answer'",
        "{ pause = { seconds = 1 } }",
        "state = 'completed'\ncause = 'flow_done'",
    ),
    (
        "'answer', 'hold 1s', 'resume'",
        "{ pause = { seconds = 15 } }",
        "state = 'completed'\ncause = 'flow_done'\nevents = ['held', 'resumed']",
    ),
    ("'answer', 'late bye 1s'", "{ pause = { seconds = 1 } }", "state = 'completed'\ncause = 'flow_done'"),
    (
        "'answer', 'hang up after 10s'",
        "{ dial = { to = '+12025550105' } }",
        "state = 'completed'\njoined = true",
    ),
    ("'answer'", "{ dial = { to = '+12025550101' } }", "state = 'completed'\nevents = ['dialed busy']"),
];

/// A test of a call over a bad network; the same seed gives the same call.
fn over_a_bad_network(seed: u64) -> String {
    let (callee, step, expect) = GO[(seed % GO.len() as u64) as usize];
    format!(
        "[[test]]\nname = 'network {seed}'\nnetwork_seed = {seed}\nring_timeout_s = 30\ncallee = [{callee}]\n\
         flow = [{step}]\n[test.expect]\n{expect}\n"
    )
}

#[test]
fn both_sides_agree_on_each_call_however_bad_the_network() {
    let calls: u64 = std::env::var("TRUNKLINE_TEST_SEEDS").map_or(10_000, |seeds| seeds.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for seed in (first..calls).step_by(threads as usize) {
                    let test = over_a_bad_network(seed);
                    let failures = failures(&test);
                    assert_eq!(failures, "", "to see it again, `trunkline test` this:\n{test}");
                }
            });
        }
    });
}
