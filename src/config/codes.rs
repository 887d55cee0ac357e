//! The stable codes of diagnostics. A code is never given to another meaning.

/// A code with what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    pub about: &'static str,
}

macro_rules! codes {
    ($( $NAME:ident = $code:literal, $about:literal; )+) => {
        $( pub const $NAME: Code = Code { code: $code, about: $about }; )+
        /// All of them, in order.
        pub const ALL: &[Code] = &[$($NAME),+];
    };
}

codes! {
    UNREADABLE_FILE = "E0001", "a file cannot be read";
    NOT_TEXT = "E0002", "a configuration file is not UTF-8";
    NO_INCLUDE = "E0003", "an include names nothing, or is not a usable pattern";
    NESTED_INCLUDE = "E0004", "an included file includes again";
    SYNTAX = "E0101", "the file is not TOML";
    UNKNOWN_KEY = "E0102", "there is no such key";
    WRONG_FORM = "E0103", "the value has the wrong form: a number for a string, and the like";
    BAD_VALUE = "E0104", "the value has the right form, but not the right content";
    MISSING_KEY = "E0105", "a key is missing";
    UNDEFINED_VARIABLE = "E0106", "an environment variable is not set";
    TWICE = "E0107", "the same name stands twice";
    BAD_VARIABLE = "E0108", "`${` without a usable name or end";
    NO_LISTENER = "E0201", "neither `http` nor `https`";
    NO_ACTION = "E0202", "a route does nothing";
    NO_UPSTREAM = "E0203", "there is no such upstream";
    NO_LIMIT = "E0204", "there is no such limit";
    TWO_ACTIONS = "E0205", "a route does more than one thing";
    SAME_ROUTE = "E0206", "two routes take the same requests";
    SAME_HOST = "E0207", "two sites have the same name";
    ADDRESS_CLASH = "E0208", "an address is listened on twice";
    NO_ENDPOINT = "E0209", "an upstream has neither servers nor workers";
    KEY_WITHOUT_EFFECT = "E0210", "a key that does not go with the rest of the table";
    NOT_YET = "E0211", "not available in this version";
    TLS_WITHOUT_HTTPS = "E0212", "a site has `tls`, but nothing listens for it";
    NOTHING_LIMITED = "E0213", "a limit without a number";
    FORBIDDEN_HEADER = "E0214", "a header field that belongs to the proxy";
    SAME_SERVER = "E0215", "an upstream names the same server twice";
    NO_CARRY = "E0216", "a `*` carries over what no `*` stands for";
    NO_CERTIFICATE = "E0217", "https is listened on, but no site has `tls`";
    OUT_OF_ORDER = "E0218", "two values contradict each other";
    NO_NOTIFY = "E0221", "there is no such notify";
    NOBODY_TOLD = "E0222", "a notify that sends nowhere, or to several places";
    UNFIT = "E0301", "a part of the plan cannot be built";
    BAD_CERTIFICATE = "E0302", "a certificate or its key cannot be used";
    NO_ROOT = "E0303", "a directory of files cannot be served";
    CERTIFICATE_FINDING = "W0301", "something about a certificate that its owner should know";
    UNUSED_LIMIT = "W0103", "a limit is never used";
    UNUSED_UPSTREAM = "W0104", "an upstream is never used";
    SHADOWED_ROUTE = "W0105", "a route can never match";
    OPEN_KEY = "W0106", "a private key is readable by others";
    NO_SITE = "W0107", "nothing is served";
    NO_ROUTE = "W0108", "a site has no route";
    TRUST_ALL = "W0109", "everybody is trusted";
    ONLY_BACKUPS = "W0110", "an upstream has nothing but backups";
    UNUSED_TIMEOUT = "W0111", "a check takes longer than the pause between two";
    LOG_NOWHERE = "W0112", "the records go nowhere";
}
