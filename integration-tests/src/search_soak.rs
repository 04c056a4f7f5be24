//! What the search index finds against what looking at every resource finds, for as long as one
//! likes.
//!
//! A seed makes a run: data by chance, then rounds of changes and of queries. Resources are
//! written, deleted and written again, patients purged; segments are made; the database is closed
//! and opened, or dropped as it is; the index is made anew, by the same parameters or by others.
//! Each query is asked page by page of the index and of every resource, as of now or of an older
//! position, as who may see everything, some types or some patients; what the pages lead through
//! goes on to change between them.

mod world;

#[path = "../../crates/database/tests/differential/mod.rs"]
mod differential;

use std::fmt;

use database::{T, Visibility};
use fhir_search::Handling;

use differential::{Chance, Compared, Pair, TYPES, compare, request};
use world::World;

pub use world::Backend;

/// Queries between two rounds of changes.
const QUERIES: u64 = 50;

/// What a run is.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// What all chance follows from.
    pub seed: u64,
    /// Pairs of data and query.
    pub pairs: u64,
    /// Where the data is.
    pub backend: Backend,
    /// So many bytes of memory the index may have for what can be read again from the disk, where
    /// it is kept then, over the embedded store; without this it is not kept.
    pub index_memory: Option<usize>,
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Pairs of data and query.
    pub pairs: u64,
    /// Of these, such whose answers had matches.
    pub finding: u64,
    /// Such that both refused alike.
    pub refused: u64,
    /// Such as of a position that had become too old to be searched.
    pub before_horizon: u64,
    /// Pages of the others.
    pub pages: u64,
    /// Pairs as of an older position.
    pub older: u64,
    /// Pairs by who may not see everything.
    pub narrow: u64,
    /// Pairs by kind of query; one may be of several.
    pub kinds: Kinds,
    /// What happened to the data in between.
    pub happened: Happened,
}

macro_rules! counts {
    ($(#[$about:meta])* $name:ident { $($field:ident: $says:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name {
            $(#[doc = $says] pub $field: u64,)*
        }

        impl $name {
            fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let all = [$((self.$field, $says)),*];
                let all: Vec<String> =
                    all.iter().map(|(count, says)| format!("{count} {says}")).collect();
                formatter.write_str(&all.join(", "))
            }
        }
    };
}

counts! {
    /// How many queries have what.
    Kinds {
        chains: "with chains",
        reverse_chains: "with _has",
        filters: "with _filter",
        composites: "with composites",
        near: "with near",
        of_type: "with :of-type",
        negated: "with :not or :missing",
        included: "with includes",
        iterated: "with :iterate",
        sorted: "sorted",
        sorted_by_three: "sorted by three keys",
        compartments: "within compartments",
        many_types: "of several types",
        contained: "of contained resources",
    }
}

counts! {
    /// What happened to the data.
    Happened {
        commits: "commits",
        deletions: "deletions",
        purges: "purges",
        settled: "merges",
        closed: "restarts",
        dropped: "restarts after a drop",
        made_anew: "indexes made anew",
        parameters: "changes of parameters",
        between_pages: "changes between pages",
    }
}

impl Kinds {
    fn of(request: &str) -> Self {
        let count = |has: bool| u64::from(has);
        let (path, parameters) = request.split_once('?').unwrap_or((request, ""));
        let any = |is: &dyn Fn(&str, &str) -> bool| {
            count(parameters.split('&').any(|it| {
                let (name, value) = it.split_once('=').unwrap_or((it, ""));
                is(name, value)
            }))
        };
        Self {
            chains: any(&|name, _| !name.starts_with('_') && name.contains('.')),
            reverse_chains: any(&|name, _| name.contains("_has:")),
            filters: any(&|name, _| name == "_filter"),
            composites: any(&|_, value| value.contains('$')),
            near: any(&|name, _| name.ends_with("near")),
            of_type: any(&|name, _| name.ends_with(":of-type")),
            negated: any(&|name, _| name.ends_with(":not") || name.ends_with(":missing")),
            included: any(&|name, _| name.starts_with("_include") || name.starts_with("_revinc")),
            iterated: any(&|name, _| name.ends_with(":iterate")),
            sorted: any(&|name, _| name == "_sort"),
            sorted_by_three: any(&|name, value| name == "_sort" && value.matches(',').count() > 1),
            compartments: count(path.contains('/')),
            many_types: any(&|name, _| name == "_type"),
            contained: any(&|name, _| name == "_contained"),
        }
    }
}

