//! What stands behind a field's operator: a value, a range, or several of them in parentheses.

use std::borrow::Cow;

use jiff::Timestamp;

use super::QueryError;
use super::field::Field;
use super::kind::{self, Kind};
use super::moment;
use super::parse::{Joint, Parser, Written};
use super::pattern::Pattern;
use super::tree::{Bound, Node, Order};
use super::units::Unit;

/// The two ends of a range, and whether they are part of it.
struct Range<'t> {
    open: usize,
    start: Written<'t>,
    with_start: bool,
    end: Written<'t>,
    with_end: bool,
}

impl<'t> Parser<'t, '_> {
    /// Behind `:` and (`exactly`) `=`.
    pub(super) fn fits(&mut self, field: &Field, exactly: bool) -> Result<Node, QueryError> {
        self.skip_space();
        if self.takes("(") { self.list(field, exactly) } else { self.item(field, exactly) }
    }

    /// Behind `>` and the like.
    pub(super) fn compare(&mut self, field: &Field, order: Order) -> Result<Node, QueryError> {
        let value = self.value(false)?;
        Ok(Node::Compare(field.clone(), order, self.bound(field, &value)?))
    }

    /// Next to each other or with `or`: one of them; `and` binds closer.
    fn list(&mut self, field: &Field, exactly: bool) -> Result<Node, QueryError> {
        let open = self.at() - 1;
        self.enter()?;
        let mut one_of: Vec<Vec<Node>> = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.error_at(open, "this list is never closed")),
                Some(')') => break,
                Some(_) => {}
            }
            match self.joint() {
                Some((Joint::And | Joint::Or, _)) if one_of.is_empty() => return Err(self.nothing_before()),
                Some((Joint::Or, _)) => {
                    self.takes_joint(Joint::Or)?;
                }
                Some((Joint::And, _)) => {
                    self.takes_joint(Joint::And)?;
                    let also = self.operand(field, exactly)?;
                    if let Some(all) = one_of.last_mut() {
                        all.push(also);
                    }
                }
                Some((Joint::Not, _)) | None => one_of.push(vec![self.operand(field, exactly)?]),
            }
        }
        self.takes(")");
        self.leave();
        if one_of.is_empty() {
            return Err(self.error_at(open, "an empty list matches nothing"));
        }
        Ok(any_of(field, one_of))
    }

    fn operand(&mut self, field: &Field, exactly: bool) -> Result<Node, QueryError> {
        let mut negated = false;
        while self.takes_joint(Joint::Not)? {
            negated = !negated;
        }
        let node = self.fits(field, exactly)?;
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn item(&mut self, field: &Field, exactly: bool) -> Result<Node, QueryError> {
        if !exactly {
            if let Some(order) = self.takes_order() {
                return self.compare(field, order);
            }
            if let Some(range) = self.range()? {
                return self.between(field, &range);
            }
        }
        let value = self.value(false)?;
        if value.text == "*" && !value.quoted {
            return Ok(Node::Present(field.clone()));
        }
        if let Some(node) = moment_of(field, &value) {
            return Ok(node);
        }
        let pattern = fit(field, &value, exactly).map_err(|why| self.error_at(value.at, why))?;
        Ok(Node::Fits(field.clone(), vec![pattern]))
    }

    fn takes_order(&mut self) -> Option<Order> {
        let table = [(">=", Order::AtLeast), ("<=", Order::AtMost), (">", Order::More), ("<", Order::Less)];
        table.into_iter().find(|(sign, _)| self.takes(sign)).map(|(_, order)| order)
    }

    /// `[1 TO 5]`, `{1 TO 5}` and the mixed ones. What has no `TO` is text that begins with a bracket.
    fn range(&mut self) -> Result<Option<Range<'t>>, QueryError> {
        let open = self.at();
        let with_start = self.takes("[");
        if !with_start && !self.takes("{") {
            return Ok(None);
        }
        let start = self.end_of_range()?;
        let Some(start) = start.filter(|_| self.takes_to()) else {
            self.back_to(open);
            return Ok(None);
        };
        let Some(end) = self.end_of_range()? else {
            return Err(self.error("the end of the range is missing; `*` leaves it open"));
        };
        self.skip_space();
        let with_end = self.takes("]");
        if !with_end && !self.takes("}") {
            return Err(self.error_at(open, "this range is never closed"));
        }
        Ok(Some(Range { open, start, with_start, end, with_end }))
    }

    fn end_of_range(&mut self) -> Result<Option<Written<'t>>, QueryError> {
        self.skip_space();
        let at = self.at();
        if self.takes("\"") {
            return self.quoted(at).map(Some);
        }
        let ends = |c: char| c.is_whitespace() || matches!(c, ']' | '}' | '"');
        let length = self.rest().find(ends).unwrap_or(self.rest().len());
        let text = self.pass(length);
        Ok((length > 0).then_some(Written { text: text.into(), quoted: false, at }))
    }

    fn takes_to(&mut self) -> bool {
        self.skip_space();
        let ends = |after: &str| {
            after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || "]}\"".contains(c))
        };
        let is_to = self
            .rest()
            .split_at_checked(2)
            .is_some_and(|(word, after)| word.eq_ignore_ascii_case("to") && ends(after));
        self.pass(if is_to { 2 } else { 0 });
        is_to
    }

    fn between(&mut self, field: &Field, range: &Range<'t>) -> Result<Node, QueryError> {
        let is_open = |end: &Written<'_>| end.text == "*" && !end.quoted;
        let mut tests = Vec::new();
        if !is_open(&range.start) {
            let order = if range.with_start { Order::AtLeast } else { Order::More };
            tests.push((order, self.bound(field, &range.start)?));
        }
        if !is_open(&range.end) {
            let day = moment::day(&range.end.text).filter(|_| range.with_end && field.unit() == Unit::Moment);
            tests.push(match day {
                // A day that is included is so to its end.
                Some((_, next)) => (Order::Less, Bound::Moment(next)),
                None => {
                    let order = if range.with_end { Order::AtMost } else { Order::Less };
                    (order, self.bound(field, &range.end)?)
                }
            });
        }
        if let [(_, start), (_, end)] = tests.as_slice()
            && start.is_beyond(*end)
        {
            return Err(
                self.error_at(range.open, format!("the range ends ({end}) before it begins ({start})"))
            );
        }
        let mut tests: Vec<Node> =
            tests.into_iter().map(|(order, bound)| Node::Compare(field.clone(), order, bound)).collect();
        Ok(match tests.len() {
            0 => Node::Present(field.clone()),
            1 => tests.remove(0),
            _ => Node::All(tests),
        })
    }

    fn bound(&self, field: &Field, value: &Written<'_>) -> Result<Bound, QueryError> {
        bound(field, &value.text).map_err(|why| self.error_at(value.at, why))
    }

    /// A plain value ends at white space or `)`; a plain expression may hold parentheses of its own.
    pub(super) fn value(&mut self, is_expression: bool) -> Result<Written<'t>, QueryError> {
        self.skip_space();
        let at = self.at();
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
        Ok(Written { text: self.pass(length).into(), quoted: false, at })
    }

    fn quoted(&mut self, at: usize) -> Result<Written<'t>, QueryError> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, c)) = characters.next() {
            match c {
                '"' => {
                    self.pass(offset + 1);
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
}

/// Plain values together are one test: the words of a dictionary are looked at once.
fn any_of(field: &Field, one_of: Vec<Vec<Node>>) -> Node {
    let (mut patterns, mut nodes) = (Vec::new(), Vec::new());
    for mut all in one_of {
        match (all.pop(), all.is_empty()) {
            (Some(Node::Fits(_, own)), true) => patterns.extend(own),
            (Some(only), true) => nodes.push(only),
            (last, _) => nodes.push(Node::All(all.into_iter().chain(last).collect())),
        }
    }
    if !patterns.is_empty() {
        nodes.insert(0, Node::Fits(field.clone(), patterns));
    }
    let only = if nodes.len() == 1 { nodes.pop() } else { None };
    only.unwrap_or(Node::Any(nodes))
}

/// A whole time or a day, in whatever offset and precision an entry has it.
fn moment_of(field: &Field, value: &Written<'_>) -> Option<Node> {
    if field.unit() != Unit::Moment || value.quoted {
        return None;
    }
    let (from, order, to) = match moment::day(&value.text) {
        Some((day, next)) => (day, Order::Less, next),
        None => {
            let time: Timestamp = value.text.parse().ok()?;
            (time, Order::AtMost, time)
        }
    };
    Some(Node::All(vec![
        Node::Compare(field.clone(), Order::AtLeast, Bound::Moment(from)),
        Node::Compare(field.clone(), order, Bound::Moment(to)),
    ]))
}

fn fit(field: &Field, value: &Written<'_>, exactly: bool) -> Result<Pattern, String> {
    let kind = Kind::of(field).filter(|_| !value.quoted);
    if let Some(kind) = kind {
        kind::check(kind, field, &value.text, exactly)?;
    }
    let number = field.unit().parse(&value.text).ok().filter(|_| !value.quoted);
    match (field.unit(), number) {
        // `dur=1s` and `tx:1MB`: the stored number is in another unit than the written one.
        (Unit::Micros { .. } | Unit::Bytes | Unit::Seconds, Some(number)) => {
            return Ok(Pattern::Between(number, number));
        }
        // `tries:1k`, `status:0504`: not as numbers are stored.
        (Unit::Count, Some(number)) if kind.is_some_and(Kind::is_number) && !is_plain(&value.text) => {
            return Ok(Pattern::Between(number, number));
        }
        _ => {}
    }
    if exactly {
        return Ok(Pattern::Exactly((&*value.text).into()));
    }
    // As the lines of a terminal shorten an id.
    let text = match kind {
        Some(Kind::Id) => Cow::Owned(value.text.replace('…', "*")),
        _ => Cow::Borrowed(&*value.text),
    };
    Pattern::like(field, &text, value.quoted)
}

fn is_plain(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| number.to_string() == text)
}

fn bound(field: &Field, text: &str) -> Result<Bound, String> {
    if field.unit() != Unit::Moment {
        return field.unit().parse(text).map(Bound::Number);
    }
    let moment = moment::parse(text, Timestamp::now());
    moment.map(Bound::Moment).map_err(|error| error.to_string())
}
