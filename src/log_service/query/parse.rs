//! From text to a tree of tests: recursive descent with a bounded depth. What stands behind a field's `:` is read in
//! [`super::values`].

use super::QueryError;
use super::field::Field;
use super::pattern::Pattern;
use super::tree::{Node, Order};

const MAX_LENGTH: usize = 8 << 10;
const MAX_DEPTH: usize = 32;

/// What Lucene calls a query for fields that are there.
const EXISTS: &str = "_exists_";

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

pub(super) struct Parser<'t, 'f> {
    text: &'t str,
    /// Byte offset of what comes next.
    at: usize,
    depth: usize,
    fields: &'f mut Vec<Field>,
}

/// A value with the place where it began, for the error.
pub(super) struct Written<'t> {
    pub(super) text: std::borrow::Cow<'t, str>,
    pub(super) quoted: bool,
    pub(super) at: usize,
}

/// What stands between conditions, or before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    And,
    Or,
    Not,
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
        while self.takes_joint(Joint::Or)? {
            alternatives.push(self.terms()?);
        }
        let only = if alternatives.len() == 1 { alternatives.pop() } else { None };
        Ok(only.unwrap_or(Node::Any(alternatives)))
    }

    fn terms(&mut self) -> Result<Node, QueryError> {
        let mut terms = Vec::new();
        let start = self.at;
        while self.peek().is_some_and(|next| next != ')') {
            match self.joint() {
                Some((Joint::And | Joint::Or, _)) if terms.is_empty() => return Err(self.nothing_before()),
                Some((Joint::Or, _)) => break,
                Some((Joint::And, _)) => {
                    self.takes_joint(Joint::And)?;
                }
                Some((Joint::Not, _)) | None => terms.push(self.term()?),
            }
        }
        let at_edge = start == 0 && self.peek().is_none();
        if terms.is_empty() && !at_edge {
            return Err(self.error("a condition is missing here"));
        }
        Ok(Node::All(terms))
    }

    fn term(&mut self) -> Result<Node, QueryError> {
        let negated = self.takes_negations()?;
        if self.joint().is_some() {
            return Err(self.nothing_before());
        }
        let node = if self.takes_parenthesis() { self.group()? } else { self.test_or_word()? };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn takes_negations(&mut self) -> Result<bool, QueryError> {
        let mut negated = false;
        loop {
            if self.takes_joint(Joint::Not)? {
                negated = !negated;
            } else if self.takes("-") {
                negated = !negated;
                if self.rest().starts_with(char::is_whitespace) || self.rest().is_empty() {
                    return Err(self.error("`-` negates what follows it directly; quote a lone \"-\""));
                }
            } else {
                return Ok(negated);
            }
        }
    }

    /// Also behind Lucene's `+`, which says what holds here anyway.
    fn takes_parenthesis(&mut self) -> bool {
        let rest = self.rest();
        if let Some(required) = rest.strip_prefix('+')
            && begins_condition(required)
        {
            self.at += 1;
        }
        self.takes("(")
    }

    fn group(&mut self) -> Result<Node, QueryError> {
        let open = self.at - 1;
        self.enter()?;
        let node = self.alternatives()?;
        self.leave();
        self.skip_space();
        if self.takes(")") { Ok(node) } else { Err(self.error_at(open, "this `(` is never closed")) }
    }

    /// Into parentheses; whoever does so comes out by itself.
    pub(super) fn enter(&mut self) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.error("nested too deeply")) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    fn test_or_word(&mut self) -> Result<Node, QueryError> {
        let start = self.at;
        let name = self.take_name();
        let after_name = self.at;
        self.skip_space();
        match (name.is_empty(), self.take_operator()) {
            (false, Some((operator, negated))) => {
                let node = self.test(start, name, &operator)?;
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

    fn test(&mut self, start: usize, name: &str, operator: &Operator) -> Result<Node, QueryError> {
        if name == EXISTS {
            let asked = self.value(false)?.text;
            return Err(self.error_at(start, format!("whether a field is there is asked by `{asked}:*`")));
        }
        let field = Field::named(name);
        if !self.fields.contains(&field) {
            self.fields.push(field.clone());
        }
        match operator {
            Operator::Like => self.fits(&field, false),
            Operator::Is => self.fits(&field, true),
            Operator::Regex => {
                let value = self.value(true)?;
                let pattern = Pattern::expression(&value.text).map_err(|why| self.error_at(value.at, why))?;
                Ok(Node::Fits(field, vec![pattern]))
            }
            Operator::Order(order) => self.compare(&field, *order),
        }
    }

    fn take_name(&mut self) -> &'t str {
        let length = name_length(self.rest());
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

    /// The operator that comes next, with its length.
    pub(super) fn joint(&self) -> Option<(Joint, usize)> {
        joint(self.rest())
    }

    /// Takes the operator if it comes next; what it is about must follow.
    pub(super) fn takes_joint(&mut self, wanted: Joint) -> Result<bool, QueryError> {
        self.skip_space();
        let Some((_, length)) = self.joint().filter(|(joint, _)| *joint == wanted) else { return Ok(false) };
        let written = &self.rest()[..length];
        self.at += length;
        let has_next = self.peek().is_some_and(|next| next != ')');
        if has_next && !matches!(self.joint(), Some((Joint::And | Joint::Or, _))) {
            return Ok(true);
        }
        Err(self.error(format!("a condition is missing after `{written}`; {}", to_look_for(written))))
    }

    /// The operator that comes next has nothing before it.
    pub(super) fn nothing_before(&self) -> QueryError {
        let written = self.joint().map_or("", |(_, length)| &self.rest()[..length]);
        self.error(format!("a condition is missing before `{written}`; {}", to_look_for(written)))
    }

    pub(super) fn takes(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    pub(super) fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on behind so many bytes, which must end a character.
    pub(super) fn pass(&mut self, length: usize) -> &'t str {
        let passed = &self.rest()[..length];
        self.at += length;
        passed
    }

    pub(super) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> QueryError {
        self.error_at(self.at, reason)
    }

    pub(super) fn error_at(&self, at: usize, reason: impl Into<String>) -> QueryError {
        QueryError::new(self.text, at, reason)
    }
}

/// The words in any case, as KQL has them, where a word ends; the signs wherever a condition may begin.
fn joint(rest: &str) -> Option<(Joint, usize)> {
    const SIGNS: [(&str, Joint); 3] = [("&&", Joint::And), ("||", Joint::Or), ("!", Joint::Not)];
    const WORDS: [(&str, Joint); 3] = [("and", Joint::And), ("or", Joint::Or), ("not", Joint::Not)];
    let sign = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign));
    let ends = |after: &str| {
        let next = after.chars().next();
        next.is_none_or(|next| next.is_whitespace() || matches!(next, '(' | ')' | '"'))
    };
    let is_word = |word: &str| {
        rest.split_at_checked(word.len())
            .is_some_and(|(begin, after)| begin.eq_ignore_ascii_case(word) && ends(after))
    };
    let found = sign.or_else(|| WORDS.into_iter().find(|(word, _)| is_word(word)));
    found.map(|(written, joint)| (joint, written.len()))
}

fn to_look_for(written: &str) -> String {
    format!("if it is to be looked for, quote it: \"{written}\"")
}

fn begins_condition(text: &str) -> bool {
    let after = &text[name_length(text)..];
    let has_name = after.len() < text.len();
    let has_operator = after.starts_with([':', '=', '<', '>', '~']) || after.starts_with("!=");
    text.starts_with('(') || (has_name && has_operator)
}

fn name_length(text: &str) -> usize {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-');
    text.find(|c| !is_name(c)).unwrap_or(text.len())
}
