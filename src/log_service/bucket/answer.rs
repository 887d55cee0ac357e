//! What an answer of object storage means for the file that was put.
//!
//! | answer | |
//! |---|---|
//! | 2xx | taken |
//! | 5xx, 408, 425, 429, 409; 400 `RequestTimeout`, `BadDigest` and their kin | again, after a pause |
//! | 400, 413, 422 with a `Code` of S3 that speaks of the object | this file is put aside, the others go on |
//! | everything else: 403, 404 `NoSuchBucket`, redirects, 400 for a wrong region | nothing would be taken: told, and tried again |
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use std::time::Duration;

use http::StatusCode;

use crate::log_service::outbound::Answered;

/// What became of a try; words that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// It passes, at the earliest after the time that was named.
    Busy(String, Option<Duration>),
    /// Somebody must do something about the sink; no other file would be taken either.
    Held(String),
    /// This file would be refused again.
    Refused(String),
}

/// Codes of a status that otherwise means something else: the other side did not get what was sent.
const PASSING: &[&str] = &[
    "RequestTimeout",
    "BadDigest",
    "IncompleteBody",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "OperationAborted",
    "ConditionalRequestConflict",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
];

/// Codes of a 400 that are about the object; all others are about the sink.
const OF_OBJECT: &[&str] = &[
    "EntityTooLarge",
    "EntityTooSmall",
    "InvalidArgument",
    "InvalidObjectName",
    "InvalidRequest",
    "KeyTooLongError",
    "MetadataTooLarge",
    "MissingContentLength",
    "UnexpectedContent",
];

/// How much of a server's words is told.
const TOLD: usize = 160;

/// Judges an answer; `secrets` are never in what is told.
pub(super) fn judge(answered: &Answered, secrets: &[&str]) -> Outcome {
    let Answered { status, after, text } = answered;
    if status.is_success() {
        return Outcome::Taken;
    }
    let code = element(text, "Code").filter(|code| is_code(code));
    let why = told(*status, code, element(text, "Message"), secrets);
    let passes = code.is_some_and(|code| PASSING.contains(&code))
        || matches!(status.as_u16(), 408 | 409 | 425 | 429)
        // A server that does not know the request at all will not learn it.
        || (status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED);
    let is_of_object =
        matches!(status.as_u16(), 400 | 413 | 422) && code.is_some_and(|code| OF_OBJECT.contains(&code));
    match (passes, is_of_object) {
        (true, _) => Outcome::Busy(why, *after),
        (false, true) => Outcome::Refused(why),
        (false, false) => Outcome::Held(why),
    }
}

/// The text of the first element of this name; enough for the flat documents that errors are.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.trim())
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn told(status: StatusCode, code: Option<&str>, message: Option<&str>, secrets: &[&str]) -> String {
    let message = message.filter(|text| !secrets.iter().any(|secret| text.contains(secret)));
    let message: String = message
        .unwrap_or_default()
        .chars()
        .take(TOLD)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut told = format!("it answers {}", status.as_u16());
    for part in [code, Some(&*message).filter(|message| !message.is_empty())].into_iter().flatten() {
        told.push_str(if told.contains(':') { ", " } else { ": " });
        told.push_str(part);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, text: &str) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        judge(&Answered { status, after: None, text: text.to_owned() }, &["s3cret"])
    }

    fn of_code(status: u16, code: &str) -> Outcome {
        outcome(status, &format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>"))
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_wrong_with_the_sink_is_held() {
        for status in [500, 502, 503, 504, 507, 429, 408, 409] {
            assert!(matches!(outcome(status, ""), Outcome::Busy(..)), "{status}");
        }
        for code in PASSING {
            assert!(matches!(of_code(400, code), Outcome::Busy(..)), "{code}");
        }
        for (status, code) in [
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (403, "InvalidAccessKeyId"),
            (403, "RequestTimeTooSkewed"),
            (404, "NoSuchBucket"),
            (301, "PermanentRedirect"),
            (400, "AuthorizationHeaderMalformed"),
            (400, "AuthorizationQueryParametersError"),
            (400, "InvalidBucketName"),
            (405, "MethodNotAllowed"),
            (501, "NotImplemented"),
        ] {
            assert!(matches!(of_code(status, code), Outcome::Held(_)), "{status} {code}");
        }
        assert_eq!(outcome(204, ""), Outcome::Taken);
    }

    #[test]
    fn only_s3_itself_can_put_a_file_aside() {
        assert!(matches!(of_code(400, "EntityTooLarge"), Outcome::Refused(_)));
        // Of a server that is none: every file would be put aside.
        for text in ["", "<html>400 The plain HTTP request was sent to HTTPS port</html>", "<Code></Code>"] {
            assert!(matches!(outcome(400, text), Outcome::Held(_)), "{text}");
        }
    }

    #[test]
    fn what_is_told_is_short_on_one_line_and_without_secrets() {
        let message = |text: &str| match outcome(403, &format!("<Code>No</Code><Message>{text}</Message>")) {
            Outcome::Held(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(message("not\nyours"), "it answers 403: No, not yours");
        assert_eq!(message("the key s3cret is wrong"), "it answers 403: No");
        assert!(message(&"long ".repeat(1000)).len() < 250);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_answered_is_judged(status in 100_u16..1000, text in ".*", code in "<Code>.*</Code>") {
            let _ = (outcome(status, &text), outcome(status, &code));
        }
    }
}
