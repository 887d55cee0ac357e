//! From text to a tree of tests: recursive descent with a bounded depth.

use serde_json::Value;

use super::QueryError;
use super::field::Field;
use super::moment;
use super::pattern::Pattern;
use super::units::Unit;

const MAX_LENGTH: usize = 8 << 10;
const MAX_DEPTH: usize = 32;

/// Members that a bare word is looked for in.
pub(in crate::log_service) const WORD_MEMBERS: &[&str] =
    &["path", "ua", "err", "line", "msg", "message", "log"];

/// A checked filter as a tree.
#[derive(Clone, Debug)]
pub(in crate::log_service) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Word(Pattern),
    Present(Field),
    /// One of the patterns fits.
    Fits(Field, Vec<Pattern>),
    Compare(Field, Order, Bound),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log_service) enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::log_service) enum Bound {
    Number(f64),
    Moment(jiff::Timestamp),
}

impl Node {
    pub(super) fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(entry)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(entry)),
            Self::Not(node) => !node.matches(entry),
            Self::Word(part) => {
                WORD_MEMBERS.iter().filter_map(|name| entry.get(name)).any(|value| part.matches(value))
            }
            Self::Present(field) => field.of(entry).is_some(),
            Self::Fits(field, patterns) => {
                field.all_of(entry).any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
            }
            Self::Compare(field, order, bound) => {
                field.all_of(entry).any(|value| bound.compare(*order, value))
            }
        }
    }
}

impl Bound {
    pub(in crate::log_service) fn compare(self, order: Order, value: &Value) -> bool {
        match self {
            Self::Number(bound) => value.as_f64().is_some_and(|value| order.holds(&value, &bound)),
            Self::Moment(bound) => {
                let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                time.is_some_and(|time| order.holds(&time, &bound))
            }
        }
    }
}

impl Order {
    pub(in crate::log_service) fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
        }
    }
}

pub(super) fn parse(text: &str, fields: &mut Vec<Field>) -> Result<Node, QueryError> {
    let mut parser = Parser { text, at: 0, depth: 0, fields };
    if text.len() > MAX_LENGTH {
        return Err(QueryError::new("…", 0, format!("longer than {MAX_LENGTH} bytes")));
    }
    let node = parser.alternatives()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.error("this `)` has no `(`")),
    }
}

struct Parser<'t, 'f> {
    text: &'t str,
    /// Byte offset of what comes next.
    at: usize,
    depth: usize,
    fields: &'f mut Vec<Field>,
}

/// A value with the place where it began, for the error.
struct Written<'t> {
    text: std::borrow::Cow<'t, str>,
    quoted: bool,
    at: usize,
}

enum Operator {
    Like,
    Is,
    Regex,
    Order(Order),
}

