//! Making request data harmless to a terminal: the one way by which it gets there.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Text from outside, printed with everything that could drive or deceive a terminal shown as `\x1b` or `\u{202e}`.
pub struct Safe<'a>(pub &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            f.write_str(&rest[..at])?;
            let code = u32::from(bad);
            if code < 0x100 {
                write!(f, "\\x{code:02x}")?
            } else {
                write!(f, "\\u{{{code:x}}}")?
            }
            rest = &rest[at + bad.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// JSON text in which the same characters are written as `\u001b`. Valid JSON has them only inside strings, where
/// that means the same.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// C0, DEL and C1 controls; marks that turn the writing direction; separators that some terminals break lines at;
/// invisible characters that make two different texts look the same.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_shown_not_obeyed() {
        let text = "a\x1b[2Jb\u{9b}c\u{7f}d\u{202e}e\nf";
        assert_eq!(Safe(text).to_string(), r"a\x1b[2Jb\x9bc\x7fd\u{202e}e\x0af");
        assert_eq!(Safe("häß 猫 🐈").to_string(), "häß 猫 🐈");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_ever_printed(text in any::<String>()) {
            prop_assert!(!Safe(&text).to_string().contains(is_unsafe));
        }

        #[test]
        fn json_stays_the_same_value(text in any::<String>()) {
            let value = serde_json::Value::String(text);
            let stored = value.to_string();
            let safe = json(&stored);
            prop_assert!(!safe.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }
}
