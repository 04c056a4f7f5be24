//! From the conditions of a query to those that one part of the index can evaluate by itself:
//! parameters become facets, names become ordinals, and chains become the resources that they
//! lead to.

use fhir_core::{Instant, ResourceId, ResourceType};
use fhir_search::{
    Clause, DateTest, Hierarchy, Parameter, Prefix, ReferenceTest, Sense, StringMatch, StringTest,
    SystemTest, Test, TokenTest, UnitTest, UriTest, ValueClause, fold,
};
use roaring::RoaringBitmap;

use super::Node;
use super::node::Check;
use super::tests_of_values::{
    composite_holds, near_holds, near_latitudes, reference_holds, token_holds,
};
use crate::documents::Ordinal;
use crate::error::{SearchError, Unsupported};
use crate::facet::{Facet, Number, View};
use crate::key::{
    KeyRange, LONGEST_WORDS, Reader, Writer, canonical_prefix, canonical_ranges, code_prefix,
    date_ranges, local_key, number_ranges, read_canonical, read_composite, read_date, read_number,
    read_quantity, read_string, read_token, read_typed, string_prefix, typed_key, unit_key,
    url_key, value_prefix,
};
use crate::part::after_prefix;
use crate::prepare::{is_contained, is_own};
use crate::search::Search;
use fhir_search::Codes;

/// A condition on fewer resources is asked before others, as [`Node::cost`] says.
pub(super) const FEW: u64 = 64;

/// Resolves conditions at the `t` of a search, and among what it may see.
pub(crate) struct Resolver<'s, 'q> {
    pub(crate) search: &'s Search<'s>,
    pub(crate) codes: &'q dyn Codes,
}

