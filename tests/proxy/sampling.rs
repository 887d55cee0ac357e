//! What `log.sample` leaves out is declared, and takes nothing else with it: neither in a file nor in the log service.

use serde_json::Value;

use crate::support::{Origin, Setup, Tollgate, eventually, get};

const GOOD: usize = 600;
const BAD: usize = 60;

fn ask_all(tollgate: &Tollgate) {
    let mut client = tollgate.plain();
    for number in 0..GOOD + BAD {
        let path = if number % (GOOD / BAD + 1) == 0 { "/bad" } else { "/good" };
        client.ask(get(path));
    }
}

fn lines(tollgate: &Tollgate, words: &[&str]) -> Vec<Value> {
    let output = tollgate.command(words);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn what_sampling_leaves_out_is_declared_and_nothing_else_is_missing() {
    let origin = Origin::with(|talk| match talk.path() {
        "/bad" => talk.answer(500, &[], b"no"),
        _ => talk.ok("ok"),
    });
    let setup = Setup::proxy(origin.address).ship_to("embedded");
    let tollgate = setup.log("sample = { rate = \"10%\" }\ndata = \"DIR/data\"").start();
    ask_all(&tollgate);
    let audited = |source: &[&str]| {
        eventually("all of them are accounted for", || {
            let told =
                lines(&tollgate, &[&["logs", "audit", "-o", "json", "--since", "all"], source].concat());
            let sum = |name: &str| told.iter().filter_map(|line| line[name].as_u64()).sum::<u64>() as usize;
            let report = told.last()?;
            (sum("stored") + report["sampled_out"].as_u64()? as usize >= GOOD + BAD).then(|| {
                assert_eq!((sum("lost"), sum("unexplained")), (0, 0), "{told:?}");
                assert_eq!((&report["missing"], &report["complete"]), (&0.into(), &true.into()), "{report}");
                report["sampled_out"].as_u64().unwrap() as usize
            })
        })
    };
    // One in ten is kept, by chance; and nobody has left out what failed.
    let sampled = audited(&[]);
    assert!((GOOD / 2..GOOD).contains(&sampled), "{sampled}");
    let file = tollgate.setup.dir().join("access.log");
    assert_eq!(audited(&["--from", file.to_str().unwrap()]), sampled);
    let failed = lines(&tollgate, &["logs", "search", "status:500", "-n", "1000", "-o", "json"]);
    assert_eq!(failed.iter().filter(|line| line["kind"] == "request").count(), BAD);
    let good = lines(&tollgate, &["logs", "search", "status:200", "-n", "1000", "-o", "json"]);
    let good: Vec<&Value> = good.iter().filter(|line| line["kind"] == "request").collect();
    assert!(good.len() == GOOD - sampled && good.iter().all(|line| line["sw"] == 10), "{good:?}");
}

#[test]
fn what_was_left_out_just_before_a_kill_is_declared_and_costs_hardly_a_row() {
    let origin = Origin::with(|talk| talk.ok("ok"));
    let setup = Setup::proxy(origin.address).ship_to("embedded");
    let mut tollgate = setup.log("sample = { rate = \"1%\" }\ndata = \"DIR/data\"").start();
    const EACH: usize = 40;
    for _ in 0..3 {
        let mut client = tollgate.plain();
        (0..EACH).for_each(|_| assert_eq!(client.ask(get("/good")).status, 200));
        // All of them have left their ring; hardly any was kept.
        eventually("sampling has left them out", || {
            (tollgate.status()["log"]["sampled"].as_u64()? as usize >= EACH * 3 / 4).then_some(())
        });
        tollgate.kill();
        tollgate.start_again();
    }
    eventually("all of them are accounted for", || {
        let told = lines(&tollgate, &["logs", "audit", "-o", "json", "--since", "all"]);
        let sum = |name: &str| told.iter().filter_map(|line| line[name].as_u64()).sum::<u64>() as usize;
        let report = told.last()?;
        let all = sum("stored") + report["sampled_out"].as_u64()? as usize >= 3 * EACH;
        all.then(|| assert_eq!((sum("lost"), sum("unexplained")), (0, 0), "{told:?}"))
    });
    let gaps = lines(&tollgate, &["logs", "search", "kind:gap reason:sampled", "-n", "1000", "-o", "json"]);
    let gaps = gaps.iter().filter(|line| line["kind"] == "gap").count();
    assert!(gaps <= EACH, "{gaps}");
}
