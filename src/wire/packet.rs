//! `¶` packets: JSON on TCP, each `{"uri":…,"method":…,"key":…,"params":…}` and the bytes C2 B6 behind it.
//!
//! Inside strings `¶` is written `\u00b6`, as the frame has no other escape. What we send is ASCII: many receivers turn
//! what one read brings into text, and would break a character that came in two halves.

use std::net::IpAddr;

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What ends a packet.
pub const END: &[u8] = "¶".as_bytes();

/// Appends a packet. `params` is JSON; `key` 0 asks for no answer.
pub fn write(uri: &str, method: &str, key: u64, params: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!(r#"{{"uri":"{uri}","method":"{method}","key":{key},"params":"#).as_bytes());
    ascii(params, out);
    out.push(b'}');
    out.extend_from_slice(END);
}

/// JSON in ASCII: everything else can only stand inside strings.
fn ascii(json: &[u8], out: &mut Vec<u8>) {
    if json.is_ascii() {
        return out.extend_from_slice(json);
    }
    for character in String::from_utf8_lossy(json).chars() {
        if character.is_ascii() {
            out.push(character as u8);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
}

/// What an answer says about the packet with this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub key: u64,
    /// 0 when all is well.
    pub code: i64,
    pub message: String,
}

impl Answer {
    /// Reads one packet; `None` when it is no answer.
    pub fn read(packet: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Read<'a> {
            key: u64,
            errorcode: i64,
            #[serde(borrow, default)]
            errormessage: Option<&'a RawValue>,
        }
        let read: Read<'_> = serde_json::from_slice(packet).ok()?;
        // Some send text there, some an object of their database.
        let message = read.errormessage.map(RawValue::get).unwrap_or_default();
        let message = serde_json::from_str(message).unwrap_or_else(|_| message.to_owned());
        Some(Self { key: read.key, code: read.errorcode, message })
    }
}

/// A service that a Distributor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As the Distributor sees it; `None` when it does not say.
    pub host: Option<IpAddr>,
    pub port: u16,
    pub name: String,
    /// What it serves: `POST/logs`.
    pub urls: Vec<String>,
}

/// What a Distributor pushes to everybody who is connected: all services that it knows. `None` when it is another packet.
pub fn nodes(packet: &[u8]) -> Option<Vec<Node>> {
    #[derive(Deserialize)]
    struct Push<'a> {
        uri: String,
        #[serde(borrow)]
        params: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Read {
        port: u16,
        #[serde(default)]
        name: String,
        #[serde(default)]
        urls: Vec<String>,
        #[serde(default)]
        host: Option<String>,
    }
    let push: Push<'_> = serde_json::from_slice(packet).ok()?;
    if push.uri != "/distributes" {
        return None;
    }
    // One that is not understood must not hide the others.
    let read = push.params.iter().filter_map(|node| serde_json::from_str::<Read>(node.get()).ok());
    let node = |read: Read| {
        let host = read.host.and_then(|host| host.parse::<IpAddr>().ok());
        Node { host: host.map(|host| host.to_canonical()), port: read.port, name: read.name, urls: read.urls }
    };
    Some(read.map(node).collect())
}

/// Bytes that came, cut into packets.
#[derive(Debug)]
pub struct Frames {
    pub buffer: BytesMut,
    /// Bytes at the front that are known to hold no end.
    searched: usize,
    max_packet: usize,
}

