//! A message as an incoming webhook of Slack takes it: `text` and one attachment, which Mattermost, Rocket.Chat and Discord
//! know, too. Escaping and limits: "Formatting text for app surfaces" and "Reference: Secondary message attachments" of
//! Slack's documentation.

use serde_json::{Value, json};

use super::message::{Message, State, time};
use crate::units::Duration;

/// Characters that are shown of one value and of one text; Slack takes more, people do not.
const SHORT: usize = 300;
const LONG: usize = 2000;

pub(super) fn body(message: &Message) -> Value {
    let (sign, colour) = match message.state {
        State::Firing => (":rotating_light:", "#d7263d"),
        State::Reminder => (":bell:", "#e8871e"),
        State::Resolved | State::Cleared => (":white_check_mark:", "#2e933c"),
        State::Test | State::Pending => (":information_source:", "#2d7dd2"),
    };
    let summary = message.summary();
    let mut attachment = json!({
        "fallback": escaped(&summary, SHORT),
        "color": colour,
        "fields": fields(message),
        "mrkdwn_in": ["text"],
        "footer": "tollgate",
        "ts": message.at.div_euclid(1000),
    });
    let text = texts(message);
    if !text.is_empty() {
        attachment["text"] = text.into();
    }
    if let Some(link) = &message.link {
        attachment["actions"] = json!([{ "type": "button", "text": "Open", "url": link }]);
    }
    json!({ "text": format!("{sign} {}", plain(&summary)), "attachments": [attachment] })
}

fn fields(message: &Message) -> Vec<Value> {
    let mut told = Vec::new();
    let mut add = |title: &str, value: &str| {
        told.push(json!({ "title": title, "value": escaped(value, SHORT), "short": true }));
    };
    if let Some((kind, name)) = &message.about {
        let mut title = kind.clone();
        title[..1].make_ascii_uppercase();
        add(&title, name);
    }
    add("Alarm", &format!("{} over {}", message.when, span(message.over_s)));
    if message.state == State::Test {
        return told;
    }
    add("Value", message.value_text.as_deref().unwrap_or("none"));
    add("Since", &time(message.since));
    if message.state != State::Firing {
        add("Lasted", &span(message.lasted_s()));
    }
    told
}

/// What whoever wrote the rule says, and the samples.
fn texts(message: &Message) -> String {
    let own = message.text.iter().map(|text| escaped(text, LONG));
    let samples = message.samples.iter().map(|sample| {
        // Between backquotes nothing else is markup.
        format!("`{}` {}", escaped(&sample.id, SHORT).replace('`', "'"), plain(&sample.line))
    });
    let more = (!message.samples.is_empty()).then(|| "tollgate logs show ID says more.".to_owned());
    own.chain(samples).chain(more).collect::<Vec<_>>().join("\n")
}

/// What a client wrote: without what would be bold, a list, or a name that is called.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut before = ' ';
    for c in escaped(text, SHORT).chars() {
        // Within a word none of them begins anything.
        if matches!(c, '@' | '`') || (matches!(c, '*' | '_' | '~' | '#') && !before.is_alphanumeric()) {
            // Of no width: the sign stays what it is.
            shown.push('\u{200b}');
        }
        shown.push(c);
        before = c;
    }
    shown
}

/// Control characters are shown as blanks; `&`, `<` and `>` are escaped, and nothing else, as Slack asks.
fn escaped(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at >= most {
            shown.push('…');
            break;
        }
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '\n' => shown.push('\n'),
            c if c.is_control() || is_bidirectional(c) => shown.push(' '),
            c => shown.push(c),
        }
    }
    shown
}

/// Signs that turn the direction of what follows.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn span(seconds: u64) -> String {
    Duration::from_secs(seconds).to_string()
}

/// What a reader of the channel sees: for tests.
#[cfg(test)]
pub(super) fn shown(body: &Value) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_default()
            .replace('\u{200b}', "")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    };
    let mut lines = vec![text(&body["text"])];
    for attachment in body["attachments"].as_array().into_iter().flatten() {
        let bar = match attachment["color"].as_str() {
            Some("#d7263d") => "red",
            Some("#e8871e") => "orange",
            Some("#2e933c") => "green",
            _ => "blue",
        };
        lines.push(format!("| ({bar})"));
        lines.extend(text(&attachment["text"]).lines().map(|line| format!("| {line}")));
        for field in attachment["fields"].as_array().into_iter().flatten() {
            lines.push(format!("| {}: {}", text(&field["title"]), text(&field["value"])));
        }
        for button in attachment["actions"].as_array().into_iter().flatten() {
            lines.push(format!("| [{}] -> {}", text(&button["text"]), text(&button["url"])));
        }
        lines.push(format!(
            "| {}, {}",
            text(&attachment["footer"]),
            time(attachment["ts"].as_i64().unwrap_or(0) * 1000)
        ));
    }
    lines.join("\n") + "\n"
}