impl<'q> Resolver<'_, 'q> {
    /// The node of a condition on resources of a type.
    pub(crate) fn clause(&self, of: &str, clause: &'q Clause) -> Result<Node<'q>, SearchError> {
        let each = |clauses: &'q [Clause]| -> Result<Vec<_>, _> {
            clauses.iter().map(|clause| self.clause(of, clause)).collect()
        };
        Ok(match clause {
            Clause::Value(clause) => self.value(of, clause)?,
            Clause::Missing { parameter, missing } => self.missing(parameter, *missing),
            Clause::Chain(chain) => self.chain(chain)?,
            Clause::Has(has) => self.has(of, has)?,
            Clause::List(list) => self.list(list)?,
            Clause::Text(_) => return Err(SearchError::Unsupported(Unsupported::Text)),
            Clause::Content(_) => return Err(SearchError::Unsupported(Unsupported::Content)),
            Clause::All(clauses) if clauses.is_empty() => Node::Everything,
            Clause::All(clauses) => Node::All(each(clauses)?),
            Clause::Any(clauses) => Node::Any(each(clauses)?),
            Clause::Not(clause) => Node::Not(Box::new(self.clause(of, clause)?)),
        })
    }

    pub(super) fn number(&self, parameter: &Parameter) -> Option<Number> {
        self.search.number(&parameter.resource_type, parameter.code())
    }

    fn missing(&self, parameter: &Parameter, missing: bool) -> Node<'q> {
        let present = match self.number(parameter) {
            _ if parameter.code() == "_lastUpdated" => ever(),
            _ if is_own(parameter.code()) => Node::Everything,
            Some(number) => Node::Key { facet: Facet::of(number, View::Present), key: Vec::new() },
            None => Node::Nothing,
        };
        if missing { Node::Not(Box::new(present)) } else { present }
    }

    fn value(&self, of: &str, clause: &'q ValueClause) -> Result<Node<'q>, SearchError> {
        let own = match clause.parameter.code() {
            "_id" => Some(self.ids(of, clause)?),
            "_lastUpdated" => Some(Node::Any(clause.tests.iter().map(times).collect())),
            _ => None,
        };
        if let Some(own) = own {
            return Ok(match clause.sense {
                Sense::SomeHolds => own,
                Sense::SomeDiffers => {
                    let present = self.missing(&clause.parameter, false);
                    Node::All(vec![present, Node::Not(Box::new(own))])
                }
            });
        }
        let Some(number) = self.number(&clause.parameter) else {
            return Ok(Node::Nothing);
        };
        let value = Value { number, parameter: &clause.parameter };
        if clause.sense == Sense::SomeDiffers {
            return self.differs(value, &clause.tests);
        }
        let nodes: Result<Vec<_>, _> =
            clause.tests.iter().map(|test| self.test(value, test)).collect();
        Ok(Node::Any(nodes?))
    }

    /// What has one of these ids: resources, and those contained in one that have it there.
    fn ids(&self, of: &str, clause: &'q ValueClause) -> Result<Node<'q>, SearchError> {
        let names = self.search.index.names.read();
        let ordinals = clause.tests.iter().filter_map(|test| match test {
            Test::Token(TokenTest::Code { system: SystemTest::Is(_), .. }) => None,
            Test::Token(TokenTest::Code { code, .. }) => names.get(of, code).map(|it| it.0),
            _ => None,
        });
        let own = self.named(ordinals.collect(), Node::Own);
        drop(names);
        let Some(number) = self.number(&clause.parameter) else { return Ok(own) };
        let value = Value { number, parameter: &clause.parameter };
        let mut nodes = vec![own];
        for test in &*clause.tests {
            nodes.push(self.test(value, test)?);
        }
        Ok(Node::Any(nodes))
    }

    /// Resources that the query names. How many of them there are must not tell to whoever does
    /// not see them, by the turn of the condition among others: so all are few.
    fn named(&self, ordinals: RoaringBitmap, node: impl Fn(RoaringBitmap) -> Node<'q>) -> Node<'q> {
        if ordinals.len() < FEW || !self.search.counts_what_is_seen() {
            return node(ordinals);
        }
        let all: Vec<u32> = ordinals.iter().collect();
        let some = all.chunks(FEW as usize - 1).map(|some| node(some.iter().copied().collect()));
        Node::Any(some.collect())
    }

    /// Some value satisfies none of the tests.
    fn differs(&self, value: Value<'q>, tests: &'q [Test]) -> Result<Node<'q>, SearchError> {
        let has_other_view = |test: &Test| {
            matches!(
                test,
                Test::Composite(_)
                    | Test::Token(TokenTest::Text(_) | TokenTest::OfType { .. })
                    | Test::Reference(ReferenceTest::Identifier(_))
            )
        };
        if tests.iter().any(has_other_view) {
            return Err(SearchError::Unsupported(Unsupported::Difference));
        }
        let checks: Result<Vec<_>, _> = tests.iter().map(|test| self.check(value, test)).collect();
        let checks = checks?;
        let check: Check<'q> = Box::new(move |key| {
            for check in &checks {
                if check(key)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        Ok(value.keys(View::Value, vec![KeyRange::all()], Some(check)))
    }

    /// Whether a test holds of the value of a key of [`View::Value`].
    fn check(&self, value: Value<'q>, test: &'q Test) -> Result<Check<'q>, SearchError> {
        let codes = self.codes;
        Ok(match test {
            Test::Number(test) => Box::new(|key| {
                Ok(read_number(&mut Reader::new(key)).is_some_and(|range| test.holds(range)))
            }),
            Test::Date(test) => Box::new(|key| {
                Ok(read_date(&mut Reader::new(key)).is_some_and(|range| test.holds(range)))
            }),
            Test::String(test) => {
                let finds_words = value.parameter.finds_words();
                Box::new(move |key| {
                    let read = read_string(&mut Reader::new(key));
                    Ok(read.is_some_and(|(folded, text)| match test.at {
                        StringMatch::Exact => test.holds(&text),
                        _ if finds_words => test.holds_of_a_word(&folded),
                        _ => test.holds(&folded),
                    }))
                })
            }
            Test::Token(test) => Box::new(move |key| match read_token(&mut Reader::new(key)) {
                Some(token) => token_holds(test, &token, codes),
                None => Ok(false),
            }),
            Test::Quantity(test) => Box::new(|key| {
                Ok(read_quantity(&mut Reader::new(key)).is_some_and(|it| test.holds(&it)))
            }),
            Test::Uri(test) => {
                let of_resource = self.uris_of(test)?;
                Box::new(move |key| {
                    let uri = std::str::from_utf8(key).unwrap_or_default();
                    Ok(test.holds(uri) || of_resource.iter().any(|it| it.holds(uri)))
                })
            }
            Test::Near(test) => Box::new(|key| {
                let mut reader = Reader::new(key);
                let position = reader.bytes(8).and_then(|_| {
                    let (latitude, longitude) = (reader.decimal()?, reader.decimal()?);
                    Some(fhir_search::Position { latitude, longitude })
                });
                Ok(position.is_some_and(|position| near_holds(test, &position)))
            }),
            Test::Composite(test) => {
                let count = value.parameter.components.len();
                Box::new(move |key| match read_composite(key, count) {
                    Some(components) => composite_holds(test, &components, codes),
                    None => Ok(false),
                })
            }
            Test::Reference(test) => {
                let ordinals = self.referred(value, test)?;
                Box::new(move |key| Ok(reference_holds(test, &ordinals, key)))
            }
        })
    }

    fn test(&self, value: Value<'q>, test: &'q Test) -> Result<Node<'q>, SearchError> {
        let checked = |ranges| -> Result<Node<'q>, SearchError> {
            Ok(value.keys(View::Value, ranges, Some(self.check(value, test)?)))
        };
        let prefix = |prefix| vec![KeyRange::prefix(prefix)];
        match test {
            Test::Number(number) => checked(number_ranges(&[], number)),
            Test::Date(date) => checked(date_ranges(date)),
            Test::Quantity(quantity) => {
                let ranges = number_ranges(&[], &quantity.number).into_iter();
                let plain = match &quantity.unit {
                    UnitTest::Any => checked(ranges.collect())?,
                    // Of the unit the ranges say nothing.
                    _ => checked(ranges.map(KeyRange::unsure).collect())?,
                };
                let UnitTest::Coded { system, code, canonical: Some(canonical) } = &quantity.unit
                else {
                    return Ok(plain);
                };
                let facet = Facet::of(value.number, View::Value);
                let (unit, node) = (unit_key(system, code), Box::new(plain));
                let plain = Node::Unconverted { facet, unit, node };
                let ranges = canonical_ranges(&canonical.0, &canonical.1);
                let check: Check<'q> = Box::new(|key| {
                    Ok(read_canonical(&mut Reader::new(key)).is_some_and(|it| quantity.holds(&it)))
                });
                Ok(Node::Any(vec![plain, value.keys(View::Canonical, ranges, Some(check))]))
            }
            Test::String(string) => match string.at {
                StringMatch::Start => self.starts(value, string),
                StringMatch::Whole => {
                    let range = prefix(Writer::default().text(&string.text).finish());
                    Ok(value.keys(View::Value, range, None))
                }
                StringMatch::Exact => {
                    checked(prefix(Writer::default().text(&fold(&string.text)).finish()))
                }
                StringMatch::Contains | StringMatch::End => checked(vec![KeyRange::all()]),
            },
            Test::Token(token) => self.token(value, token, checked),
            Test::Uri(UriTest::Is(uri)) => Ok(value.key(View::Value, uri.as_bytes().to_vec())),
            Test::Uri(UriTest::Below(base)) => {
                checked(prefix(base.strip_suffix('/').unwrap_or(base).as_bytes().to_vec()))
            }
            Test::Uri(UriTest::Canonical { url, .. } | UriTest::VersionBelow { url, .. }) => {
                checked(prefix(url.as_bytes().to_vec()))
            }
            Test::Uri(UriTest::Above(_) | UriTest::OfResource { .. }) => {
                checked(vec![KeyRange::all()])
            }
            Test::Near(near) => {
                let (south, north) = near_latitudes(near);
                checked(vec![KeyRange::between(
                    Writer::default().float(south).finish(),
                    after_prefix(&Writer::default().float(north).finish()),
                )])
            }
            Test::Composite(composite) => checked(value_prefix(match composite.parts.first() {
                Some(Test::Token(TokenTest::Code { code, .. })) => Some(code),
                _ => None,
            })),
            Test::Reference(ReferenceTest::Identifier(token)) => {
                let codes = self.codes;
                let check: Check<'q> =
                    Box::new(move |key| match read_token(&mut Reader::new(key)) {
                        Some(it) => token_holds(token, &it, codes),
                        None => Ok(false),
                    });
                let ranges = match token {
                    TokenTest::Code { code, .. } => {
                        prefix(code_prefix(Writer::default(), code).finish())
                    }
                    _ => vec![KeyRange::all()],
                };
                Ok(value.keys(View::Identifier, ranges, Some(check)))
            }
            Test::Reference(reference) => self.reference(value, reference, checked),
        }
    }

    fn starts(&self, value: Value<'q>, test: &'q StringTest) -> Result<Node<'q>, SearchError> {
        let range = || vec![KeyRange::prefix(string_prefix(&test.text))];
        let start = value.keys(View::Value, range(), None);
        if !value.parameter.finds_words() {
            return Ok(start);
        }
        if test.text.len() <= LONGEST_WORDS {
            return Ok(Node::Any(vec![start, value.keys(View::Words, range(), None)]));
        }
        let check: Check<'q> = Box::new(|key| {
            let read = read_string(&mut Reader::new(key));
            Ok(read.is_some_and(|(folded, _)| test.holds_of_a_word(&folded)))
        });
        Ok(value.keys(View::Value, vec![KeyRange::all()], Some(check)))
    }

    fn token(
        &self,
        value: Value<'q>,
        test: &'q TokenTest,
        checked: impl Fn(Vec<KeyRange>) -> Result<Node<'q>, SearchError>,
    ) -> Result<Node<'q>, SearchError> {
        let prefix = |prefix| vec![KeyRange::prefix(prefix)];
        Ok(match test {
            TokenTest::Code { code, .. } => {
                checked(prefix(code_prefix(Writer::default(), code).finish()))?
            }
            TokenTest::System(system) => value.key(View::System, system.as_bytes().to_vec()),
            TokenTest::Text(text) => value.keys(View::Text, prefix(string_prefix(text)), None),
            TokenTest::OfType { system, code, value: wanted } => {
                let codes = self.codes;
                let check: Check<'q> =
                    Box::new(move |key| match read_typed(&mut Reader::new(key)) {
                        Some(token) => token_holds(test, &token, codes),
                        None => Ok(false),
                    });
                let start = code_prefix(typed_key(system, code), wanted).finish();
                value.keys(View::Typed, prefix(start), Some(check))
            }
            TokenTest::MimeBelow(mime) => {
                let start = Writer::default().byte(1).open_text(&mime.to_lowercase());
                checked(prefix(start.finish()))?
            }
            TokenTest::In(_) | TokenTest::Below { .. } | TokenTest::Above { .. } => {
                checked(vec![KeyRange::all()])?
            }
        })
    }

    fn reference(
        &self,
        value: Value<'q>,
        test: &'q ReferenceTest,
        checked: impl Fn(Vec<KeyRange>) -> Result<Node<'q>, SearchError>,
    ) -> Result<Node<'q>, SearchError> {
        let facet = Facet::of(value.number, View::Value);
        let prefix = |prefix: Writer| KeyRange::prefix(prefix.finish());
        match test {
            ReferenceTest::Url { url, version } => {
                let canonical = prefix(canonical_prefix(url));
                checked(match version {
                    Some(_) => vec![canonical],
                    None => vec![KeyRange::prefix(url_key(url)), canonical],
                })
            }
            ReferenceTest::CanonicalBelow { url, .. } => {
                checked(vec![prefix(canonical_prefix(url))])
            }
            ReferenceTest::Local { version: Some(_), .. } => {
                let mut ordinals = self.referred(value, test)?;
                if ordinals.is_empty() {
                    ordinals.insert(Ordinal::NONE.0);
                }
                checked(ordinals.iter().map(|it| prefix(local_key(Ordinal(it)))).collect())
            }
            ReferenceTest::Hierarchy { .. } => {
                Ok(Node::Targets { facet, ordinals: self.referred(value, test)? })
            }
            _ => {
                let ordinals = self.referred(value, test)?;
                Ok(self.named(ordinals, |ordinals| Node::Targets { facet, ordinals }))
            }
        }
    }

    /// The resources that a test on a reference asks for.
    fn referred(
        &self,
        value: Value<'_>,
        test: &ReferenceTest,
    ) -> Result<RoaringBitmap, SearchError> {
        let names = self.search.index.names.read();
        let found: RoaringBitmap = match test {
            ReferenceTest::Id { id, types } => {
                let types = if types.is_empty() { names.types() } else { types };
                let found = types.iter().filter_map(|of| names.get(of.as_str(), id.as_str()));
                found.map(|it| it.0).collect()
            }
            ReferenceTest::Local { resource_type, id, .. }
            | ReferenceTest::Hierarchy { resource_type, id, .. } => {
                let found = names.get(resource_type.as_str(), id.as_str());
                found.into_iter().map(|it| it.0).collect()
            }
            _ => RoaringBitmap::new(),
        };
        drop(names);
        match test {
            ReferenceTest::Hierarchy { towards, .. } => self.hierarchy(value, found, *towards),
            _ => Ok(found),
        }
    }

    /// These resources and all that are above or below them by a parameter of their own type.
    fn hierarchy(
        &self,
        value: Value<'_>,
        start: RoaringBitmap,
        towards: Hierarchy,
    ) -> Result<RoaringBitmap, SearchError> {
        let facet = Facet::of(value.number, View::Value);
        let of = &*value.parameter.resource_type;
        let mut all = start.clone();
        let mut newest = start;
        // Ends in a circle too: what is there already is not followed again.
        while !newest.is_empty() {
            let next = match towards {
                Hierarchy::Below => {
                    let node = Node::Targets { facet, ordinals: newest };
                    self.search.ordinals(of, &node, crate::search::Among::Resources)?
                }
                Hierarchy::Above => {
                    let node = Node::Own(newest);
                    let targets = self.search.targets_of(of, &node, facet)?;
                    let names = self.search.index.names.read();
                    // Those of other types have no place among these, nor has what is contained.
                    let is_of_type = |it: &u32| {
                        names.type_of(Ordinal(*it)).as_str() == of
                            && !is_contained(names.id_text(Ordinal(*it)))
                    };
                    targets.into_iter().filter(is_of_type).collect()
                }
            };
            newest = next - &all;
            all |= &newest;
        }
        Ok(all)
    }

    fn list(&self, id: &ResourceId) -> Result<Node<'q>, SearchError> {
        let number = self.search.number("List", "item");
        let own = self.own("List", id.as_str());
        let (Some(number), Some(own)) = (number, own) else {
            return Ok(Node::Nothing);
        };
        let node = Node::Own([own.0].into_iter().collect());
        let items = self.search.targets_of("List", &node, Facet::of(number, View::Value))?;
        Ok(Node::Own(self.without_contained(items)))
    }

    /// The ordinal of a resource; of one that is not known none, or for whoever does not see
    /// everything that of no resource.
    fn own(&self, of: &str, id: &str) -> Option<Ordinal> {
        let known = self.search.index.names.read().get(of, id);
        known.or_else(|| self.search.counts_what_is_seen().then_some(Ordinal::NONE))
    }

    /// What the URI of a resource may be: that of its `url`, with a version or without, or its
    /// address here.
    fn uris_of(&self, test: &UriTest) -> Result<Vec<UriTest>, SearchError> {
        let UriTest::OfResource { resource_type, id } = test else {
            return Ok(Vec::new());
        };
        let canonical = |url: &str| UriTest::Canonical { url: url.into(), version: None };
        let address = format!("{resource_type}/{id}");
        let own = format!("{}/{address}", self.search.base);
        let mut uris = vec![UriTest::Is(address.into()), UriTest::Is(own.into())];
        uris.extend(self.urls(resource_type, id)?.iter().map(|url| canonical(url)));
        Ok(uris)
    }

    fn urls(&self, of: &ResourceType, id: &ResourceId) -> Result<Vec<String>, SearchError> {
        let number = self.search.number(of.as_str(), "url");
        let own = self.own(of.as_str(), id.as_str());
        let (Some(number), Some(own)) = (number, own) else {
            return Ok(Vec::new());
        };
        let node = Node::Own([own.0].into_iter().collect());
        let keys = self.search.keys_of(of.as_str(), &node, Facet::of(number, View::Value))?;
        Ok(keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect())
    }
}

