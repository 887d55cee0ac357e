//! Rules on an injected clock and injected values.

use jiff::tz::TimeZone;

use super::super::engine::{Change, Engine, Memory, What};
use super::super::facts::Reading;
use super::*;

/// An engine with one rule, and where its clock stands.
struct Run {
    engine: Engine,
    keys: String,
    now: i64,
}

impl Run {
    fn of(keys: &str) -> Self {
        let engine = Engine::new(vec![rule(keys)], Memory::default(), TimeZone::UTC);
        Self { engine, keys: keys.to_owned(), now: NOW }
    }

    /// Ten seconds later this is so.
    fn step(&mut self, reading: Reading) -> Vec<Change> {
        self.now += 10 * SECOND;
        self.engine.step(self.now, &[reading])
    }

    /// For so many steps; what has changed, as `+SECONDS word [about]`, `~` before what nobody is told.
    fn hold(&mut self, steps: usize, reading: &Reading) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..steps {
            for change in self.step(reading.clone()) {
                let after = (change.at - NOW) / SECOND;
                let sign = if change.is_told() { "" } else { "~" };
                let text = format!("{sign}+{after} {:?} {}", change.what, change.key);
                told.push(text.trim_end().to_owned());
            }
        }
        told
    }

    /// The process ends and starts again after a while.
    fn restart(&mut self, pause: i64) {
        let text = serde_json::to_string(self.engine.memory()).unwrap();
        self.engine =
            Engine::new(vec![rule(&self.keys)], serde_json::from_str(&text).unwrap(), TimeZone::UTC);
        self.now += pause;
    }
}

const SHARE: &str =
    "when = \"error_share > 5%\"\nfor = \"1m\"\nuntil = \"error_share < 2%\"\nrepeat = \"5m\"";

#[test]
fn it_fires_only_after_it_has_held() {
    let mut run = Run::of(SHARE);
    assert_eq!(run.hold(6, &whole(0.5)), ["~+10 Pending"]);
    assert_eq!(run.hold(1, &whole(0.5)), ["+70 Firing"]);
    let mut short = Run::of(SHARE);
    assert_eq!(short.hold(3, &whole(0.5)), ["~+10 Pending"]);
    assert_eq!(short.hold(3, &whole(0.01)), ["~+40 Cleared"]);
    // The time before does not count.
    assert_eq!(short.hold(6, &whole(0.5)), ["~+70 Pending"]);
}

#[test]
fn without_for_it_fires_at_once() {
    let mut run = Run::of("when = \"errors >= 1\"\nfor = \"0s\"");
    assert_eq!(run.hold(1, &whole(1.0)), ["+10 Firing"]);
}

#[test]
fn it_is_resolved_when_until_has_held_as_long() {
    let mut run = Run::of(SHARE);
    run.hold(7, &whole(0.5));
    // Between the two values nothing changes.
    assert_eq!(run.hold(20, &whole(0.03)), [] as [&str; 0]);
    assert_eq!(run.hold(6, &whole(0.01)), [] as [&str; 0]);
    assert_eq!(run.hold(1, &whole(0.01)), ["+340 Resolved"]);
    assert_eq!(run.hold(10, &whole(0.01)), [] as [&str; 0]);
}

#[test]
fn a_flap_is_told_once() {
    let mut run = Run::of("when = \"errors > 5\"\nfor = \"0s\"\nrepeat = false");
    let mut told = Vec::new();
    for _ in 0..30 {
        told.extend(run.hold(1, &whole(9.0)));
        told.extend(run.hold(2, &whole(1.0)));
    }
    assert_eq!(told, ["+10 Firing"]);
    assert_eq!(run.hold(5, &whole(1.0)), ["+920 Resolved"]);
}

#[test]
fn it_reminds_while_it_fires() {
    let mut run = Run::of(SHARE);
    assert_eq!(run.hold(70, &whole(0.5)), ["~+10 Pending", "+70 Firing", "+370 Reminder", "+670 Reminder"]);
}

#[test]
fn silence_suppresses_what_is_told_and_not_what_is_recorded() {
    let mut run = Run::of(&format!("{SHARE}\nsilence = \"sun 09:00-09:20\""));
    // Until 09:20, six minutes after the beginning; then what fires still is told.
    assert_eq!(run.hold(40, &whole(0.5)), ["~+10 Pending", "~+70 Firing", "+360 Reminder"]);
    let mut over = Run::of(&format!("{SHARE}\nsilence = \"sun 09:00-09:20\""));
    over.hold(10, &whole(0.5));
    // Who heard nothing of it need not hear that it is over, whenever that is.
    assert_eq!(over.hold(40, &whole(0.0)), ["~+170 Resolved"]);
}

#[test]
fn silence_by_hand_ends_by_itself() {
    let mut run = Run::of(SHARE);
    let rule = run.engine.rule("a").unwrap().clone();
    run.engine.silence(&rule, NOW + 2 * MINUTE);
    assert_eq!(run.hold(20, &whole(0.5)), ["~+10 Pending", "~+70 Firing", "+120 Reminder"]);
}