impl Frames {
    pub fn new(max_packet: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, max_packet }
    }

    /// Takes all whole packets out; true when the one that is coming is too large, or one was.
    pub fn take(&mut self) -> (Vec<Bytes>, bool) {
        let mut packets = Vec::new();
        // The first half of an end may stand at the edge of what was searched.
        while let Some(at) = memchr::memmem::find(&self.buffer[self.searched..], END) {
            let packet = self.buffer.split_to(self.searched + at).freeze();
            self.buffer.advance(END.len());
            self.searched = 0;
            if packet.len() > self.max_packet {
                return (packets, true);
            }
            if !packet.trim_ascii().is_empty() {
                packets.push(packet);
            }
        }
        self.searched = self.buffer.len().saturating_sub(END.len() - 1);
        (packets, self.buffer.len() > self.max_packet + END.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    proptest! {
        #[test]
        fn cutting_does_not_depend_on_how_bytes_arrive(
            packets in proptest::collection::vec("[a-z\u{b6}¬Â ]{0,12}", 0..8),
            cuts in proptest::collection::vec(0usize..80, 0..10),
        ) {
            let sent = packets.iter().map(|packet| format!("{}¶", packet.replace('¶', "?"))).collect::<String>();
            let mut frames = Frames::new(100);
            let mut got = Vec::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(sent.len())).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                frames.buffer.extend_from_slice(&sent.as_bytes()[pair[0]..pair[1]]);
                let (packets, lost) = frames.take();
                prop_assert!(!lost);
                got.extend(packets);
            }
            let expected: Vec<String> =
                packets.iter().map(|p| p.replace('¶', "?")).filter(|p| !p.as_bytes().trim_ascii().is_empty()).collect();
            prop_assert_eq!(got, expected);
            prop_assert!(frames.buffer.is_empty());
        }

        #[test]
        fn what_is_written_is_ascii_and_read_again(text: String, key: u64) {
            let mut out = Vec::new();
            let params = serde_json::json!({"text": text}).to_string();
            write("/logs", "POST", key, params.as_bytes(), &mut out);
            let mut frames = Frames::new(out.len());
            frames.buffer.extend_from_slice(&out);
            let (packets, is_lost) = frames.take();
            prop_assert!(!is_lost && packets.len() == 1 && packets[0].is_ascii());
            let read: Value = serde_json::from_slice(&packets[0]).unwrap();
            prop_assert_eq!(read["params"]["text"].as_str(), Some(&*text));
            prop_assert_eq!(read["key"].as_u64(), Some(key));
        }
    }

    #[test]
    fn an_oversized_packet_loses_the_frame() {
        let mut frames = Frames::new(4);
        frames.buffer.extend_from_slice("1234¶".as_bytes());
        assert_eq!(frames.take(), (vec![Bytes::from_static(b"1234")], false));
        frames.buffer.extend_from_slice("12345¶".as_bytes());
        assert_eq!(frames.take(), (vec![], true));
        let mut frames = Frames::new(4);
        frames.buffer.extend_from_slice(b"1234567");
        assert_eq!(frames.take(), (vec![], true));
    }

    #[test]
    fn a_distributor_tells_who_serves_what() {
        let push = r#"{"uri":"/distributes","method":"GET","key":0,"params":[
            {"port":9040,"name":"logs","urls":["POST/logs"],"host":"::ffff:10.0.0.5"},
            {"port":"no"},{"port":8000,"name":"gate","urls":[]}]}"#;
        let nodes = nodes(push.as_bytes()).unwrap();
        assert_eq!((nodes.len(), nodes[0].host), (2, Some([10, 0, 0, 5].into())));
        assert_eq!((nodes[0].port, &*nodes[0].urls[0], nodes[1].host), (9040, "POST/logs", None));
        assert_eq!(super::nodes(br#"{"uri":"/logs","params":[]}"#), None);
    }

    #[test]
    fn answers_have_a_key_and_a_code() {
        let answer = |code, message: &str| Some(Answer { key: 7, code, message: message.to_owned() });
        assert_eq!(
            Answer::read(br#"{"key":7,"errorcode":0,"errormessage":"success"}"#),
            answer(0, "success")
        );
        assert_eq!(
            Answer::read(br#"{"key":7,"errorcode":1,"errormessage":{"a":1}}"#),
            answer(1, "{\"a\":1}")
        );
        assert_eq!(Answer::read(br#"{"key":7,"errorcode":1}"#), answer(1, ""));
        assert_eq!(Answer::read(br#"{"uri":"/logs"}"#), None);
    }
}
