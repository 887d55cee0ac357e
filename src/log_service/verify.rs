//! What `audit` with `verify=1` finds out beside what the rows say: whether the files are those that were written.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::exec::{AnswerError, Control, ExecError, Question};
use super::store;

/// The arguments of a question, to `ask` with. Of an audit that verifies, `head=HASH` is ours, and what the chain of the
/// directory says is added to the answer as `chain`. A file that nobody can read any more is no reason to say nothing
/// about it: then the rows are not read. `pending` gives the changes that a service in this process could not write into
/// the chain yet.
pub(super) fn answer(
    question: Question,
    values: &HashMap<String, String>,
    (data, pending): (&Path, &dyn Fn() -> Vec<store::Change>),
    control: &Control,
    ask: impl Fn(&HashMap<String, String>) -> Result<Value, AnswerError>,
) -> Result<Value, AnswerError> {
    let verifies = values.get("verify").is_some_and(|verify| verify == "1");
    if question != Question::Audit || !verifies {
        return ask(values);
    }
    let mut values = values.clone();
    let head = values.remove("head").filter(|head| !head.is_empty());
    let chained = store::verify_chain(data, head.as_deref(), pending, control)?;
    let mut told = ask(&values);
    if chained.problem_count > 0 && matches!(told, Err(AnswerError::Exec(ExecError::Read(_)))) {
        values.remove("verify");
        told = ask(&values);
    }
    let mut told = told?;
    told["chain"] = serde_json::to_value(chained).map_err(|error| ExecError::Read(error.into()))?;
    Ok(told)
}
