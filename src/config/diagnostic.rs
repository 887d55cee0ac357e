//! [`Diagnostic`]: one thing wrong or doubtful, with its place and the next step; [`Diagnostics`]: all of one run.

use std::sync::Arc;

use super::codes::Code;
use super::place::Place;
use super::render;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing wrong or doubtful.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    pub message: String,
    /// Where, and what is said there. [`Place::Default`] when it has no place in a file.
    pub place: Place,
    pub label: String,
    /// Further places.
    pub also: Vec<(Place, String)>,
    /// Reasons.
    pub notes: Vec<String>,
    /// Next steps.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message.into())
    }

    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message.into())
    }

    fn new(code: Code, severity: Severity, message: String) -> Self {
        let place = Place::Default;
        let (also, notes, help) = (Vec::new(), Vec::new(), Vec::new());
        Self { code, severity, message, place, label: String::new(), also, notes, help }
    }

    /// Where it is, with a word about what stands there (may be empty).
    #[must_use]
    pub fn at(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.place = place.clone();
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn also(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.also.push((place.clone(), label.into()));
        self
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds the nearest of `known` to `wanted`, or all of them when they are few.
    #[must_use]
    pub fn nearest<'a>(self, wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        if let Some(name) = nearest(wanted, &known) {
            return self.help(format!("did you mean `{name}`?"));
        }
        match known.as_slice() {
            [] => self,
            [one] => self.help(format!("there is only `{one}`")),
            few if few.len() <= 14 => self.help(format!("there are `{}`", few.join("`, `"))),
            _ => self,
        }
    }

    /// By place, the files in the order of their reading; what has no place comes last.
    fn order(&self, sources: &Sources) -> (usize, usize, Severity, &'static str) {
        let (file, start) =
            self.place.spot().map_or((usize::MAX, 0), |spot| (sources.index(&spot.file), spot.start));
        (file, start, self.severity, self.code.code)
    }
}

/// The known name that a typing mistake away from `wanted`, if one is near enough.
pub(super) fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &str| {
        strsim::damerau_levenshtein(&wanted.to_lowercase().replace('_', "-"), &name.replace('_', "-"))
    };
    let best = known.iter().copied().map(|name| (distance(name), name)).min()?;
    let allowed = (wanted.chars().count().max(best.1.chars().count()) / 3).max(1);
    (best.0 <= allowed).then_some(best.1)
}

/// The texts of the configuration files, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<(Arc<str>, Arc<str>)>,
}

impl Sources {
    pub fn add(&mut self, name: Arc<str>, text: Arc<str>) {
        self.files.push((name, text));
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|(file, _)| **file == *name).map(|(_, text)| &**text)
    }

    fn index(&self, name: &str) -> usize {
        self.files.iter().position(|(file, _)| **file == *name).unwrap_or(self.files.len())
    }

    /// The file that was loaded first, as the user named it.
    pub fn main(&self) -> &str {
        self.files.first().map_or("", |(name, _)| name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| &**name)
    }
}

/// Everything that one run found, in the order of the files.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    sources: Sources,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn new(sources: Sources, list: Vec<Diagnostic>) -> Self {
        let mut all = Self { sources, list };
        all.sort();
        all
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
        self.sort();
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    pub fn errors(&self) -> usize {
        self.list.iter().filter(|one| one.severity == Severity::Error).count()
    }

    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// For a terminal, with source lines and carets; without the summary.
    pub fn render(&self, color: bool) -> String {
        render::text(&self.list, &self.sources, color)
    }

    /// For programs: a list of objects.
    pub fn to_json(&self) -> serde_json::Value {
        render::json(&self.list)
    }

    /// The last line: `tollgate.toml: 1 error, 2 warnings.` or `tollgate.toml: ok.`
    pub fn summary(&self) -> String {
        let count =
            |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let found = match (self.errors(), self.warnings()) {
            (0, 0) => "ok".to_owned(),
            (errors, 0) => count(errors, "error"),
            (0, warnings) => count(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
        };
        format!("{}: {found}.", self.sources.main())
    }

    fn sort(&mut self) {
        let sources = &self.sources;
        self.list.sort_by(|a, b| a.order(sources).cmp(&b.order(sources)));
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.render(false), self.summary())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_name_and_nonsense_none() {
        assert_eq!(nearest("balanc", &["balance", "servers"]), Some("balance"));
        assert_eq!(nearest("max-body", &["max_body", "routes"]), Some("max_body"));
        assert_eq!(nearest("api", &["apii", "web"]), Some("apii"));
        assert_eq!(nearest("zebra", &["balance", "servers"]), None);
    }
}
