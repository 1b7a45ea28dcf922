//! What stands in audit records, which people and their tools search for: it stays as it is.

use mcp_proto::auth::VerifierKind;
use mcp_proto::{AuditClass, AuditEvent, AuditOutcome, Refusal, SessionEnd};

/// Everything that a record tells of its event, in a line.
fn told(event: AuditEvent) -> String {
    let verifier = event.verifier().map_or("", VerifierKind::as_str);
    let count = event.count().map(|count| count.to_string());
    let words = [
        event.class().as_str(),
        event.as_str(),
        event.outcome().as_str(),
        event.reason().unwrap_or(""),
        verifier,
        count.as_deref().unwrap_or(""),
    ];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[test]
fn records_tell_of_events_in_words_that_stay() {
    let verifier = VerifierKind::Jwt;
    for (event, words) in [
        (
            AuditEvent::Authenticated(VerifierKind::Static),
            "AUTH authenticated success static",
        ),
        (AuditEvent::Abandoned, "AUTH abandoned failure"),
        (
            AuditEvent::VerifierTried {
                verifier,
                passed: true,
            },
            "AUTH verifier-tried success jwt",
        ),
        (
            AuditEvent::VerifierTried {
                verifier,
                passed: false,
            },
            "AUTH verifier-tried failure jwt",
        ),
        (
            AuditEvent::VerifierFailed(VerifierKind::Http),
            "AUTH verifier-failed failure http",
        ),
        (
            AuditEvent::VerifierFailed(VerifierKind::Introspection),
            "AUTH verifier-failed failure introspection",
        ),
        (
            AuditEvent::VerifierFailed(VerifierKind::Custom),
            "AUTH verifier-failed failure custom",
        ),
        (AuditEvent::TokensReplaced, "AUTH tokens-replaced success"),
        (AuditEvent::TokenEnded, "AUTH token-ended failure"),
        (AuditEvent::SessionOpened, "SESSION session-opened success"),
        (AuditEvent::Probed { passed: true }, "SERVER probed success"),
        (
            AuditEvent::Probed { passed: false },
            "SERVER probed failure",
        ),
        (AuditEvent::ResponseDropped, "PEER response-dropped failure"),
        (AuditEvent::CancelDropped, "PEER cancel-dropped failure"),
        (AuditEvent::ProgressDropped, "PEER progress-dropped failure"),
        (
            AuditEvent::AnswerDropped { count: 1 },
            "SERVER answer-dropped failure 1",
        ),
        (
            AuditEvent::LineSkipped { count: 2 },
            "SERVER line-skipped failure 2",
        ),
        (
            AuditEvent::MessageDropped { count: 4 },
            "SERVER message-dropped failure 4",
        ),
        (AuditEvent::ClientSilent, "PEER client-silent failure"),
        (AuditEvent::ReaderDropped, "PEER reader-dropped failure"),
    ] {
        assert_eq!(told(event), words);
    }
    for (end, words) in [
        (SessionEnd::Deleted, "success deleted"),
        (SessionEnd::Expired, "success expired"),
        (SessionEnd::MadeRoom, "success made-room"),
        (SessionEnd::InitializeFailed, "failure initialize-failed"),
        (SessionEnd::ClientGone, "success client-gone"),
        (SessionEnd::SpawnFailed, "failure spawn-failed"),
        (SessionEnd::ChildExited, "failure child-exited"),
        (SessionEnd::Draining, "success draining"),
    ] {
        let event = AuditEvent::SessionEnded(end);
        assert_eq!(told(event), format!("SESSION session-ended {words}"));
    }
}

/// Who looks for attacks on credentials finds all of them under one word.
#[test]
fn refusals_are_about_authentication_where_a_credential_decided() {
    for refusal in Refusal::ALL {
        let event = AuditEvent::Refused(refusal);
        let class = match refusal {
            Refusal::CredentialsMissing
            | Refusal::CredentialsMalformed
            | Refusal::InvalidToken
            | Refusal::InsufficientScope
            | Refusal::VerifierUnavailable
            | Refusal::TooManyCredentials
            | Refusal::TooManyProbes => AuditClass::Auth,
            _ => AuditClass::Refusal,
        };
        assert_eq!(event.class(), class, "{refusal:?}");
        assert_eq!(event.outcome(), AuditOutcome::Failure);
        assert_eq!(event.reason(), Some(refusal.reason()));
    }
}
