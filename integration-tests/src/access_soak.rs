//! What a server answers to somebody who may see a part of its data, against what must be answered:
//! for as long as one likes.
//!
//! A seed makes a run: patients and what is written of them, some of it moved from one to another;
//! then callers, each with one to four rules, who look and write in every way that there is. What
//! they may see is judged anew over all versions, by the rules as docs/contract.md has them and by
//! nothing of the product. Reads, histories and writes are judged by that alone. A search is asked
//! of another server as well, which has nothing but what may be seen and hides none of it: matches,
//! their order, what is included, totals and pages must be the same.

mod ask;
mod caller;
mod compare;
mod expect;
mod model;
mod resources;
mod site;

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;
use ask::Ask;
use caller::{Caller, Reach, TYPES, one, owner};
use compare::{check, check_effects, check_history, check_present, link, page, pages};
use expect::{Answer, Expected, Judge};
use model::{Model, Version};
use resources::{ids, resource};
use site::{Reply, Sent, Site};

/// Where the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In the embedded store.
    Sled,
    /// In the model of a store.
    Memory,
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sled => "sled",
            Self::Memory => "memory",
        })
    }
}

/// What a run is.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// What all chance follows from.
    pub seed: u64,
    /// Requests that are judged.
    pub requests: u64,
    /// Where the data is.
    pub backend: Backend,
}

macro_rules! seen {
    ($($field:ident: $says:literal,)*) => {
        /// What was judged.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Seen {
            $(#[doc = $says] pub $field: u64,)*
        }

        impl Seen {
            /// Adds what another run saw.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }

        impl fmt::Display for Seen {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let all = [$((self.$field, $says)),*];
                let all: Vec<String> =
                    all.iter().map(|(count, says)| format!("{count} {says}")).collect();
                formatter.write_str(&all.join(", "))
            }
        }
    };
}

seen! {
    requests: "requests",
    denied: "denied",
    hidden: "of what is not there for the caller",
    reads: "versions read",
    histories: "histories",
    searches: "searches",
    finding: "of them with matches",
    included: "with includes",
    paged: "of several pages",
    links: "links of others",
    created: "created",
    updated: "updated, patched or found",
    deleted: "deleted or nothing to delete",
    bundles: "Bundles",
    outside: "refused for what they would write",
    unjudged: "not judged",
}

/// Types, ids and versions of what may be seen.
type Shown = Vec<(String, String, u64)>;

/// What is being compared.
struct World {
    site: Site,
    model: Model,
    chance: Chance,
    seen: Seen,
    /// What the other server has, and that.
    other: Option<(Shown, Site)>,
    written: u64,
    everyone: Caller,
}

impl Run {
    /// Makes the run.
    ///
    /// # Errors
    /// The first difference: who asked, what was asked, what came and what was expected, and how
    /// to see it again.
    ///
    /// # Panics
    /// When the server does something that it must not, other than answer wrongly.
    pub fn make(&self) -> Result<Seen, String> {
        database::panic_when_hidden_late();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the system gives threads");
        runtime.block_on(async {
            let mut world = World::new(self).await;
            let made = world.go(self.requests).await;
            let World { site, other, seen, .. } = world;
            site.end().await;
            if let Some((_, other)) = other {
                other.end().await;
            }
            let Self { seed, backend, .. } = self;
            made.map(|()| seen).map_err(|why| {
                format!(
                    "seed {seed} over {backend}, request {}: {why}\nto see it again: cargo xtask \
                     soak access --from {seed} --requests {} --store {backend}",
                    seen.requests, seen.requests
                )
            })
        })
    }
}

impl World {
    async fn new(run: &Run) -> Self {
        Self {
            site: Site::start(run.backend).await,
            model: Model::default(),
            // Seeds that follow each other have nothing in common.
            chance: Chance::new(run.seed.wrapping_mul(0xd1b5_4a32_d192_ed03)),
            seen: Seen::default(),
            other: None,
            written: 0,
            everyone: owner(),
        }
    }

