//! Addresses, networks and host names.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::socket_path;
use crate::config::read::{Problem, Word};
use crate::config::upstream::{HostPolicy, ServerAddress};

/// Where something is listened for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// Every address of this machine, IPv4 and IPv6.
    Any(u16),
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Word for Listen {
    const WHAT: &'static str = "address";
    const EXAMPLE: &'static str = "127.0.0.1:8080";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        if let Some(port) = text.strip_prefix(':') {
            return parse_port(port).map(Self::Any);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        Err(not_an_address(
            text,
            "a name cannot be listened on; write an address such as `127.0.0.1:8080` or `:8080`",
        ))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => write!(f, ":{port}"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Word for ServerAddress {
    const WHAT: &'static str = "server address";
    const EXAMPLE: &'static str = "10.0.0.11:3001";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix("dns:") {
            return dns(name);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let rest = rest.trim_end_matches('/');
            return Err(Problem::new(format!("`{}://` does not belong here", scheme.escape_debug()))
                .help(format!("upstreams speak plain HTTP/1.1; write `{}`", rest.escape_debug())));
        }
        if let Some(port) = text.strip_prefix(':') {
            return reachable(SocketAddr::from(([127, 0, 0, 1], parse_port(port)?)));
        }
        match text.parse() {
            Ok(address) => reachable(address),
            Err(_) => Err(not_an_address(text, &format!("for a name, write `dns:{}`", text.escape_debug()))),
        }
    }
}

fn reachable(address: SocketAddr) -> Result<ServerAddress, Problem> {
    match address.port() {
        0 => Err(Problem::new("nothing listens on port 0")),
        _ => Ok(ServerAddress::Tcp(address)),
    }
}

fn dns(name: &str) -> Result<ServerAddress, Problem> {
    let missing = || Problem::new("a name needs a port").help("write `dns:HOST:PORT`");
    let (host, port) = name.rsplit_once(':').ok_or_else(missing)?;
    check_host_name(host)?;
    match parse_port(port)? {
        0 => Err(Problem::new("nothing listens on port 0")),
        port => Ok(ServerAddress::Dns { host: host.to_ascii_lowercase(), port }),
    }
}

fn parse_port(port: &str) -> Result<u16, Problem> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if is_number => Ok(number),
        _ if is_number => Err(Problem::new(format!("port {port} is more than 65535"))),
        _ => Err(Problem::new(format!("`{}` is not a port", port.escape_debug()))),
    }
}

/// Says what is wrong with something that should have been `ADDRESS:PORT`; `for_names` is the help for a name.
fn not_an_address(text: &str, for_names: &str) -> Problem {
    let problem = Problem::new(format!("`{}` is not an address with a port", text.escape_debug()));
    if text.parse::<u16>().is_ok() {
        return problem.help(format!("write `:{text}`"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return problem.help("add a port, with brackets around an IPv6 address: `127.0.0.1:80`, `[::1]:80`");
    }
    match text.rsplit_once(':') {
        Some(("*", port)) => problem.help(format!("write `:{}` for every address", port.escape_debug())),
        Some((host, port)) if parse_port(port).is_err() => match host.parse::<IpAddr>() {
            Ok(_) => parse_port(port).err().unwrap_or(problem),
            Err(_) => problem,
        },
        Some((host, _)) if check_host_name(host).is_ok() && !looks_like_ipv4(host) => problem.help(for_names),
        _ => problem,
    }
}

fn looks_like_ipv4(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// One or several networks: `10.0.0.0/8`, an address, `private` or `loopback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net(pub Vec<IpNet>);

/// RFC 1918, RFC 4193 and the link-local ranges.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

impl Word for Net {
    const WHAT: &'static str = "network";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn parse(text: &str) -> Result<Self, Problem> {
        let several = |nets: &[&str]| Self(nets.iter().filter_map(|net| net.parse().ok()).collect());
        match text {
            "private" => return Ok(several(&PRIVATE)),
            "loopback" => return Ok(several(&LOOPBACK)),
            _ => {}
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(vec![address.into()]));
        }
        let net: IpNet = text.parse().map_err(|_| {
            Problem::new(format!("`{}` is not a network", text.escape_debug()))
                .help("write an address, a network such as `10.0.0.0/8`, `private` or `loopback`")
        })?;
        if net != net.trunc() {
            return Err(Problem::new(format!("`{text}` is an address in a network, not the network"))
                .help(format!("write `{}` for the network, or the address without `/`", net.trunc())));
        }
        Ok(Self(vec![net]))
    }
}

/// The name of a site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A host name or address, in lower case, without a dot at its end.
    Exact(Arc<str>),
    /// `*.example.com`: every name below `example.com`; here without `*.`.
    Wildcard(Arc<str>),
    /// `*`: what no other site takes.
    Any,
}

impl Word for Host {
    const WHAT: &'static str = "host name";
    const EXAMPLE: &'static str = "example.com";

    fn parse(text: &str) -> Result<Self, Problem> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or(rest);
            return Err(Problem::new(format!(
                "`{}://` does not belong into a host name",
                scheme.escape_debug()
            ))
            .help(format!("write `{}`", host.escape_debug())));
        }
        if let Some(parent) = text.strip_prefix("*.") {
            check_host_name(parent)?;
            return Ok(Self::Wildcard(parent.to_ascii_lowercase().into()));
        }
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = inside.unwrap_or(text).parse::<Ipv6Addr>() {
            return Ok(Self::Exact(format!("[{address}]").into()));
        }
        check_host_name(text)?;
        Ok(Self::Exact(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("*"),
        }
    }
}

fn is_bracketed_ipv6(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inside.is_some_and(|inside| inside.parse::<Ipv6Addr>().is_ok())
}

/// RFC 1123 section 2.1, with `_` for the names of containers.
fn check_host_name(text: &str) -> Result<(), Problem> {
    let shown = text.escape_debug();
    if text.is_empty() {
        return Err(Problem::new("the host name is empty"));
    }
    if !text.is_ascii() {
        return Err(Problem::new(format!("`{shown}` is not ASCII")).help("write the name in its `xn--` form"));
    }
    if let Some((host, _)) = text.split_once(':') {
        return Err(Problem::new("a host name has no port").help(format!("write `{}`", host.escape_debug())));
    }
    if text.contains('*') {
        return Err(Problem::new(format!("`{shown}` has a `*` inside"))
            .help("`*` may stand alone or as the first label: `*.example.com`"));
    }
    if text.ends_with('.') {
        return Err(Problem::new("a host name has no dot at its end here"));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(Problem::new(format!("`{shown}` is not a host name")));
    }
    Ok(())
}

impl Word for HostPolicy {
    const WHAT: &'static str = "host name";
    const EXAMPLE: &'static str = "pass";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "pass" => Ok(Self::Pass),
            "upstream" => Ok(Self::Upstream),
            _ if text.contains("://") => Err(Problem::new("a host name has no scheme")),
            _ => {
                let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
                if !is_bracketed_ipv6(host) {
                    check_host_name(host)?;
                }
                if let Some((_, port)) = text.rsplit_once(':').filter(|_| !is_bracketed_ipv6(text)) {
                    parse_port(port)?;
                }
                Ok(Self::Text(text.into()))
            }
        }
    }
}
