//! Any bytes as messages of Fluentd's forward protocol, however they arrive: each entry that comes out is a JSON object within
//! its bound, and nothing is read further than the bytes go.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::io::BufReader;
use tollgate::wire::forward::handshake;
use tollgate::wire::forward::{Piece, Reader};

const MAX: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let Some((piece, sent)) = data.split_first() else { return };
    let (_, let_in) = handshake::pong(sent, &[7; 16], "key", "name");
    assert!(let_in.is_err(), "nobody guesses a digest");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut reader = Reader::new(BufReader::with_capacity(usize::from(*piece) + 1, sent), MAX);
        while let Ok(true) = reader.ready().await {
            loop {
                match reader.next().await {
                    Ok(Piece::Entry(text)) => {
                        assert!(text.len() <= MAX);
                        let read: Result<serde_json::Value, _> = serde_json::from_slice(&text);
                        assert!(read.is_ok_and(|value| value.is_object()));
                    }
                    Ok(Piece::Refused(_)) => {}
                    Ok(Piece::End(_)) => break,
                    Err(_) => return,
                }
            }
        }
    });
});
