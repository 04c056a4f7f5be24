//! An index is written down and made again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fhir_core::Instant;
use proptest::prelude::*;
use search_index::{Damaged, Index, PieceOf, SavedSegment, SavedState, Settled, Summary};

use crate::memory::Pieces;
use crate::support::{GOES_ON, Site, new_index};

/// The pieces of an index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saved {
    state: Vec<Vec<u8>>,
    names: Vec<Vec<u8>>,
    segments: Vec<SavedPieces>,
}

/// A segment in pieces.
#[derive(Debug, Clone, Default)]
struct SavedPieces {
    documents: Vec<Vec<u8>>,
    keys: Vec<(u32, Vec<u8>)>,
    facets: Vec<(u32, Summary)>,
}

impl Saved {
    pub(crate) fn of(index: &Index) -> Self {
        let checkpoint = index.checkpoint(&GOES_ON).unwrap();
        assert_eq!(checkpoint.t(), index.head());
        let mut saved = Self::default();
        let push = |pieces: &mut Vec<Vec<u8>>, piece: &[u8]| pieces.push(piece.to_vec());
        checkpoint
            .write_state(index, &mut |piece| {
                push(&mut saved.state, piece);
                Ok(())
            })
            .unwrap();
        for names in [0..checkpoint.names() / 2, checkpoint.names() / 2..checkpoint.names()] {
            index
                .write_names(names, &mut |piece| {
                    push(&mut saved.names, piece);
                    Ok(())
                })
                .unwrap();
        }
        for segment in checkpoint.segments() {
            let mut pieces = SavedPieces { facets: segment.facets(), ..SavedPieces::default() };
            segment
                .write(&mut |of, piece| {
                    match of {
                        PieceOf::Documents => push(&mut pieces.documents, piece),
                        PieceOf::Keys(facet) => pieces.keys.push((facet, piece.to_vec())),
                    }
                    Ok(())
                })
                .unwrap();
            saved.segments.push(pieces);
        }
        saved
    }

    pub(crate) fn restored(&self) -> Result<Index, Damaged> {
        let mut state = SavedState::default();
        self.state.iter().try_for_each(|piece| state.piece(piece))?;
        self.names.iter().try_for_each(|piece| state.names_piece(piece))?;
        let mut segments = Vec::new();
        for pieces in &self.segments {
            let mut segment = SavedSegment::default();
            pieces.documents.iter().try_for_each(|piece| segment.piece(piece))?;
            let source = Pieces::of(pieces.keys.iter().cloned());
            segment.kept(pieces.facets.clone(), Arc::new(source))?;
            segments.push(segment);
        }
        let index = new_index();
        index.number_as(&state);
        index.restore(state, segments)?;
        Ok(index)
    }

    /// One of its pieces by a number, with which any can be had.
    fn piece(&mut self, at: usize) -> &mut Vec<u8> {
        let all = self.state.iter_mut().chain(&mut self.names);
        let of_segments = self.segments.iter_mut().flat_map(|segment| {
            segment.documents.iter_mut().chain(segment.keys.iter_mut().map(|(_, piece)| piece))
        });
        let mut all: Vec<_> = all.chain(of_segments).collect();
        let at = at % all.len();
        all.swap_remove(at)
    }
}

fn some() -> Site {
    let mut site = Site::default();
    for at in 0..60 {
        site.put(&format!(
            r##"{{"resourceType":"Observation","id":"{}","status":"final","code":{{"coding":
                [{{"system":"http://s","code":"c{}"}}]}},"subject":{{"reference":"Patient/{}"}},
                "contained":[{{"resourceType":"Device","id":"d"}}],"device":{{"reference":"#d"}}}}"##,
            at % 40,
            at % 7,
            at % 5
        ));
        if at % 20 == 0 {
            site.settle();
        }
    }
    site
}

/// What is said of pieces from which some were taken.
type Way<'w> = (&'static str, &'w dyn Fn(&mut Saved));

#[test]
fn what_does_not_belong_together_is_no_index() {
    let saved = Saved::of(&some().index);
    saved.restored().unwrap();
    assert!(saved.segments.len() > 1);
    let without = |take: &dyn Fn(&mut Saved)| {
        let mut saved = saved.clone();
        take(&mut saved);
        saved.restored().unwrap_err().to_string()
    };
    let ways: [Way<'_>; 8] = [
        ("there is another number of segments", &|it| drop(it.segments.pop())),
        ("names are missing", &|it| drop(it.names.pop())),
        ("names do not follow those before", &|it| it.names.swap(0, 1)),
        ("segments are not in the order of the log", &|it| it.segments.swap(0, 1)),
        ("a segment is empty", &|it| it.segments[0].documents.clear()),
        ("facets are not in their order", &|it| it.segments[0].facets.swap(0, 1)),
        ("there is another number of segments", &|it| it.state.clear()),
        ("a piece of the state is of no known kind", &|it| it.state.swap(0, 1)),
    ];
    for (error, take) in ways {
        assert_eq!(without(take), error);
    }
}

#[test]
fn a_merge_that_is_stopped_changes_nothing() {
    let mut site = some();
    site.index.close_tail();
    let stopped = AtomicBool::new(true);
    let before = site.index.size();
    assert_eq!(site.index.settle_unless(&stopped, Instant::MIN), Settled::Nothing);
    assert!(site.index.checkpoint(&stopped).is_none());
    assert_eq!(site.index.size().segments, before.segments);
    assert!(site.index.unsettled_bytes() > 0);
    assert_eq!(site.find("Observation?code=c3").len(), 6);
    site.put(r#"{"resourceType":"Observation","id":"x","code":{"coding":[{"code":"c3"}]}}"#);
    site.settle();
    assert_eq!(site.index.unsettled_bytes(), 0);
    assert_eq!(site.find("Observation?code=c3").len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Checksums keep damage away; where bytes are made to be read all the same, nothing but an
    /// error or another index comes of them.
    #[test]
    fn bytes_that_nobody_wrote_harm_nobody(
        at in 0_usize..1000, offset in any::<prop::sample::Index>(), byte: u8, cut: bool,
    ) {
        static SAVED: std::sync::LazyLock<Saved> =
            std::sync::LazyLock::new(|| Saved::of(&some().index));
        let mut saved = SAVED.clone();
        let piece = saved.piece(at);
        let offset = offset.index(piece.len());
        if cut {
            piece.truncate(offset);
        } else {
            piece[offset] = byte;
        }
        if let Ok(index) = saved.restored() {
            let _all = index.load(&|| false);
            let site = Site::over(index);
            for url in ["Observation?code=c3", "Observation?subject:Patient._id=1", "Observation?"] {
                let _found = site.search(url);
            }
        }
    }

    #[test]
    fn any_bytes_are_pieces_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), of in 0..5_usize) {
        let kind = [b'H', b'P', b'E', b'D', b'K'][of];
        let piece = [&[kind][..], &bytes].concat();
        let mut state = SavedState::default();
        let _read = state.piece(&piece);
        let _read = state.names_piece(&bytes);
        let _read = SavedSegment::default().piece(&piece);
    }
}
