//! What is stored comes back: to the digit, in its order, with the server's id and meta.

use database::{Action, Body, Expect, IdentifierKey, Method, OwnTag, identifiers};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Resource, ResourceId};
use fhir_schema::Schema;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use store::{BodyCoding, Derive, Store, T};

use crate::support::{Clinic, block_on, json, put, resource};

over_each_backend! {
    what_was_written_comes_back_to_the_digit
    the_servers_own_tag_is_the_servers_to_give
    any_resource_comes_back_as_it_was_written
    a_replay_derives_what_the_writer_derived
}

/// HTTP-074, HTTP-078, HTTP-079, HTTP-092.
fn what_was_written_comes_back_to_the_digit(clinic: &mut Clinic) {
    let long = "µ\\n".repeat(400);
    let cases = [
        ("{\"resourceType\":\"Basic\"}", "}"),
        ("{\"meta\":{},\"resourceType\":\"Basic\",\"id\":\"other\"}", "}"),
        (
            "{\"a\":1.0,\"meta\":{\"versionId\":\"9\",\"tag\":[ {\"code\":\"x\"} ],\"lastUpdated\":\"2001-01-01T00:00:00Z\",\"source\":\"s\"},\n\"resourceType\":\"Basic\",\"b\":[0.010, 1e3, -0, 123456789012345678901234567890.10]}",
            ",\"tag\":[{\"code\":\"x\"}],\"source\":\"s\"},\"a\":1.0,\"b\":[0.010,1e3,-0,123456789012345678901234567890.10]}",
        ),
        (
            "{\"\\u0069d\":\"mine\",\"m\\u0065ta\":{\"v\\u0065rsionId\":\"9\",\"profile\":[]},\"resourc\\u0065Type\":\"Basic\",\"c\":\"\\u00e9\\/\"}",
            ",\"profile\":[]},\"c\":\"\\u00e9\\/\"}",
        ),
        (
            "{\"resourceType\":\"Basic\",\"_id\":{\"extension\":[]},\"text\":{\"id\":\"t\",\"meta\":null}}",
            "},\"_id\":{\"extension\":[]},\"text\":{\"id\":\"t\",\"meta\":null}}",
        ),
        (
            &format!("{{\"resourceType\":\"Basic\",\"long\":\"{long}\",\"n\":1.50}}"),
            &format!("}},\"long\":\"{long}\",\"n\":1.50}}"),
        ),
    ];
    for (number, (given, rest)) in cases.into_iter().enumerate() {
        let name = format!("Basic/{number}");
        let written = clinic.write(put(&name, given, Expect::Any));
        let instant = String::from_utf8(written.instant.text().to_vec()).unwrap();
        let rest = if rest == "}" { "}}" } else { rest };
        let expected = format!(
            "{{\"resourceType\":\"Basic\",\"id\":\"{number}\",\
             \"meta\":{{\"versionId\":\"1\",\"lastUpdated\":\"{instant}\"{rest}"
        );
        assert_eq!(clinic.json(&name).unwrap(), expected, "{given}");
    }
}

