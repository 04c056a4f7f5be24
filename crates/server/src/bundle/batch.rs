//! batch: each entry by itself (FHIR R4, 3.1.0.11.1).

use std::collections::HashSet;

use fhir_core::{Bundle, BundleRequest, Issue, IssueCode, Resource};

use super::Context;
use super::allowance::Allowance;
use super::respond::{Kind, Response};
use super::target::{Step, Target};
use super::walk::{Place, walk};
use crate::call::Answer;
use crate::dispatch::dispatch;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::interactions::write::Issues;

/// Carries out the entries in the order of a transaction (HTTP-238); answers in their own.
pub(crate) async fn batch(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
) -> Result<Answer, ServerError> {
    let targets: Vec<_> = requests.iter().map(|request| Target::of(context, request)).collect();
    let created: HashSet<&str> = bundle
        .entries
        .iter()
        .zip(requests)
        .filter(|(_, request)| request.method == "POST")
        .filter_map(|(entry, _)| entry.full_url.as_deref())
        .collect();
    let mut order: Vec<usize> = (0..targets.len()).collect();
    order.sort_by_key(|&index| targets[index].as_ref().map_or(Step::Delete, Target::step));
    let mut allowance = Allowance::of(context);
    let mut answers: Vec<Option<Result<Answer, ErrorAnswer>>> = vec![None; targets.len()];
    for index in order {
        let entry = &bundle.entries[index];
        let answer = match &targets[index] {
            Ok(target) => {
                let resource = entry.resource.as_ref();
                carry_out(context, target, resource, &created, &mut allowance).await
            }
            Err(error) => Err(ErrorAnswer::of(error)),
        };
        answers[index] = Some(answer);
    }
    let mut response = Response::new(Kind::Batch, answers.len());
    for (answer, target) in answers.into_iter().flatten().zip(&targets) {
        match answer {
            Ok(answer) => response.answer(&answer, target.as_ref().is_ok_and(|it| it.head)),
            Err(error) => response.error(&error),
        }
    }
    Ok(Answer::of(response.finish()))
}

async fn carry_out(
    context: &Context<'_>,
    target: &Target,
    resource: Option<&Resource<'_>>,
    created: &HashSet<&str>,
    allowance: &mut Allowance,
) -> Result<Answer, ErrorAnswer> {
    let resource = resource.filter(|_| matches!(target.step(), Step::Create | Step::Update));
    let call = target.call(context, resource.cloned());
    let result = async {
        if let Some(resource) = resource {
            independent(context, resource, created)?;
        }
        if target.step() != Step::Read {
            return dispatch(call).await;
        }
        allowance.check()?;
        allowance.take(dispatch(call).await?)
    };
    result.await.map_err(|error| {
        let answer = ErrorAnswer::of(&error);
        if answer.is_our_fault() {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "an entry of a batch failed by our fault");
        }
        answer
    })
}

/// Entries of a batch do not refer to each other, and nothing but a `fullUrl` of its Bundle is
/// meant by a `urn:uuid:` (HTTP-162).
fn independent(
    context: &Context<'_>,
    resource: &Resource<'_>,
    created: &HashSet<&str>,
) -> Result<(), ServerError> {
    let mut issues = Issues::default();
    walk(context.database.schema(), resource, &mut |place, value, trail| {
        let text = value.as_str().unwrap_or_default();
        let of_bundle = created.contains(text.as_ref()) || text.starts_with("urn:uuid:");
        if place == Place::Reference && of_bundle {
            let text = "entries of a batch cannot refer to each other; send a transaction";
            issues.note(|| Issue::error(IssueCode::Value, text).at(trail.to_string()));
        }
    });
    issues.refuse_any()
}
