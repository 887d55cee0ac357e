//! The language as data: one description of each key feeds the reader, the JSON Schema and the reference.
//!
//! `table!` declares a table of the language, `choice!` a closed set of words, `either!` a value of several forms.

use super::node::{Node, Value};

/// A table of the language.
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub about: &'static [&'static str],
    pub keys: Vec<Key>,
}

/// One key of a table.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub presence: Presence,
    pub doc: &'static [&'static str],
}

/// What happens when the key is left out.
#[derive(Clone, Debug)]
pub enum Presence {
    Required,
    Optional,
    Default(Literal),
}

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A string with a grammar: what it is, and an example.
    Word {
        what: &'static str,
        example: &'static str,
    },
    Choice {
        what: &'static str,
        words: &'static [&'static str],
    },
    Bool,
    /// A switch that is only ever written one way.
    Only(bool),
    Integer {
        min: i64,
        max: i64,
    },
    List(Box<Kind>),
    OneOrMany(Box<Kind>),
    /// Free keys; what the key is, and what each value is.
    Map {
        key: &'static str,
        value: Box<Kind>,
    },
    Table(Shape),
    Any(Vec<Kind>),
}

/// A default, as it would be written.
#[derive(Clone, Debug)]
pub enum Literal {
    Text(&'static str),
    Integer(i64),
    Bool(bool),
    List(&'static [&'static str]),
    Table,
}

impl Kind {
    /// Whether a value of this form could be meant; its words are not looked at.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any(kinds), _) => kinds.iter().any(|kind| kind.accepts(value)),
            (Self::OneOrMany(_), Value::List(_))
            | (Self::Word { .. } | Self::Choice { .. }, Value::Text(_))
            | (Self::Bool | Self::Only(_), Value::Bool(_))
            | (Self::Integer { .. }, Value::Integer(_))
            | (Self::List(_), Value::List(_))
            | (Self::Map { .. } | Self::Table(_), Value::Table(_)) => true,
            (Self::OneOrMany(one), _) => one.accepts(value),
            _ => false,
        }
    }

    /// In a sentence: `a duration such as "10s"`.
    pub fn describe(&self) -> String {
        match self {
            Self::Word { what, example: "" } => with_article(what),
            Self::Word { what, example } => format!("{} such as \"{example}\"", with_article(what)),
            Self::Choice { words, .. } => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Self::Bool => "true or false".to_owned(),
            Self::Only(on) => on.to_string(),
            Self::Integer { .. } => "a whole number".to_owned(),
            Self::List(of) => format!("a list of {}", of.plural()),
            Self::OneOrMany(of) => format!("{} or a list of them", of.describe()),
            Self::Map { .. } | Self::Table(_) => "a table".to_owned(),
            Self::Any(kinds) => kinds.iter().map(Self::describe).collect::<Vec<_>>().join(" or "),
        }
    }

    fn plural(&self) -> String {
        match self {
            Self::Word { what, .. } | Self::Choice { what, .. } => plural(what),
            Self::Table(_) | Self::Map { .. } => "tables".to_owned(),
            Self::Any(kinds) => kinds.iter().map(Self::plural).collect::<Vec<_>>().join(" or "),
            other => other.describe(),
        }
    }
}

/// `sizes`, `addresses`, `parts of a request`.
fn plural(what: &str) -> String {
    let (noun, rest) =
        what.find(" of ").or_else(|| what.find(" to ")).map_or((what, ""), |at| what.split_at(at));
    let ending = if noun.ends_with('s') { "es" } else { "s" };
    format!("{noun}{ending}{rest}")
}

/// `a size`, `an address`.
pub fn with_article(what: &str) -> String {
    let article = if what.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {what}")
}

impl Literal {
    /// The default as a value nobody wrote.
    pub fn node(&self) -> Node {
        let value = match self {
            Self::Text(text) => Value::Text((*text).into()),
            Self::Integer(number) => Value::Integer(*number),
            Self::Bool(on) => Value::Bool(*on),
            Self::List(items) => {
                Value::List(items.iter().map(|item| Node::default_of(Value::Text((*item).into()))).collect())
            }
            Self::Table => Value::Table(Vec::new()),
        };
        Node::default_of(value)
    }
}

impl From<&'static str> for Literal {
    fn from(text: &'static str) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Literal {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Literal {
    fn from(on: bool) -> Self {
        Self::Bool(on)
    }
}

impl From<&'static [&'static str]> for Literal {
    fn from(items: &'static [&'static str]) -> Self {
        Self::List(items)
    }
}