impl<'t> Parser<'t, '_> {
    fn alternatives(&mut self) -> Result<Node, QueryError> {
        let mut alternatives = vec![self.terms()?];
        while self.takes_or() {
            alternatives.push(self.terms()?);
        }
        let only = if alternatives.len() == 1 { alternatives.pop() } else { None };
        Ok(only.unwrap_or(Node::Any(alternatives)))
    }

    fn terms(&mut self) -> Result<Node, QueryError> {
        let mut terms = Vec::new();
        let start = self.at;
        while self.peek().is_some_and(|next| next != ')') && !self.is_or() {
            terms.push(self.term()?);
        }
        let at_edge = start == 0 && self.peek().is_none();
        if terms.is_empty() && !at_edge {
            return Err(self.error("a condition is missing here"));
        }
        Ok(Node::All(terms))
    }

    fn term(&mut self) -> Result<Node, QueryError> {
        let mut negated = false;
        while self.takes("-") {
            negated = !negated;
            if self.rest().starts_with(char::is_whitespace) || self.rest().is_empty() {
                return Err(self.error("`-` negates what follows it directly; quote a lone \"-\""));
            }
        }
        let node = if self.takes("(") { self.group()? } else { self.test_or_word()? };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn group(&mut self) -> Result<Node, QueryError> {
        let open = self.at - 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let node = self.alternatives()?;
        self.depth -= 1;
        self.skip_space();
        if self.takes(")") { Ok(node) } else { Err(self.error_at(open, "this `(` is never closed")) }
    }

    fn test_or_word(&mut self) -> Result<Node, QueryError> {
        let start = self.at;
        let name = self.take_name();
        let after_name = self.at;
        self.skip_space();
        match (name.is_empty(), self.take_operator()) {
            (false, Some((operator, negated))) => {
                let node = self.test(Field::named(name), &operator)?;
                Ok(if negated { Node::Not(Box::new(node)) } else { node })
            }
            (true, Some(_)) => Err(self.error_at(after_name, "a field name is missing before the operator")),
            (_, None) => {
                self.at = start;
                let word = self.value(false)?;
                let part = Pattern::part(&word.text, word.quoted);
                part.map(Node::Word).map_err(|reason| self.error_at(word.at, reason))
            }
        }
    }

    fn test(&mut self, field: Field, operator: &Operator) -> Result<Node, QueryError> {
        if !self.fields.contains(&field) {
            self.fields.push(field.clone());
        }
        match operator {
            Operator::Like | Operator::Is => self.fits(field, matches!(operator, Operator::Is)),
            Operator::Regex => {
                let value = self.value(true)?;
                let pattern = Pattern::expression(&value.text).map_err(|why| self.error_at(value.at, why))?;
                Ok(Node::Fits(field, vec![pattern]))
            }
            Operator::Order(order) => {
                let value = self.value(false)?;
                let bound = bound(&field, &value.text).map_err(|why| self.error_at(value.at, why))?;
                Ok(Node::Compare(field, *order, bound))
            }
        }
    }

    fn fits(&mut self, field: Field, exactly: bool) -> Result<Node, QueryError> {
        let values = if self.takes("(") { self.list()? } else { vec![self.value(false)?] };
        if let [only] = values.as_slice()
            && only.text == "*"
            && !only.quoted
        {
            return Ok(Node::Present(field));
        }
        let mut patterns = Vec::with_capacity(values.len());
        for value in values {
            let pattern = fit(&field, &value, exactly).map_err(|why| self.error_at(value.at, why))?;
            patterns.push(pattern);
        }
        Ok(Node::Fits(field, patterns))
    }

    fn list(&mut self) -> Result<Vec<Written<'t>>, QueryError> {
        let open = self.at - 1;
        let mut values = Vec::new();
        loop {
            self.skip_space();
            if self.takes(")") {
                break;
            }
            if self.rest().is_empty() {
                return Err(self.error_at(open, "this list is never closed"));
            }
            values.push(self.value(false)?);
        }
        if values.is_empty() { Err(self.error_at(open, "an empty list matches nothing")) } else { Ok(values) }
    }

    /// A plain value ends at white space or `)`; a plain expression may hold parentheses of its own.
    fn value(&mut self, is_expression: bool) -> Result<Written<'t>, QueryError> {
        self.skip_space();
        let at = self.at;
        if self.takes("\"") {
            return self.quoted(at);
        }
        let mut open = 0usize;
        let ends = |c: char| match c {
            '(' if is_expression => {
                open += 1;
                false
            }
            ')' if open > 0 => {
                open -= 1;
                false
            }
            _ => c.is_whitespace() || matches!(c, '(' | ')' | '"'),
        };
        let length = self.rest().find(ends).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error("a value is missing here"));
        }
        self.at += length;
        Ok(Written { text: self.text[at..self.at].into(), quoted: false, at })
    }

    fn quoted(&mut self, at: usize) -> Result<Written<'t>, QueryError> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Written { text: text.into(), quoted: true, at });
                }
                // Only a quote and a backslash need escaping; before anything else a backslash is itself.
                '\\' => match characters.clone().next() {
                    Some((_, next @ ('"' | '\\'))) => {
                        text.push(next);
                        characters.next();
                    }
                    _ => text.push('\\'),
                },
                _ => text.push(c),
            }
        }
        Err(self.error_at(at, "this quote is never closed"))
    }

    fn take_name(&mut self) -> &'t str {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-');
        let length = self.rest().find(|c| !is_name(c)).unwrap_or(self.rest().len());
        let name = &self.rest()[..length];
        self.at += length;
        name
    }

    /// Longest first: `:>` and `:~` are read as `>` and `~`, as other log tools write them.
    fn take_operator(&mut self) -> Option<(Operator, bool)> {
        let table = [
            (":>=", Operator::Order(Order::AtLeast), false),
            (":<=", Operator::Order(Order::AtMost), false),
            (">=", Operator::Order(Order::AtLeast), false),
            ("<=", Operator::Order(Order::AtMost), false),
            (":>", Operator::Order(Order::More), false),
            (":<", Operator::Order(Order::Less), false),
            (":~", Operator::Regex, false),
            (":=", Operator::Is, false),
            ("!=", Operator::Is, true),
            ("!~", Operator::Regex, true),
            (">", Operator::Order(Order::More), false),
            ("<", Operator::Order(Order::Less), false),
            ("~", Operator::Regex, false),
            ("=", Operator::Is, false),
            (":", Operator::Like, false),
        ];
        table
            .into_iter()
            .find(|(sign, ..)| self.takes(sign))
            .map(|(_, operator, negated)| (operator, negated))
    }

    fn is_or(&self) -> bool {
        let rest = self.rest().as_bytes();
        let word = rest.get(..2).is_some_and(|word| word.eq_ignore_ascii_case(b"or"));
        word && rest.get(2).is_none_or(|after| after.is_ascii_whitespace() || matches!(after, b'(' | b')'))
    }

    fn takes_or(&mut self) -> bool {
        self.skip_space();
        let is_or = self.is_or();
        self.at += if is_or { 2 } else { 0 };
        is_or
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, reason: impl Into<String>) -> QueryError {
        self.error_at(self.at, reason)
    }

    fn error_at(&self, at: usize, reason: impl Into<String>) -> QueryError {
        QueryError::new(self.text, at, reason)
    }
}

fn fit(field: &Field, value: &Written<'_>, exactly: bool) -> Result<Pattern, String> {
    let number = field.unit().parse(&value.text).ok();
    match (field.unit(), number) {
        // `dur=1s` and `tx:1MB`: the stored number is in another unit than the written one.
        (Unit::Micros { .. } | Unit::Bytes | Unit::Seconds, Some(number)) if !value.quoted => {
            Ok(Pattern::Between(number, number))
        }
        _ if exactly => Ok(Pattern::Exactly((&*value.text).into())),
        _ => Pattern::like(field, &value.text, value.quoted),
    }
}

fn bound(field: &Field, text: &str) -> Result<Bound, String> {
    if field.unit() != Unit::Moment {
        return field.unit().parse(text).map(Bound::Number);
    }
    let moment = moment::parse(text, jiff::Timestamp::now());
    moment.map(Bound::Moment).map_err(|error| error.to_string())
}
