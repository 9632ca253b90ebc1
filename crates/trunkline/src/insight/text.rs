//! The ladder as a diagram for a terminal: a column a party, an arrow a message.

use std::fmt::Write as _;

use super::ladder::{Arrow, Ladder};

/// From one column's line to the next.
const SPAN: usize = 34;
/// In front of the first column's line: the time, and room for half a name.
const MARGIN: usize = 10;
/// The longest label of an arrow.
const LABEL: usize = SPAN - 8;

pub(super) fn draw(ladder: &Ladder) -> String {
    let mut text =
        format!("{}  {}{}\n", ladder.call, ladder.status, if ladder.live { " (goes on)" } else { "" });
    if let Some(why) = &ladder.why {
        let _ = writeln!(text, "why   {}", why.text);
        if let Some(fix) = &why.fix {
            let _ = writeln!(text, "fix   {fix}");
        }
    }
    for sound in &ladder.sound {
        let _ = write!(
            text,
            "sound {} leg: {} packets sent, {} received, {} lost",
            sound.leg, sound.sent, sound.received, sound.lost
        );
        let more = [
            (sound.foreign, "from a strange address"),
            (sound.undecryptable, "that could not be decrypted"),
            (sound.invalid, "that made no sense"),
        ];
        for (count, what) in more.iter().filter(|(count, _)| *count > 0) {
            let _ = write!(text, ", {count} {what}");
        }
        text.push('\n');
    }
    for leg in &ladder.legs {
        let left_out = match leg.left_out {
            0 => String::new(),
            n => format!(", {n} messages not kept"),
        };
        let _ = writeln!(text, "leg   {} {} {}{left_out}", leg.role, leg.transport, leg.call_id);
    }
    let Some(started_at) = &ladder.started_at else {
        text.push_str("\nNo SIP message was sent or came, or none was kept.\n");
        return text;
    };
    let _ = writeln!(text, "from  {started_at}\n");
    heads(&mut text, ladder);
    for step in &ladder.messages {
        row(&mut text, step, ladder.parties.len());
    }
    text
}

/// The names of the columns, and their addresses.
fn heads(text: &mut String, ladder: &Ladder) {
    let lines = [
        ladder.parties.iter().map(|party| party.name.as_str()).collect::<Vec<_>>(),
        ladder.parties.iter().map(|party| party.address.as_str()).collect(),
    ];
    for (number, cells) in lines.iter().enumerate() {
        let mut line = format!("{:>1$}", if number == 1 { "ms" } else { "" }, MARGIN - 2);
        line.push_str("  ");
        for cell in cells {
            let _ = write!(line, "{:<SPAN$}", shortened(cell, SPAN - 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn row(text: &mut String, step: &Arrow, parties: usize) {
    let left = step.from.min(step.to);
    let spans = step.from.abs_diff(step.to);
    let mut line = format!("{:>1$}  ", step.at_ms, MARGIN - 2);
    for column in 0..parties {
        line.push('|');
        if column + 1 == parties {
            break;
        }
        if !(left..left + spans).contains(&column) {
            line.push_str(&" ".repeat(SPAN - 1));
        } else {
            arrow(&mut line, step, column, left, spans);
        }
    }
    if let Some(sdp) = &step.sdp {
        let _ = write!(line, "  {}", super::ladder::plain(&sdp.words()));
    }
    if step.cut {
        line.push_str("  (body not kept)");
    }
    if step.repeats > 0 {
        let mut times: Vec<String> = step.repeated_at_ms.iter().map(ToString::to_string).collect();
        if step.repeats as usize > times.len() {
            times.push("…".into());
        }
        let _ = write!(line, "  sent {} times, again at {}", step.repeats + 1, times.join(" "));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// One column's part of an arrow; the label stands on the part at its beginning.
fn arrow(line: &mut String, step: &Arrow, column: usize, left: usize, spans: usize) {
    let goes_right = step.from < step.to;
    let (is_first, is_last) = match goes_right {
        true => (column == left, column + 1 == left + spans),
        false => (column + 1 == left + spans, column == left),
    };
    let label = if is_first { format!(" {} ", shortened(&step.label, LABEL)) } else { "-".into() };
    let drawn = format!("{label:-^0$}", SPAN - 3);
    let (before, after) = match (goes_right, is_last) {
        (true, true) => ("-", ">"),
        (false, true) => ("<", "-"),
        (_, false) => ("-", "-"),
    };
    line.push_str(before);
    line.push_str(&drawn);
    line.push_str(after);
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