/// The empty table, whose keys have defaults of their own.
impl From<()> for Literal {
    fn from((): ()) -> Self {
        Self::Table
    }
}

/// Declares a table: its Rust type, how it is read, and what is said about it, from one list of keys.
///
/// Each key is `required`, `optional` (then the field is an `Option`) or has a `default`.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(as $key:literal)? : $mode:ident $Type:ty $(= $default:expr)?;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $field: $crate::config::shape::table!(@type $mode $Type), )*
        }

        impl $Name {
            /// What may be written here.
            pub fn shape() -> $crate::config::shape::Shape {
                $crate::config::shape::Shape {
                    name: stringify!($Name),
                    about: &[$($about),+],
                    keys: vec![$(
                        $crate::config::shape::Key {
                            name: $crate::config::shape::table!(@key $field $($key)?),
                            kind: <$Type as $crate::config::read::Read>::kind(),
                            presence: $crate::config::shape::table!(@presence $mode $($default)?),
                            doc: &[$($doc),+],
                        },
                    )*],
                }
            }
        }

        impl $crate::config::read::Read for $Name {
            fn kind() -> $crate::config::shape::Kind {
                $crate::config::shape::Kind::Table(Self::shape())
            }

            fn read(node: &$crate::config::node::Node, sink: &mut $crate::config::read::Sink) -> Option<Self> {
                let shape = Self::shape();
                let mut fields = $crate::config::read::Fields::open(node, &shape, sink)?;
                $(
                    let $field = $crate::config::shape::table!(
                        @read fields, $mode, $crate::config::shape::table!(@key $field $($key)?) $(, $default)?
                    );
                )*
                Some(Self { $($field: $field?),* })
            }
        }
    };
    (@type required $Type:ty) => { $crate::config::place::At<$Type> };
    (@type default $Type:ty) => { $crate::config::place::At<$Type> };
    (@type optional $Type:ty) => { Option<$crate::config::place::At<$Type>> };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@presence required) => { $crate::config::shape::Presence::Required };
    (@presence optional) => { $crate::config::shape::Presence::Optional };
    (@presence default $default:expr) => {
        $crate::config::shape::Presence::Default($crate::config::shape::Literal::from($default))
    };
    (@read $fields:ident, required, $key:expr) => { $fields.required($key) };
    (@read $fields:ident, optional, $key:expr) => { Some($fields.optional($key)) };
    (@read $fields:ident, default, $key:expr, $default:expr) => {
        $fields.or_default($key, &$crate::config::shape::Literal::from($default))
    };
}
pub(crate) use table;

/// Declares a closed set of words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $Name:ident ($what:literal) { $( $(#[doc = $doc:literal])* $Variant:ident = $word:literal, )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Name { $( $(#[doc = $doc])* $Variant, )+ }

        impl $Name {
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub fn word(self) -> &'static str {
                match self { $( Self::$Variant => $word, )+ }
            }
        }

        impl $crate::config::read::Read for $Name {
            fn kind() -> $crate::config::shape::Kind {
                $crate::config::shape::Kind::Choice { what: $what, words: Self::WORDS }
            }

            fn read(node: &$crate::config::node::Node, sink: &mut $crate::config::read::Sink) -> Option<Self> {
                match sink.text::<Self>(node)? {
                    $( $word => Some(Self::$Variant), )+
                    other => {
                        sink.not_among(node, $what, other, Self::WORDS);
                        None
                    }
                }
            }
        }
    };
}
pub(crate) use choice;

/// Declares a value of several forms; the form of what is written (string, list, table…) decides.
macro_rules! either {
    (
        $(#[doc = $about:literal])+
        pub enum $Name:ident { $( $(#[doc = $doc:literal])* $Variant:ident($Type:ty), )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub enum $Name { $( $(#[doc = $doc])* $Variant($Type), )+ }

        impl $crate::config::read::Read for $Name {
            fn kind() -> $crate::config::shape::Kind {
                $crate::config::shape::Kind::Any(vec![$( <$Type as $crate::config::read::Read>::kind() ),+])
            }

            fn read(node: &$crate::config::node::Node, sink: &mut $crate::config::read::Sink) -> Option<Self> {
                $(
                    if <$Type as $crate::config::read::Read>::kind().accepts(&node.value) {
                        return <$Type as $crate::config::read::Read>::read(node, sink).map(Self::$Variant);
                    }
                )+
                sink.wrong_form(node, &<Self as $crate::config::read::Read>::kind());
                None
            }
        }
    };
}
pub(crate) use either;
