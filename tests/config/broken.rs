//! However a file is damaged: no panic, and every place that is shown lies in the file.

use proptest::prelude::*;
use tollgate::config;

const WHOLE: &str = include_str!("../../config/examples/many-sites.toml");

proptest! {
    #[test]
    fn a_damaged_file_is_told_about_and_never_panics(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[\\[\\]{}\"'=,.*~$/ a-f0-9\n\u{e9}]{0,4}"), 1..4)
    ) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(found) = config::from_text("damaged.toml", &text, &crate::variables) {
            prop_assert!(found.errors() > 0);
            prop_assert!(found.render(false).contains("error["));
            for one in found.iter() {
                if let Some(spot) = one.place.spot() {
                    prop_assert!(text.get(spot.start..spot.end).is_some(), "{:?}", spot);
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in "(\\PC|\n){0,200}") {
        if let Err(found) = config::from_text("any.toml", &text, &crate::variables) {
            prop_assert!(!found.to_string().is_empty());
        }
    }
}

#[test]
fn the_control_socket_is_found_however_broken_the_rest_is() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("tollgate.toml");
    let admin = |text: &str| {
        std::fs::write(&main, text).unwrap();
        config::admin(&main, &crate::variables).map(|listen| listen.to_string())
    };
    let named = Some("unix:run/x.sock".to_owned());
    for rest in
        ["", "nonsense = 1\n", "http = [\n", "[site.\"a\"]\nroutes = 7\n", "[[[\n", "a = \"unclosed\n"]
    {
        assert_eq!(admin(&format!("[server]\nadmin = \"unix:run/x.sock\"\n{rest}")), named, "{rest}");
    }
    std::fs::write(dir.path().join("server.toml"), "[server]\nadmin = \"unix:run/x.sock\"\n").unwrap();
    assert_eq!(admin("include = [\"server.toml\"]\n[[[\n"), named);
    assert_eq!(admin("[server]\nhttp = \":80\"\n"), None);
    assert_eq!(admin("[server]\nadmin = 7\n"), None);
}