impl Seen {
    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.finding += other.finding;
        self.refused += other.refused;
        self.before_horizon += other.before_horizon;
        self.pages += other.pages;
        self.older += other.older;
        self.narrow += other.narrow;
        self.kinds.add(&other.kinds);
        self.happened.add(&other.happened);
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, finding, refused, before_horizon, pages, older, narrow, .. } = self;
        writeln!(
            formatter,
            "{pairs} pairs, {finding} with matches, {pages} pages; {older} as of older positions \
             (of these {before_horizon} too old), {narrow} by who sees a part, {refused} refused \
             alike"
        )?;
        writeln!(formatter, "queries: {}", self.kinds)?;
        write!(formatter, "meanwhile: {}", self.happened)
    }
}

impl Run {
    /// Makes the run.
    ///
    /// # Errors
    /// The first difference: the query, both answers, the data, and how to see it again.
    ///
    /// # Panics
    /// When the database does something that it must not, other than answer wrongly.
    pub fn make(&self) -> Result<Seen, String> {
        let mut world = World::new(self.backend, self.index_memory)
            .ok_or_else(|| "there is no PostgreSQL to be had".to_owned())?;
        // Seeds that follow each other have nothing in common.
        let mut chance = Chance(self.seed.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let mut seen = Seen::default();
        for _ in 0..10 + chance.below(40) {
            world.change(&mut chance);
        }
        while seen.pairs < self.pairs {
            for _ in 0..1 + chance.below(4) {
                world.change(&mut chance);
            }
            world.disturb(&mut chance);
            for _ in 0..QUERIES.min(self.pairs - seen.pairs) {
                let pair = seen.pairs;
                if let Err(why) = compare_one(&mut world, &mut chance, &mut seen) {
                    return Err(self.tell(pair, &why, &world));
                }
            }
        }
        seen.happened = world.happened;
        world.close();
        Ok(seen)
    }

    fn tell(&self, pair: u64, why: &str, world: &World) -> String {
        let Self { seed, backend, .. } = self;
        format!(
            "seed {seed} over {backend}, pair {pair}: {why}\nthe data, as it is now:\n{}\nto see it \
             again: cargo xtask soak search --from {seed} --pairs {} --store {backend}",
            world.everything(),
            pair + 1,
        )
    }
}

/// Who asks: half see everything.
fn visibility(chance: &mut Chance) -> Visibility {
    match chance.below(8) {
        0..=2 => {
            let types = (0..8).map(|_| chance.one(&TYPES).parse().expect("a type's name"));
            Visibility::of_types(types.collect())
        }
        3 => world::of_patients(chance),
        _ => Visibility::everything(),
    }
}

/// Asks a random query, and counts it.
fn compare_one(world: &mut World, chance: &mut Chance, seen: &mut Seen) -> Result<(), String> {
    let known = world.known;
    let (text, query) = loop {
        let text = request(chance, known.parameters());
        if let Ok(query) = known.read(&text, Handling::Lenient) {
            break (text, query);
        }
    };
    let head = world.head();
    let t = if chance.once_in(3) { T::new(chance.below(head.get() + 1)) } else { head };
    let visibility = visibility(chance);
    let most = chance.one(&[1000, 1000, 1000, 3, 1, 7, 0]);
    let most_included = chance.one(&[1000, 1000, 1000, 2]);
    seen.pairs += 1;
    seen.older += u64::from(t < head);
    seen.narrow += u64::from(visibility != Visibility::everything());
    seen.kinds.add(&Kinds::of(&text));
    let told = format!("{text} at {} of {}, seeing {visibility:?}", t.get(), head.get());
    let pair = Pair { request: &told, query: &query, known, most, most_included };
    let compared = compare(&pair, &mut |page| {
        if page > 0 && chance.once_in(12) {
            world.happened.between_pages += 1;
            world.between_pages(chance);
        }
        world.snapshot(t, visibility.clone())
    });
    match compared? {
        Compared::Found { matches, pages } => {
            seen.finding += u64::from(matches > 0);
            seen.pages += pages;
        }
        Compared::Refused => seen.refused += 1,
        Compared::BeforeHorizon if world.is_before_horizon(t) => seen.before_horizon += 1,
        Compared::BeforeHorizon => return Err(format!("{told}: that is not so long ago")),
    }
    Ok(())
}
