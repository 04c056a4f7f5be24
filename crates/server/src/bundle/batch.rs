//! batch: each entry by itself (FHIR R4, 3.1.0.11.1).

use std::collections::{HashMap, HashSet};

use contract::{Instance, Interaction};
use database::{Idempotency, ReadError, SearchError};
use fhir_core::{Bundle, BundleRequest, Issue, IssueCode, Resource, ResourceType};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;

use super::Context;
use super::allowance::Allowance;
use super::respond::{Kind, Response};
use super::target::{Step, Target};
use super::walk::{Place, walk};
use crate::audit;
use crate::call::Answer;
use crate::dispatch::dispatch;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::exchange::patches;
use crate::idempotency::{self, Turn};
use crate::interactions::write::Issues;

/// Carries out the entries in the order of a transaction (HTTP-238); answers in their own.
pub(crate) async fn batch(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
    named: Option<&Idempotency>,
) -> Result<Answer, ServerError> {
    let targets: Vec<_> = requests.iter().map(|request| Target::of(context, request)).collect();
    let created: HashSet<&str> = bundle
        .entries
        .iter()
        .zip(requests)
        .filter(|(_, request)| request.method == "POST")
        .filter_map(|(entry, _)| entry.full_url.as_deref())
        .collect();
    let mut answers: Vec<Option<Result<Answer, ErrorAnswer>>> = targets
        .iter()
        .map(|target| target.as_ref().err().map(|error| Err(ErrorAnswer::of(error))))
        .collect();
    let batch = Batch { context, bundle, requests, named, targets: &targets, created: &created };
    let patches =
        |index: usize| targets[index].as_ref().is_ok_and(|target| patches(&target.interaction));
    let at_once = match (0..targets.len()).any(patches) {
        true => PATCHED_AT_ONCE,
        false => at_once(bundle),
    };
    // What a conditional create finds may be far longer than what was sent.
    let finds = |index: usize| {
        targets[index].as_ref().is_ok_and(|target| target.conditions.if_none_exist.is_some())
    };
    let mut not_sent = Allowance::of(context);
    // Each step begins when the one before it has ended.
    for step in [Step::Delete, Step::Create, Step::Update] {
        let mut chains = chains(&targets, step).into_iter();
        let mut running: FuturesUnordered<_> =
            chains.by_ref().take(at_once).map(|chain| batch.writes(chain)).collect();
        while let Some(ended) = running.next().await {
            for (index, answer) in ended {
                let was_sent = |answer: &Answer| {
                    !patches(index) && (!finds(index) || answer.status == StatusCode::CREATED)
                };
                let answer = answer.map(|answer| match was_sent(&answer) {
                    true => answer,
                    false => not_sent.keep(answer),
                });
                answers[index] = Some(answer);
            }
            running.extend(chains.next().map(|chain| batch.writes(chain)));
        }
    }
    // What may be read in all is counted in the entries' order.
    let mut allowance = Allowance::of(context);
    for (index, target) in targets.iter().enumerate() {
        if let Ok(target) = target
            && target.step() == Step::Read
        {
            let parameters = target.parameters(&bundle.entries[index]);
            let read = read(context, target, parameters, &mut allowance).await;
            let refused = |error: &ServerError| context.denied(index, target, error);
            answers[index] = Some(read.inspect_err(refused).map_err(|error| failed(&error)));
        }
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

/// How many entries are committed at once: they share the disk's syncs.
const AT_ONCE: usize = 64;
/// Of how many bytes at once: a part of what may wait for the disk, so that a batch alone never
/// overloads it.
const BYTES_AT_ONCE: usize = 8 << 20;

/// The same where an entry patches: what it leaves is longer than what was sent.
const PATCHED_AT_ONCE: usize = 2;

/// How many of these entries are committed at once.
fn at_once(bundle: &Bundle<'_>) -> usize {
    let resources = bundle.entries.iter().filter_map(|entry| entry.resource.as_ref());
    let longest = resources.map(|resource| resource.value().raw().len()).max().unwrap_or(0);
    (BYTES_AT_ONCE / longest.max(1)).clamp(1, AT_ONCE)
}

/// What an entry shares with those that it must follow in order: the resource it is about; where
/// one of its step has a condition that others of its type may come to meet, the type.
#[derive(PartialEq, Eq, Hash)]
enum Follows<'t> {
    Instance(&'t Instance),
    Type(&'t ResourceType),
}

/// The entries of a step in lists: the entries of a list one after the other, the lists in any
/// order.
fn chains(targets: &[Result<Target, ServerError>], step: Step) -> Vec<Vec<usize>> {
    let of_step = |target: &&Target| target.step() == step;
    let conditional: HashSet<&ResourceType> = targets
        .iter()
        .flatten()
        .filter(of_step)
        .filter(|target| {
            target.conditions.if_none_exist.is_some()
                || matches!(
                    target.interaction,
                    Interaction::ConditionalUpdate(_)
                        | Interaction::ConditionalPatch(_)
                        | Interaction::ConditionalDelete(_)
                )
        })
        .filter_map(|target| target.interaction.resource_type())
        .collect();
    let mut chains: Vec<Vec<usize>> = Vec::new();
    let mut chain_of: HashMap<Follows<'_>, usize> = HashMap::new();
    for (index, target) in targets.iter().enumerate() {
        let Some(target) = target.as_ref().ok().filter(of_step) else { continue };
        let of = target.interaction.resource_type().filter(|of| conditional.contains(of));
        let follows = match (&target.interaction, of) {
            (_, Some(of)) => Some(Follows::Type(of)),
            (
                Interaction::Delete(instance)
                | Interaction::Update(instance)
                | Interaction::Patch(instance),
                None,
            ) => Some(Follows::Instance(instance)),
            _ => None,
        };
        let chain = match follows {
            Some(follows) => *chain_of.entry(follows).or_insert(chains.len()),
            None => chains.len(),
        };
        if chain == chains.len() {
            chains.push(Vec::new());
        }
        chains[chain].push(index);
    }
    chains
}

/// What the entries of one batch share.
struct Batch<'b, 'a> {
    context: &'b Context<'b>,
    bundle: &'b Bundle<'a>,
    requests: &'b [&'b BundleRequest<'a>],
    /// The name that the client gave the batch.
    named: Option<&'b Idempotency>,
    targets: &'b [Result<Target, ServerError>],
    created: &'b HashSet<&'b str>,
}

type Answered = (usize, Result<Answer, ErrorAnswer>);

impl Batch<'_, '_> {
    /// Carries out these entries one after the other.
    async fn writes(&self, chain: Vec<usize>) -> Vec<Answered> {
        let mut answers = Vec::with_capacity(chain.len());
        for index in chain {
            let Ok(target) = &self.targets[index] else { continue };
            let resource = self.bundle.entries[index].resource.as_ref();
            let answer = match self.named {
                None => self.write(self.context, target, resource).await,
                Some(batch) => self.write_once(batch, index, resource).await,
            };
            let refused = |error: &ServerError| self.context.denied(index, target, error);
            answers.push((index, answer.inspect_err(refused).map_err(|error| failed(&error))));
        }
        answers
    }

    /// As [`Self::write`], unless it was done when the batch was sent before.
    async fn write_once(
        &self,
        batch: &Idempotency,
        index: usize,
        resource: Option<&Resource<'_>>,
    ) -> Result<Answer, ServerError> {
        let Ok(target) = &self.targets[index] else { return Err(ServerError::Interrupted) };
        let request = self.requests[index];
        let part = |text: &Option<std::borrow::Cow<'_, str>>| {
            text.as_deref().unwrap_or_default().as_bytes().to_vec()
        };
        let named = idempotency::entry(
            batch,
            index,
            &[
                request.method.as_bytes(),
                request.url.as_bytes(),
                &part(&request.if_match),
                &part(&request.if_none_match),
                &part(&request.if_none_exist),
                resource.map_or("", |resource| resource.value().raw()).as_bytes(),
            ],
        );
        let whole = self.context;
        for _ in 0..idempotency::TRIES {
            let done = match idempotency::turn((whole.server, whole.database), &named).await? {
                Turn::Replay(answered) => {
                    let call = target.call(whole, None);
                    let done = idempotency::answer(&call, &answered).await;
                    audit::note(&call, None, done.as_ref()).await;
                    return done;
                }
                Turn::Perform(named) => {
                    let context = Context { named: Some(&named), ..*whole };
                    self.write(&context, target, resource).await
                }
            };
            if !idempotency::came_between(&done) {
                return done;
            }
        }
        Err(ServerError::Contended)
    }

    async fn write(
        &self,
        context: &Context<'_>,
        target: &Target,
        resource: Option<&Resource<'_>>,
    ) -> Result<Answer, ServerError> {
        let resource = resource.filter(|_| matches!(target.step(), Step::Create | Step::Update));
        if let Some(resource) = resource {
            independent(context, resource, self.created)?;
        }
        dispatch(target.call(context, resource.cloned())).await
    }
}

async fn read(
    context: &Context<'_>,
    target: &Target,
    parameters: Option<Resource<'_>>,
    allowance: &mut Allowance,
) -> Result<Answer, ServerError> {
    let call = target.call(context, parameters);
    allowance.check()?;
    allowance.take(dispatch(call).await?)
}

/// The answer of an entry that failed, a fault of our own logged: that its client has left is none.
fn failed(error: &ServerError) -> ErrorAnswer {
    let answer = ErrorAnswer::of(error);
    let is_left = matches!(
        error,
        ServerError::Search(SearchError::Abandoned) | ServerError::Read(ReadError::Abandoned)
    );
    if answer.is_our_fault() && !is_left {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "an entry of a batch failed by our fault");
    }
    answer
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

#[cfg(test)]
mod tests {
    use super::at_once;
    use fhir_core::json::Document;
    use fhir_core::{Bundle, Resource};

    /// Of the largest entry, `text` bytes long, so many are committed at once.
    fn check(text: usize, expected: usize) {
        let json = format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[
            {{"resource":{{"resourceType":"Basic","id":"a"}},
            "request":{{"method":"PUT","url":"Basic/a"}}}},
            {{"resource":{{"resourceType":"Basic","id":"{}"}},
            "request":{{"method":"PUT","url":"Basic/b"}}}}]}}"#,
            "x".repeat(text)
        );
        let document = Document::parse(json.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        assert_eq!(at_once(&Bundle::read(&resource).unwrap()), expected);
    }

    #[test]
    fn few_large_entries_are_committed_at_once_and_many_small_ones() {
        check(10, 64);
        check(1 << 20, 7);
        check(9 << 20, 1);
    }
}