/// Others' tags stay as they are, to the digit; the server's stand where it says and nowhere else.
fn the_servers_own_tag_is_the_servers_to_give(clinic: &mut Clinic) {
    let claimed = r#"{"system":"urn:own","code":"claimed"}"#;
    let other = r#"{"system":"urn:other","extension":[{"url":"u","valueDecimal":1.50}]}"#;
    let own = r#"{"system":"urn:own","code":"given"}"#;
    let cases = [
        (String::new(), Some("given"), format!(r#","tag":[{own}]"#)),
        (String::new(), None, String::new()),
        (format!(r#""tag":[{claimed}]"#), None, String::new()),
        (format!(r#""tag":[{claimed},{other}]"#), None, format!(r#","tag":[{other}]"#)),
        (
            format!(r#""tag":[{other},{claimed}],"source":"s""#),
            Some("given"),
            format!(r#","source":"s","tag":[{other},{own}]"#),
        ),
    ];
    for (number, (meta, code, expected)) in cases.into_iter().enumerate() {
        let name = format!("Basic/tagged{number}");
        let given = format!(r#"{{"resourceType":"Basic","meta":{{{meta}}}}}"#);
        let mut change = put(&name, &given, Expect::Any);
        if let Action::Write { body, .. } = &mut change.action {
            **body = tagged(&change.id, &given, OwnTag { system: "urn:own", code });
        }
        let written = clinic.write(change);
        let instant = String::from_utf8(written.instant.text().to_vec()).unwrap();
        let expected = format!(
            "{{\"resourceType\":\"Basic\",\"id\":\"tagged{number}\",\
             \"meta\":{{\"versionId\":\"1\",\"lastUpdated\":\"{instant}\"{expected}}}}}"
        );
        assert_eq!(clinic.json(&name).unwrap(), expected, "{given}");
    }
}

fn tagged(id: &ResourceId, json: &str, tag: OwnTag<'_>) -> Body {
    let document = Document::parse(json.as_bytes()).unwrap();
    let resource = Resource::new(document.root()).unwrap();
    Body::tagged(&resource, id, &Replacements::default(), tag, Schema::r4())
}

/// JSON as tokens: what stands between them is white space, which is not kept.
type Tokens = Vec<String>;

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z |:/]{1,9}",
        1 => "[À-ÿ]{1,3}",
        1 => Just("\u{1F600}".to_owned()),
        1 => Just("\\\"".to_owned()),
        1 => Just("\\\\".to_owned()),
        1 => Just("\\/".to_owned()),
        1 => Just("\\n".to_owned()),
        1 => Just("\\u00e9".to_owned()),
        1 => Just("\\ud83d\\ude00".to_owned()),
        1 => Just("\\u0000".to_owned()),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?"
}

fn value() -> impl Strategy<Value = Tokens> {
    let word =
        prop_oneof![Just("true".to_owned()), Just("false".to_owned()), Just("null".to_owned())];
    let leaf = prop_oneof![string(), number(), word].prop_map(|token| vec![token]);
    leaf.prop_recursive(4, 40, 5, |inner| {
        let items = proptest::collection::vec(inner.clone(), 0..5).prop_map(array);
        let members = proptest::collection::btree_map("[a-zA-Z_]{1,8}", inner, 0..5);
        let members = members.prop_map(|members| {
            let members = members.into_iter();
            object(members.map(|(name, value)| (format!("\"{name}\""), value)))
        });
        prop_oneof![items, members]
    })
}

fn array(items: Vec<Tokens>) -> Tokens {
    let mut tokens = vec!["[".to_owned()];
    for item in items {
        if tokens.len() > 1 {
            tokens.push(",".to_owned());
        }
        tokens.extend(item);
    }
    tokens.push("]".to_owned());
    tokens
}

fn object(members: impl IntoIterator<Item = (String, Tokens)>) -> Tokens {
    let mut tokens = vec!["{".to_owned()];
    for (name, value) in members {
        if tokens.len() > 1 {
            tokens.push(",".to_owned());
        }
        tokens.push(name);
        tokens.push(":".to_owned());
        tokens.extend(value);
    }
    tokens.push("}".to_owned());
    tokens
}

fn identifier() -> impl Strategy<Value = Tokens> {
    let member = |name: &str| {
        let name = format!("\"{name}\"");
        proptest::option::weighted(0.8, string())
            .prop_map(move |value| value.map(|value| (name.clone(), vec![value])))
    };
    let members = (member("use"), member("system"), member("value"));
    let members = (members, 0..3_usize).prop_map(|((a, b, c), turn)| {
        let mut members = [a, b, c];
        members.rotate_left(turn);
        object(members.into_iter().flatten())
    });
    // What stands where an Identifier should may be anything at all.
    prop_oneof![9 => members, 1 => value()]
}

/// A resource as it is sent: tokens, and what is to be in its meta and beside it.
#[derive(Debug, Clone)]
struct Sent {
    tokens: Tokens,
    meta: String,
    rest: String,
}

fn sent() -> impl Strategy<Value = Sent> {
    let others = proptest::collection::btree_map("x[a-zA-Z_]{0,8}", value(), 0..6);
    let identifiers = proptest::option::of(prop_oneof![
        proptest::collection::vec(identifier(), 0..4).prop_map(array),
        identifier(),
    ]);
    let in_meta = proptest::collection::btree_map(
        prop_oneof!["[a-z]{1,6}", Just("versionId".to_owned()), Just("lastUpdated".to_owned())],
        value(),
        0..4,
    );
    let meta = proptest::option::of(in_meta);
    let parts = (others, identifiers, meta, any::<bool>());
    (parts, proptest::collection::vec(any::<u16>(), 12)).prop_map(
        |((others, identifiers, meta, has_id), order)| {
            let mut members: Vec<_> = others.into_iter().collect();
            members.extend(identifiers.map(|tokens| ("identifier".to_owned(), tokens)));
            members.push(("resourceType".to_owned(), vec!["\"Patient\"".to_owned()]));
            if has_id {
                members.push(("id".to_owned(), vec!["\"of the client\"".to_owned()]));
            }
            let mut kept_meta = String::new();
            if let Some(meta) = meta {
                for (name, tokens) in &meta {
                    if name != "versionId" && name != "lastUpdated" {
                        kept_meta.push_str(&format!(",\"{name}\":{}", tokens.concat()));
                    }
                }
                let meta = meta.into_iter();
                let meta = object(meta.map(|(name, tokens)| (format!("\"{name}\""), tokens)));
                members.push(("meta".to_owned(), meta));
            }
            let mut keyed: Vec<_> = order.into_iter().cycle().zip(members).collect();
            keyed.sort_by_key(|(key, _)| *key);
            let members: Vec<_> = keyed.into_iter().map(|(_, member)| member).collect();
            let rest = members
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "resourceType" | "id" | "meta"))
                .map(|(name, tokens)| format!(",\"{name}\":{}", tokens.concat()))
                .collect();
            let members = members.into_iter();
            let tokens = object(members.map(|(name, tokens)| (format!("\"{name}\""), tokens)));
            Sent { tokens, meta: kept_meta, rest }
        },
    )
}

fn spaced() -> impl Strategy<Value = (Sent, String)> {
    let space = prop_oneof![3 => Just(""), 1 => Just(" "), 1 => Just("\n\t ")];
    let spaces = prop_oneof![Just(vec![""]), proptest::collection::vec(space, 1..20).boxed()];
    (sent(), spaces).prop_map(|(sent, spaces)| {
        let spaces = spaces.iter().cycle();
        let text = sent.tokens.iter().zip(spaces);
        let text = text.map(|(token, space)| format!("{token}{space}")).collect();
        (sent, text)
    })
}

/// HTTP-079.
fn any_resource_comes_back_as_it_was_written(clinic: &mut Clinic) {
    let mut codings = std::collections::BTreeSet::new();
    let mut runner = TestRunner::new(Config::with_cases(150));
    let codings_of = std::cell::RefCell::new(&mut codings);
    let result = runner.run(&spaced(), |(sent, text)| {
        let written = clinic.write(put("Patient/1", &text, Expect::Any));
        let instant = String::from_utf8(written.instant.text().to_vec()).unwrap();
        let expected = format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"1\",\
             \"meta\":{{\"versionId\":\"{}\",\"lastUpdated\":\"{instant}\"{}}}{}}}",
            written.version.unwrap(),
            sent.meta,
            sent.rest,
        );
        prop_assert_eq!(clinic.json("Patient/1").unwrap(), expected);
        let (of, id) = resource("Patient/1");
        let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
        codings_of.borrow_mut().insert(entry.dictionary.0);
        Ok(())
    });
    result.unwrap();
    // Both ways of storing a body were met.
    let shared = database::dictionary::FIRST_NUMBER;
    assert_eq!(codings.into_iter().collect::<Vec<_>>(), [0, shared]);
}

/// What the backend was told when the version was appended, and what a replay makes of its body.
fn a_replay_derives_what_the_writer_derived(clinic: &mut Clinic) {
    let derive = clinic.derive();
    let mut runner = TestRunner::new(Config::with_cases(150));
    let result = runner.run(&spaced(), |(_, text)| {
        let document = Document::parse(text.as_bytes()).unwrap();
        let given = Resource::new(document.root()).unwrap();
        let expected = identifiers(&given, Schema::r4());
        clinic.write(put("Patient/1", &text, Expect::Any));
        let (of, id) = resource("Patient/1");
        let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
        let stored = clinic.coded(&entry);
        let derived = derive.identifiers(&of, entry.dictionary, entry.length, &stored);
        prop_assert_eq!(derived.unwrap(), expected.clone());
        for key in expected {
            let bearers = block_on(clinic.gate().identified(&of, &key, T::new(u64::MAX)));
            prop_assert_eq!(bearers.unwrap(), std::slice::from_ref(&id));
        }
        Ok(())
    });
    result.unwrap();
}

/// In a transaction strings become others on their way into the store, those of an Identifier
/// among them.
#[test]
fn identifiers_are_those_of_the_text_that_is_stored() {
    let text = "{\"resourceType\":\"Patient\",\"identifier\":[\
                {\"system\":\"urn:uuid:1\",\"value\":\"a\"},{\"system\":\"s\",\"value\":\"b\"}],\
                \"link\":[{\"other\":{\"reference\":\"urn:uuid:1\"}}]}";
    let document = Document::parse(text.as_bytes()).unwrap();
    let given = Resource::new(document.root()).unwrap();
    let mut replacements = Replacements::default();
    let identifier = document.root().get("identifier").unwrap().items().next();
    let system = identifier.unwrap().get("system").unwrap();
    let link = document.root().get("link").unwrap().items().next().unwrap();
    let reference = link.get("other").unwrap().get("reference").unwrap();
    replacements.push(system, "Patient/1".to_owned());
    replacements.push(reference, "Patient/1".to_owned());
    let id = "1".parse().unwrap();
    let written = Body::of(&given, &id, &replacements, Schema::r4());
    let mut clinic = Clinic::over_the_model();
    let change = database::Change {
        resource_type: "Patient".parse().unwrap(),
        id,
        action: database::Action::Write { body: Box::new(written), method: Method::Post },
        expect: Expect::New,
    };
    clinic.write(change);
    let stored = clinic.json("Patient/1").unwrap();
    assert!(stored.ends_with(
        "\"identifier\":[{\"system\":\"Patient/1\",\"value\":\"a\"},\
         {\"system\":\"s\",\"value\":\"b\"}],\
         \"link\":[{\"other\":{\"reference\":\"Patient/1\"}}]}"
    ));
    for _ in 0..2 {
        let snapshot = clinic.snapshot();
        for (system, found) in [("Patient/1", 1), ("urn:uuid:1", 0)] {
            let key = IdentifierKey::new(Some(system), "a");
            let of = "Patient".parse().unwrap();
            let bearers = block_on(snapshot.identified(&of, &key)).unwrap();
            assert_eq!(bearers.len(), found, "{system}");
            let told = block_on(clinic.gate().identified(&of, &key, snapshot.at()));
            assert_eq!(told.unwrap().len(), found, "{system}");
        }
        drop(snapshot);
        clinic.reopen();
    }
    assert!(block_on(json(&clinic.snapshot(), "Patient/1")).is_some());
}

/// Were each compared with all before it, this would take the better part of an hour.
#[test]
fn very_many_identifiers_are_taken_each_once() {
    let many = 200_000;
    let list = (0..many).map(|number| format!("{{\"value\":\"{}\"}}", number % (many / 2)));
    let list = list.collect::<Vec<_>>().join(",");
    let text = format!("{{\"resourceType\":\"Patient\",\"identifier\":[{list}]}}");
    let document = Document::parse(text.as_bytes()).unwrap();
    let given = Resource::new(document.root()).unwrap();
    assert_eq!(identifiers(&given, Schema::r4()).len(), many / 2);
}

#[test]
fn a_short_body_is_stored_as_it_is_and_a_long_one_with_the_dictionary_of_its_type() {
    let shared = BodyCoding(database::dictionary::FIRST_NUMBER);
    for (length, coding) in [(1, BodyCoding::AS_IS), (3000, shared)] {
        let text =
            format!("{{\"resourceType\":\"Basic\",\"text\":\"{}\"}}", "ab ".repeat(length / 3));
        let mut clinic = Clinic::over_the_model();
        clinic.write(put("Basic/1", &text, Expect::Any));
        let (of, id) = resource("Basic/1");
        let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
        let stored = clinic.coded(&entry);
        assert_eq!(entry.dictionary, coding);
        assert_eq!(stored.len() < entry.length as usize, coding == shared);
        clinic.reopen();
    }
}