#[test]
fn a_restart_in_the_middle_forgets_nothing_and_tells_nothing_anew() {
    let mut run = Run::of(SHARE);
    run.hold(4, &whole(0.5));
    run.restart(10 * SECOND);
    assert_eq!(run.hold(3, &whole(0.5)), ["+70 Firing"]);
    run.restart(MINUTE);
    assert_eq!(run.hold(3, &whole(0.5)), [] as [&str; 0]);
    run.restart(20 * MINUTE);
    assert_eq!(run.hold(1, &whole(0.5)), ["+1380 Reminder"]);
    assert_eq!(run.hold(7, &whole(0.0)), ["+1450 Resolved"]);
}

#[test]
fn time_in_which_nobody_looked_does_not_count() {
    let mut run = Run::of(SHARE);
    run.hold(2, &whole(0.5));
    run.restart(60 * MINUTE);
    assert_eq!(run.hold(4, &whole(0.5)), [] as [&str; 0]);
    assert_eq!(run.hold(2, &whole(0.5)).len(), 1);
}

#[test]
fn a_clock_that_jumps_back_keeps_no_alarm_hanging() {
    let mut run = Run::of(SHARE);
    run.hold(7, &whole(0.5));
    run.now -= 300 * MINUTE;
    let told = run.hold(8, &whole(0.0));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("Resolved"));
}

#[test]
fn a_changed_rule_begins_anew() {
    let mut run = Run::of(SHARE);
    run.hold(7, &whole(0.5));
    run.keys = "when = \"p99 > 1s\"".to_owned();
    run.restart(0);
    assert_eq!(run.hold(30, &whole(0.0)), [] as [&str; 0]);
}

#[test]
fn without_requests_nothing_is_wrong_with_them() {
    let mut run = Run::of(SHARE);
    run.hold(7, &whole(0.5));
    assert_eq!(run.hold(7, &by(&[])), ["+140 Resolved"]);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut run = Run::of(SHARE);
    run.hold(7, &whole(0.5));
    assert_eq!(run.hold(20, &Reading::Unknown), [] as [&str; 0]);
}

#[test]
fn a_machine_that_says_nothing_is_not_well_because_of_that() {
    let mut run = Run::of("when = \"cpu > 90%\"\nfor = \"0s\"\nby = \"proxy\"\nrepeat = false");
    assert_eq!(run.hold(1, &by(&[("one", 0.99), ("two", 0.1)])), ["+10 Firing one"]);
    assert_eq!(run.hold(30, &by(&[("two", 0.1)])), [] as [&str; 0]);
    assert_eq!(run.hold(4, &by(&[("one", 0.1)])), ["+350 Resolved one"]);
}

#[test]
fn a_machine_that_was_taken_away_is_no_alarm_for_ever() {
    let mut run = Run::of("when = \"cpu > 90%\"\nfor = \"0s\"\nby = \"proxy\"\nrepeat = false");
    run.hold(1, &by(&[("one", 0.99), ("two", 0.1)]));
    let day = 24 * 60 * 6;
    assert_eq!(run.hold(day - 1, &by(&[("two", 0.1)])), [] as [&str; 0]);
    assert_eq!(run.hold(4, &by(&[("two", 0.1)])), ["+86440 Resolved one"]);
}

#[test]
fn each_has_an_alarm_of_its_own() {
    let mut run = Run::of("when = \"p99 > 1s\"\nfor = \"0s\"\nby = \"route\"\nrepeat = false");
    assert_eq!(run.hold(1, &by(&[("/a", 2.0), ("/b", 0.1), ("/c", 0.1)])), ["+10 Firing /a"]);
    assert_eq!(run.hold(1, &by(&[("/a", 2.0), ("/b", 3.0), ("/c", 0.1)])), ["+20 Firing /b"]);
    assert_eq!(run.hold(4, &by(&[("/a", 2.0), ("/b", 0.1)])), ["+60 Resolved /b"]);
}

#[test]
fn what_falls_silent_is_missed() {
    let mut run = Run::of("when = \"requests < 1\"\nfor = \"30s\"\nby = \"upstream\"\nrepeat = false");
    assert_eq!(run.hold(3, &by(&[("app", 9.0), ("web", 4.0)])), [] as [&str; 0]);
    assert_eq!(run.hold(4, &by(&[("web", 4.0)])), ["~+40 Pending app", "+70 Firing app"]);
    run.restart(0);
    assert_eq!(run.hold(4, &by(&[("app", 1.0), ("web", 4.0)])), ["+110 Resolved app"]);
    // After a day nobody misses it any more.
    run.hold(4, &by(&[("web", 4.0)]));
    run.now += 24 * 60 * MINUTE;
    let told = run.hold(5, &by(&[("web", 4.0)]));
    assert!(told.last().unwrap().ends_with("Resolved app"), "{told:?}");
}

#[test]
fn no_more_than_64_fire_at_a_time_and_the_others_are_counted() {
    let mut run = Run::of("when = \"errors > 0\"\nfor = \"0s\"\nby = \"route\"");
    let names: Vec<String> = (0..100).map(|number| format!("/{number:03}")).collect();
    let all: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    assert_eq!(run.hold(1, &by(&all)).len(), 64);
    let standings = run.engine.standings(run.now);
    assert_eq!((standings.len(), standings[0].left_out), (64, 36));
}

#[test]
fn every_change_says_since_when() {
    let mut run = Run::of(SHARE);
    let mut last = None;
    for _ in 0..7 {
        last = run.step(whole(0.25)).pop().or(last);
    }
    let change = last.unwrap();
    assert_eq!((change.what, change.since, change.value), (What::Firing, NOW + 10 * SECOND, Some(0.25)));
}