    async fn go(&mut self, requests: u64) -> Result<(), String> {
        let everyone = self.everyone.clone();
        for of in TYPES {
            for id in ids(of) {
                let number = self.number();
                let json = resource(&mut self.chance, of, number);
                self.judge(&everyone, &Ask::update((of, (*id).to_owned()), json)).await?;
            }
        }
        while self.seen.requests < requests {
            for _ in 0..1 + self.chance.below(3) {
                let number = self.number();
                let ask = Ask::write(&mut self.chance, &self.model, number);
                self.judge(&everyone, &ask).await?;
            }
            let caller = Caller::by(&mut self.chance);
            for _ in 0..3 + self.chance.below(6) {
                let ask = Ask::look(&mut self.chance, &self.model);
                self.judge(&caller, &ask).await?;
            }
            for _ in 0..1 + self.chance.below(4) {
                let number = self.number();
                let ask = match self.chance.below(4) {
                    0 => Ask::bundle(&mut self.chance, &self.model, number),
                    _ => Ask::write(&mut self.chance, &self.model, number),
                };
                self.judge(&caller, &ask).await?;
            }
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// Asks, and compares.
    async fn judge(&mut self, caller: &Caller, ask: &Ask) -> Result<(), String> {
        self.site.advance(Duration::from_secs(1));
        let expected = Judge { caller, model: &self.model }.expect(ask);
        let sent = ask.sent();
        self.seen.requests += 1;
        // Who sees all of a type is told which deletion was deleted again.
        let is_told = |of: &str| caller.reach(of, &["delete"]) == Reach::Whole;
        let is_told = matches!(ask, Ask::Delete((of, _)) if is_told(of));
        let before = match ask.of_nothing() {
            Some((never, name)) if expected.effects.is_empty() && !is_told => {
                Some((self.site.ask(&never.sent(), caller).await, name))
            }
            _ => None,
        };
        let reply = self.site.ask(&sent, caller).await;
        let said = format!("{} {}", reply.status(), reply.text());
        let compared = self.compare((caller, ask, &sent), &expected, (reply, before)).await;
        compared.map_err(|why| {
            format!(
                "{why}\nasked: {} {} {:?} {}\nby: {}\nanswer: {said}\nexpected: {expected:?}",
                sent.method,
                sent.target,
                sent.headers,
                sent.body.unwrap_or_default(),
                caller.members(),
            )
        })
    }

    async fn compare(
        &mut self,
        (caller, ask, sent): (&Caller, &Ask, &Sent),
        expected: &Expected,
        (reply, of_nothing): (Reply, Option<(Reply, String)>),
    ) -> Result<(), String> {
        let (mut written, head) = self.site.log_after(self.model.head).await;
        check_effects(&expected.effects, &written)?;
        for version in &mut written {
            // What is there stays its maker's.
            let before = self.model.alive(&version.of, &version.id);
            version.by = before.map_or_else(|| caller.name(), |before| before.by.clone());
            self.model.add(version.clone());
        }
        self.model.head = head;
        self.count(ask, expected, reply.status());
        check((&self.model, caller), expected, &reply, &written)?;
        if let Some((of_nothing, never)) = of_nothing
            && matches!(expected.statuses[..], [404] | [204])
        {
            is_as_of_nothing(ask, &reply, &of_nothing, &never)?;
        }
        match &expected.answer {
            Answer::Versions(versions) if reply.status() == 200 => {
                let pages = pages(&self.site, caller, reply).await?;
                check_history(&pages, versions)
            }
            Answer::Found(types) => self.compare_search((caller, sent), types, reply).await,
            _ => Ok(()),
        }
    }

    /// Compares a search with what the other server finds.
    async fn compare_search(
        &mut self,
        (caller, sent): (&Caller, &Sent),
        types: &[&'static str],
        reply: Reply,
    ) -> Result<(), String> {
        self.show(caller, types).await;
        let (_, other) = self.other.as_ref().expect("it was made");
        let of_other = other.ask(sent, &self.everyone).await;
        if of_other.status() != reply.status() {
            return Err(format!("the other answers {} {}", of_other.status(), of_other.text()));
        }
        let next = link(&reply.json(), "next");
        let found = pages(&self.site, caller, reply).await?;
        let of_other = pages(other, &self.everyone, of_other).await?;
        self.seen.searches += 1;
        self.seen.paged += u64::from(found.len() > 1);
        for (at, json) in found.iter().enumerate() {
            check_present(&self.model, json)?;
            let found = page(json);
            let expected = of_other.get(at).map(page);
            if expected.as_ref() != Some(&found) {
                return Err(format!("page {at} is {found:?}\nthat of the other {expected:?}"));
            }
            let has = |mode: &str| found.entries.iter().any(|(it, ..)| it == mode);
            self.seen.finding += u64::from(at == 0 && has("match"));
            self.seen.included += u64::from(has("include"));
        }
        if found.len() != of_other.len() {
            return Err(format!("{} pages, of the other {}", found.len(), of_other.len()));
        }
        if let Some(target) = next {
            self.seen.links += 1;
            let stranger = match self.chance.below(2) {
                0 => self.everyone.clone(),
                _ => Caller::by(&mut self.chance),
            };
            let sent = Sent { method: "GET", target, headers: Vec::new(), body: None };
            let reply = self.site.ask(&sent, &stranger).await;
            if !matches!(reply.status(), 400 | 403) {
                return Err(format!(
                    "the link is good for {}: {} {}",
                    stranger.members(),
                    reply.status(),
                    reply.text()
                ));
            }
        }
        Ok(())
    }

    /// Gives the other server what a search of these types may show, and nothing else.
    async fn show(&mut self, caller: &Caller, types: &[&'static str]) {
        let judge = Judge { caller, model: &self.model };
        let seen = self.model.all_alive(None).filter(|it| judge.is_shown(types, it));
        let seen: Vec<&Version> = seen.collect();
        let names: Vec<_> =
            seen.iter().map(|it| (it.of.clone(), it.id.clone(), it.number)).collect();
        if !matches!(&self.other, Some((shown, _)) if *shown == names) {
            if let Some((_, last)) = self.other.take() {
                last.end().await;
            }
            let mut other = Site::start(Backend::Memory).await;
            for of_commit in seen.chunk_by(|one, next| one.t == next.t) {
                other.put(of_commit).await;
            }
            if self.chance.below(2) == 0 {
                other.wait();
            }
            self.other = Some((names, other));
        }
        let (_, other) = self.other.as_ref().expect("it is there");
        other.set(self.site.now());
        // By the index, and by looking at every resource.
        if one(&mut self.chance, &[true, false]) {
            self.site.wait();
        }
    }

    fn count(&mut self, ask: &Ask, expected: &Expected, status: u16) {
        let seen = &mut self.seen;
        let count = |of: &mut u64| *of += 1;
        match status {
            403 if matches!(ask, Ask::Update(..) | Ask::Patch(..) | Ask::Create(_)) => {
                count(&mut seen.outside);
            }
            403 => count(&mut seen.denied),
            404 => count(&mut seen.hidden),
            201 => count(&mut seen.created),
            204 => count(&mut seen.deleted),
            _ => {}
        }
        match (&expected.answer, ask) {
            (_, Ask::Batch(_) | Ask::Transaction(_)) => count(&mut seen.bundles),
            (Answer::Version(..), _) => count(&mut seen.reads),
            (Answer::Versions(_), _) => count(&mut seen.histories),
            (Answer::Written(_), _) if status == 200 => count(&mut seen.updated),
            (Answer::Unjudged, _) => count(&mut seen.unjudged),
            _ => {}
        }
    }
}

/// What is hidden is answered as what never was, to the letter.
fn is_as_of_nothing(
    ask: &Ask,
    reply: &Reply,
    of_nothing: &Reply,
    never: &str,
) -> Result<(), String> {
    let target = ask.sent().target;
    let path = target.split('?').next().unwrap_or_default();
    let id = path.split('/').nth(1).unwrap_or_default();
    let is_same = reply.status() == of_nothing.status()
        && reply.text().replace(id, never) == of_nothing.text()
        && reply.header_names() == of_nothing.header_names();
    match is_same {
        true => Ok(()),
        false => {
            Err(format!("what never was is answered {} {}", of_nothing.status(), of_nothing.text()))
        }
    }
}
