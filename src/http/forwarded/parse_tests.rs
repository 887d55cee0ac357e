use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    parse_forwarded(line, &mut elements).map(|()| elements)
}

fn address(text: &str, port: Option<u16>) -> Option<Node> {
    Some(Node::Address(text.parse().unwrap(), port))
}

#[test]
fn reads_the_examples_of_the_standard() {
    for (line, client) in [
        ("for=\"_gazonk\"", Some(Node::Hidden)),
        ("For=\"[2001:db8:cafe::17]:4711\"", address("2001:db8:cafe::17", Some(4711))),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", address("192.0.2.60", None)),
        ("for=\"192.0.2.43:47011\"", address("192.0.2.43", Some(47011))),
        ("for=unknown", Some(Node::Hidden)),
        ("for=\"[2001:db8:cafe::17]\"; proto=https", address("2001:db8:cafe::17", None)),
        ("for=\"192.0.2.43:_port\"", address("192.0.2.43", None)),
        ("proto=https", None),
    ] {
        let elements = parse(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((elements.len(), elements[0].client), (1, client), "{line}");
    }
    let list =
        parse("for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com").unwrap();
    assert_eq!((list.len(), list[1].client), (2, address("198.51.100.17", None)));
    assert_eq!((list[1].by, list[1].proto.as_deref()), (address("203.0.113.60", None), Some("http")));
    assert_eq!(list[1].host.as_deref(), Some("example.com"));
}

#[test]
fn quotes_hide_separators() {
    let list = parse("host=\"a;b,c\\\"d\";for=1.2.3.4 , for=\"5.6.7.8\",").unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].host.as_deref(), Some("a;b,c\"d"));
    assert_eq!(list[1].client, address("5.6.7.8", None));
}

#[test]
fn refuses_what_breaks_the_grammar() {
    for line in [
        "for",
        "for=",
        "=1.2.3.4",
        "for=1.2.3.4;for=1.2.3.5",
        "for=1.2.3.4;FOR=1.2.3.5",
        "for=1.2.3.4;",
        "for=1.2.3.4 for=1.2.3.5",
        "for=\"1.2.3.4",
        "for=\"1.2.3.4\\",
        "for=1.2.3.4:80",
        "for=[::1]",
        "for=\"::1\"",
        "for=\"::1:_x\"",
        "for=1.2.3",
        "for=nobody",
        "for=_",
        "for=\"1.2.3.4:99999\"",
        "for = 1.2.3.4",
        "for=\"1.2.3.4\"x",
        "for=\"\"",
    ] {
        assert_eq!(parse(line), None, "{line}");
    }
    assert_eq!(parse("").unwrap().len(), 0);
    assert_eq!(parse(" , ,").unwrap().len(), 0);
}

proptest! {
    #[test]
    fn never_panics(line in "\\PC{0,60}", more in "[for=;,\" \\\\:\\[\\]a1._]{0,40}") {
        let _ = parse(&line);
        let _ = parse(&more);
        let _ = chain::address(line.as_bytes());
    }

    #[test]
    fn reads_what_was_written(hops in proptest::collection::vec((any::<u128>(), any::<bool>(), any::<Option<u16>>()), 1..5)) {
        let nodes: Vec<(IpAddr, Option<u16>)> = hops
            .iter()
            .map(|&(bits, v6, port)| {
                let ip = if v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) };
                (ip.to_canonical(), port)
            })
            .collect();
        let line: Vec<String> = nodes
            .iter()
            .map(|(ip, port)| {
                let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
                let port = port.map_or(String::new(), |port| format!(":{port}"));
                format!("for=\"{host}{port}\"")
            })
            .collect();
        let line = line.join(", ");
        let read: Vec<_> = parse(&line).unwrap().into_iter().map(|element| element.client).collect();
        let wrote: Vec<_> = nodes.into_iter().map(|(ip, port)| Some(Node::Address(ip, port))).collect();
        prop_assert_eq!(read, wrote);
    }
}
