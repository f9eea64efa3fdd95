//! What a function has answered to an event.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use mayfly_delivery::Fault;
use mayfly_invoker_api::{Body, InvokeError, InvokeErrorKind, Output};

use crate::code::Code;
use crate::config::RESULT_BYTES_MAX;
use crate::events::judgement::Went;
use crate::ingress::{Answered, Failure, MeterEnding, answer_of_payload};
use crate::ledger::Trigger;
use crate::problem::{Problem, code_of};
use crate::store::StoredResult;

/// What came of a run, and its meter settled.
pub(super) async fn result_of(answered: Answered) -> Went {
    let Answered {
        result,
        mut meter,
        kind,
        trigger,
        ..
    } = answered;
    let (went, status) = match result {
        Ok(Output::Http(response)) => {
            let (parts, body) = response.into_parts();
            match collect(body).await {
                Ok((body, bytes)) => {
                    meter.gauge().add_bytes_out(bytes);
                    (
                        judge_answer(parts.status, &parts.headers, body, bytes),
                        Some(parts.status),
                    )
                }
                Err(error) => (failed(&error), Some(parts.status)),
            }
        }
        Ok(Output::Payload(answer)) => match answer_of_payload(answer, kind, trigger) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let bytes = body.len() as u64;
                meter.gauge().add_bytes_out(bytes);
                let kept = (body.len() <= RESULT_BYTES_MAX).then_some(body);
                let mut went = judge_answer(parts.status, &parts.headers, kept, bytes);
                if let (Went::Well(result), false) = (&mut went, trigger == Trigger::Http) {
                    // Nobody spoke HTTP.
                    result.http_status = None;
                }
                (went, None)
            }
            Err(problem) => (Went::Badly(Fault::Function, problem), None),
        },
        Err(Failure::Input(problem)) => (Went::Badly(Fault::Permanent, problem), None),
        Err(Failure::Invoke(error)) => (failed(&error), None),
    };
    let http_status = status.map(|status| status.as_u16());
    match &went {
        Went::Badly(fault, problem) => meter.settle(MeterEnding::Failed {
            problem,
            billed: *fault == Fault::Function,
            http_status,
        }),
        Went::Well(_) | Went::Split { .. } | Went::Cancelled | Went::TooLate => {
            meter.settle(MeterEnding::Answered { http_status })
        }
    }
    went
}

/// All of an answer's body, if it is not too large to be kept; and its size.
async fn collect(mut body: Body) -> Result<(Option<Bytes>, u64), InvokeError> {
    let (mut kept, mut bytes) = (Some(BytesMut::new()), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        bytes += data.len() as u64;
        match &mut kept {
            Some(so_far) if so_far.len() + data.len() <= RESULT_BYTES_MAX => so_far.extend_from_slice(&data),
            _ => kept = None,
        }
    }
    Ok((kept.map(BytesMut::freeze), bytes))
}

/// A function says with the status of its answer whether it has handled the event.
fn judge_answer(status: StatusCode, headers: &HeaderMap, body: Option<Bytes>, bytes: u64) -> Went {
    if !(status.is_success() || status.is_redirection()) {
        let problem = Problem::new(
            Code::FunctionFailed,
            format!("the function answered HTTP {}", status.as_u16()),
        );
        return Went::Badly(Fault::Function, problem);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Went::Well(StoredResult {
        http_status: Some(status.as_u16()),
        content_type: content_type.map(str::to_owned),
        bytes,
        body,
    })
}

fn failed(error: &InvokeError) -> Went {
    let fault = match error.kind() {
        InvokeErrorKind::Overloaded | InvokeErrorKind::ConcurrencyLimit => Fault::Throttled,
        InvokeErrorKind::ArtifactUnavailable | InvokeErrorKind::Internal | InvokeErrorKind::Cancelled => {
            Fault::Platform
        }
        InvokeErrorKind::Trapped
        | InvokeErrorKind::Failed
        | InvokeErrorKind::BadResponse
        | InvokeErrorKind::MemoryExceeded
        | InvokeErrorKind::DeadlineExceeded => Fault::Function,
    };
    Went::Badly(fault, Problem::new(code_of(error.kind()), error.to_string()))
}