/// The values of a parameter.
#[derive(Clone, Copy)]
struct Value<'q> {
    number: Number,
    parameter: &'q Parameter,
}

impl<'q> Value<'q> {
    fn key(self, view: View, key: Vec<u8>) -> Node<'q> {
        Node::Key { facet: Facet::of(self.number, view), key }
    }

    fn keys(self, view: View, ranges: Vec<KeyRange>, check: Option<Check<'q>>) -> Node<'q> {
        Node::Keys { facet: Facet::of(self.number, view), ranges, check }
    }
}

/// All that was written, which nothing contained was by itself.
fn ever<'q>() -> Node<'q> {
    Node::Times(vec![(Instant::MIN, None)])
}

/// When a version was written for a test to hold: an instant is one microsecond long.
fn times<'q>(test: &Test) -> Node<'q> {
    let Test::Date(DateTest { prefix, range }) = test else {
        return Node::Nothing;
    };
    let at = |micros: i64| Instant::from_micros(micros);
    let (low, high) = (at(range.low()), at(range.high()));
    let from = |instant| (instant, None);
    let below = |instant| (Instant::MIN, Some(instant));
    Node::Times(match prefix {
        Prefix::Eq | Prefix::Ap | Prefix::Po => vec![(low, Some(high))],
        Prefix::Ne => vec![below(low), from(high)],
        Prefix::Gt | Prefix::Sa => vec![from(high)],
        Prefix::Lt | Prefix::Eb => vec![below(low)],
        Prefix::Ge => vec![from(low)],
        Prefix::Le => vec![below(high)],
    })
}
