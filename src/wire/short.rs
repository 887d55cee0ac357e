//! [`shortened`]: a record that is too long for a receiver, as a smaller one that says so.

use serde_json::value::RawValue;

use crate::record::escape::{json_string, member_name};
use crate::record::members::{Members, text_of};

/// Texts are cut to so many bytes, one step after the other, until it fits.
const STEPS: [usize; 4] = [1024, 256, 64, 16];
/// What says which members were cut; our own records have it already.
const CUT: &str = "cut";

/// The object with its long texts cut, and without its long lists and objects, in at most so many bytes; `cut` names them.
/// `None` when it is no object, or nothing helps.
pub fn shortened(object: &[u8], most: usize) -> Option<Vec<u8>> {
    let members = Members::of(object).ok()?;
    STEPS.iter().map(|&step| cut_to(&members, step)).find(|short| short.len() <= most)
}

fn cut_to(members: &Members<'_>, longest: usize) -> Vec<u8> {
    let mut out = vec![b'{'];
    let mut cut = members
        .raw(CUT)
        .and_then(|names| serde_json::from_str::<Vec<String>>(names).ok())
        .unwrap_or_default();
    for (name, value) in members.0.iter().filter(|(name, _)| name != CUT) {
        if value.get().len() <= longest {
            member(name, |out| out.extend_from_slice(value.get().as_bytes()), &mut out);
            continue;
        }
        if let Some(begin) = begin_of(value, longest) {
            member(name, |out| _ = json_string(begin.as_bytes(), out), &mut out);
        }
        // A name of this length would be as bad as its value.
        if name.len() <= longest && !cut.iter().any(|other| other == name) {
            cut.push(name.to_string());
        }
    }
    let names = serde_json::to_vec(&cut).unwrap_or_default();
    member(CUT, |out| out.extend_from_slice(&names), &mut out);
    out.push(b'}');
    out
}

fn member(name: &str, value: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    member_name(name, out);
    value(out);
}

/// The beginning of a text, whole characters.
fn begin_of(value: &RawValue, longest: usize) -> Option<String> {
    let text = text_of(value.get())?;
    Some(text[..text.floor_char_boundary(longest)].to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn long_texts_are_cut_and_named() {
        let object = json!({"id": "1", "status": 504, "path": "é".repeat(5000), "ua": "x".repeat(900), "cut": ["query"],
            "list": vec![1; 5000]});
        let short = shortened(object.to_string().as_bytes(), 8192).unwrap();
        let read: Value = serde_json::from_slice(&short).unwrap();
        assert_eq!((&read["id"], &read["status"], &read["ua"]), (&json!("1"), &json!(504), &object["ua"]));
        assert_eq!(read["path"].as_str().unwrap(), "é".repeat(512));
        assert_eq!((read.get("list"), &read["cut"]), (None, &json!(["query", "list", "path"])));
        for most in [200, 1000] {
            assert!(shortened(object.to_string().as_bytes(), most).unwrap().len() <= most);
        }
        assert_eq!((shortened(object.to_string().as_bytes(), 50), shortened(b"[1]", 50)), (None, None));
    }
}
