use proptest::prelude::*;

use super::*;

#[test]
fn has_one_canonical_form() {
    for (path, canonical) in [
        ("/", "/"),
        ("/a/b.c", "/a/b.c"),
        ("/a//b", "/a/b"),
        ("//", "/"),
        ("///a//", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/a/b/..", "/a/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E./b", "/b"),
        ("/a/.%2e", "/"),
        ("/a/%2e/b", "/a/b"),
        ("/a//../b", "/b"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/..a/b..", "/..a/b.."),
        ("/%41%7e%2D", "/A~-"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%E9", "/%E9"),
        ("/%C0", "/%C0"),
        ("/%C0%41", "/%C0A"),
        ("/a%20b", "/a%20b"),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a;..x/b", "/a;..x/b"),
        ("/a|b^{\"}", "/a%7Cb%5E%7B%22%7D"),
        ("/[x]", "/%5Bx%5D"),
        ("/A/%61", "/A/a"),
        ("/*", "/*"),
    ] {
        let made = canonical_path(path).unwrap_or_else(|refusal| panic!("{path}: {refusal}"));
        assert_eq!(made.path, canonical, "{path}");
        assert_eq!(matches!(made.path, Cow::Owned(_)), path != canonical, "{path}");
        assert!(!made.has_encoded_slash, "{path}");
    }
}

#[test]
fn marks_encoded_slashes() {
    for (path, canonical) in [("/a%2Fb", "/a%2Fb"), ("/a%2fb/c", "/a%2Fb/c"), ("/%2f", "/%2F")] {
        let made = canonical_path(path).unwrap();
        assert_eq!((made.path.as_ref(), made.has_encoded_slash), (canonical, true), "{path}");
    }
}

#[test]
fn refuses_paths_with_two_readings() {
    for path in [
        "",
        "a",
        "*",
        "http://a/",
        "/..",
        "/../a",
        "/a/../../b",
        "/%2e%2e/a",
        "/./..",
        "//..",
        "/a\\b",
        "/a%5cb",
        "/a%5C..",
        "/%00",
        "/a%00.html",
        "/%0d%0aX",
        "/%1b",
        "/%7f",
        "/a#b",
        "/%",
        "/%4",
        "/%zz",
        "/%u002e",
        "/%2",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/;../b",
        "/a/;..",
        "/a/%2e%2e;/b",
        "/a/..%3b/b",
        "/a/..%2fb",
        "/a/b%2f..",
        "/a/%2e%2e%2fb",
        "/..%2f",
        "/%c0%af",
        "/%C0%AE%c0%ae/",
        "/%e0%80%af",
        "/%f0%80%80%af",
        "/a b",
        "/a\tb",
        "/caf\u{e9}",
    ] {
        assert!(canonical_path(path).is_err(), "{path} passed as {:?}", canonical_path(path));
    }
}

/// Pieces that matter, so that the random paths meet every rule.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("a"),
        Just("B~"),
        Just(";"),
        Just("%2e"),
        Just("%2F"),
        Just("%3b"),
        Just("%41"),
        Just("%c3%a9"),
        Just("%20"),
        Just("%25"),
        Just("|"),
        Just("@"),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn fast_path_equals_slow_path(path in "/[a-zA-Z0-9._~!$&'()*+,=:@/-]{0,40}") {
        prop_assert_eq!(canonical_path(&path).ok(), careful(&path).ok());
    }

    #[test]
    fn fast_and_slow_agree_on_anything(path in paths()) {
        prop_assert_eq!(canonical_path(&path).ok(), careful(&path).ok());
    }

    #[test]
    fn canonical_form_is_a_fixed_point(path in paths()) {
        if let Ok(first) = canonical_path(&path) {
            let again = canonical_path(&first.path);
            prop_assert!(again.is_ok(), "{} became {}, which is refused", path, first.path);
            prop_assert_eq!(again.unwrap().path, first.path.as_ref());
        }
    }

    #[test]
    fn passed_paths_hold_nothing_that_an_origin_could_resolve(path in paths()) {
        if let Ok(made) = canonical_path(&path) {
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(&made.path).collect();
            let dots = decoded.split(|b| matches!(b, b'/' | b';' | b'\\')).any(|s| s == b"." || s == b"..");
            prop_assert!(!dots, "{} became {}", path, made.path);
            prop_assert!(!made.path.contains("//"));
        }
    }

    #[test]
    fn never_panics(path in "\\PC{0,40}") {
        let _ = canonical_path(&path);
    }
}
