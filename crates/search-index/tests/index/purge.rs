//! A purge leaves nothing of a resource in the index.

use fhir_core::{ResourceId, ResourceType};
use search_index::Visible;
use store::T;

use crate::support::Site;

#[test]
fn a_purged_resource_is_found_at_no_t_and_is_not_in_memory() {
    for settled in [0, 1, 2] {
        let mut site = Site::default();
        for id in ["a", "b", "a"] {
            site.put(&format!(
                r##"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"Muster"}}],
                    "contained":[{{"resourceType":"Organization","id":"o","name":"Inner"}}],
                    "managingOrganization":{{"reference":"#o"}}}}"##
            ));
            if settled == 2 {
                site.settle();
            }
        }
        if settled == 1 {
            site.settle();
        }
        assert_eq!(site.index.size().documents, 6);
        let patient = ResourceType::new("Patient").unwrap();
        site.index.forget(&[(patient, ResourceId::new("a").unwrap())]);
        assert_eq!(site.index.size().documents, 2, "settled {settled}");
        for t in 1..=3 {
            for url in ["Patient?name=muster", "Patient?organization.name=inner", "Patient?"] {
                let found = site.find_at(T::new(t), &Visible::Everything, url).unwrap();
                let expected: &[&str] = if t == 1 { &[] } else { &["Patient/b"] };
                assert_eq!(found, expected, "{url} at {t}");
            }
        }
        site.put(r#"{"resourceType":"Patient","id":"a","name":[{"family":"Muster"}]}"#);
        assert_eq!(site.find("Patient?name=muster"), ["Patient/b", "Patient/a"]);
    }
}
