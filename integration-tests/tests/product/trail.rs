//! The trail of changes as an operator has it: what fills it, what is missed in it, and changes that
//! are asked for on the condition that nobody else made one.

use http::Method;
use integration_tests::binary::{failure, run, text};
use integration_tests::site::{First, Site};
use serde_json::{Value, json};

use crate::admin::{Admin, CONFIGURATION, ROLES, ask, ask_where};

fn changes(site: &Site, arguments: &[&str]) -> std::process::Output {
    let (verb, rest) = arguments.split_first().unwrap();
    let mut all = vec!["changes", verb, "--data", site.data().to_str().unwrap()];
    all.extend(rest);
    run(site.folder(), &all)
}

/// The trail's lines, by its file.
fn lines(site: &Site) -> Vec<Value> {
    let trail = std::fs::read_to_string(site.data().join("registry/trail.jsonl")).unwrap();
    trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// GW-063
#[tokio::test]
async fn a_trail_that_was_changed_cut_or_removed_is_missed_and_begun_anew_on_record() {
    let mut admin = Admin::start(CONFIGURATION).await;
    admin.site.stop().await;
    let site = &mut admin.site;
    let path = site.data().join("registry/trail.jsonl");
    let trail = std::fs::read_to_string(&path).unwrap();
    let whole = text(&changes(site, &["verify"]).stdout);
    assert!(whole.starts_with("The trail is whole: 6 lines."), "{whole}");
    let (cut, _) = trail.trim_end().rsplit_once('\n').unwrap();
    for (harmed, says) in [
        (Some(trail.replacen("the-viewer", "the-wiewer", 1)), "does not name the one before"),
        (Some(format!("{cut}\n")), "ends with line 5, and had 6"),
        (None, "is missing, although there was one"),
    ] {
        match &harmed {
            Some(harmed) => std::fs::write(&path, harmed).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let said = failure(&changes(site, &["verify"]), 1);
        assert!(said.contains(says) && said.contains("begin-anew"), "{said}");
        // What stands before it is printed.
        let listed = changes(site, &["list"]);
        assert_eq!(listed.status.code(), Some(1), "{listed:?}");
        assert!(text(&listed.stderr).contains(says), "{listed:?}");
        let data = site.data().to_str().unwrap();
        let created = run(site.folder(), &["operators", "list", "--data", data]);
        let said = failure(&created, 1);
        assert!(said.contains(says), "{said}");
        assert_eq!(std::fs::read_to_string(&path).ok(), harmed, "it is left as it is");
    }
    let begun = changes(site, &["begin-anew"]);
    let said = text(&begun.stdout);
    assert!(begun.status.success() && said.contains("The one before had 6 lines"), "{begun:?}");
    site.launch(First::Gateway).await;
    // Not while somebody has the registry.
    let held = failure(&changes(site, &["begin-anew"]), 1);
    assert!(held.contains("is held by"), "{held}");
    let listed = text(&changes(site, &["list"]).stdout);
    let first = listed.lines().next().unwrap();
    assert!(first.contains("changes.begin-anew one of 6 lines, whose last hash was"), "{first}");
    admin.site.stop().await;
}

// GW-063
#[tokio::test]
async fn who_is_refused_without_end_fills_no_disk_and_each_refusal_is_told() {
    let configuration = "[gateway]\nadmin_refusals_per_minute = 5\n";
    let mut admin = Admin::start(configuration).await;
    let before = lines(&admin.site).len();
    let (viewer, operator) = (admin.client("viewer"), admin.client("operator"));
    let body = json!({"id": "lab", "role": "reader"});
    for _ in 0..40 {
        // The answer says why, whether there is a line of it or not.
        let _ = ask(&viewer, &Method::POST, "/clients", Some(&body)).await.is(403);
    }
    for _ in 0..7 {
        let _ = ask(&operator, &Method::POST, "/clients", Some(&json!({}))).await.is(422);
    }
    // What would leave two lines has to wait, and is counted.
    let waits = ask(&operator, &Method::POST, "/clients/none/disable", None).await.is(429);
    let seconds: u64 = waits.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(waits.text().contains("were refused within a minute"), "{}", waits.text());
    assert_eq!(operator.get("/clients").await.status, 200);
    // Nobody else waits.
    let administrator = admin.client("administrator");
    drop(ask(&administrator, &Method::POST, "/clients", Some(&body)).await.is(201));
    assert_eq!(lines(&admin.site).len(), before + 5 + 5 + 2);
    admin.site.stop().await;
    let lines = lines(&admin.site);
    let told = |name: &str| {
        let own = lines.iter().filter(|line| line["by"] == format!("operator {name}"));
        let refused: Vec<_> = own.filter(|line| line["outcome"] == "refused").collect();
        let more = refused.iter().filter_map(|line| line["more"].as_u64()).sum::<u64>();
        (refused.iter().filter(|line| line["more"].is_null()).count(), more)
    };
    assert_eq!(told("the-viewer"), (5, 35));
    assert_eq!(told("the-operator"), (5, 3));
    let listed = text(&changes(&admin.site, &["list", "--newest", "--limit", "2"]).stdout);
    assert!(listed.contains("operator the-viewer from 127.0.0.1 (API): refused.more"), "{listed}");
    assert!(listed.contains("and 35 more, which have no lines of their own"), "{listed}");
    let numbers: Vec<_> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let last = lines.len();
    assert_eq!(numbers, [last.to_string(), (last - 1).to_string()]);
    let after = (last - 3).to_string();
    let listed = text(&changes(&admin.site, &["list", "--after", &after, "--limit", "2"]).stdout);
    assert!(listed.starts_with(&format!("{} ", last - 2)), "{listed}");
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

// GW-063
#[tokio::test]
async fn the_newest_lines_come_first_where_they_are_asked_for() {
    let mut admin = Admin::start(CONFIGURATION).await;
    let page = admin.get("/changes?before=4294967295&limit=4").await.is(200).json();
    let numbers = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|line| line["number"].as_u64().unwrap()).collect()
    };
    assert_eq!((numbers(&page), page["next"].as_u64()), (vec![6, 5, 4, 3], Some(3)));
    let page = admin.get("/changes?before=3&limit=4").await.is(200).json();
    assert_eq!((numbers(&page), page["next"].as_u64()), (vec![2, 1], Some(1)));
    let page = admin.get("/changes?before=1").await.is(200).json();
    assert_eq!((numbers(&page), page["next"].as_u64()), (vec![], Some(1)));
    admin.site.stop().await;
}

// GW-063
#[tokio::test]
async fn of_those_who_saw_the_same_state_one_changes_it() {
    let mut admin = Admin::start(CONFIGURATION).await;
    let operator = admin.client(ROLES[1]);
    let body = json!({"id": "lab", "role": "reader"});
    let made = ask(&operator, &Method::POST, "/clients", Some(&body)).await.is(201);
    let mut tag = made.header("etag").unwrap().to_owned();
    for round in 0..10 {
        let plan = match round % 2 {
            0 => json!({"plan": "standard"}),
            _ => json!({"plan": null}),
        };
        let asking = (0..8).map(|_| {
            ask_where(&operator, &Method::PUT, "/clients/lab/plan", Some(&plan), Some(&tag))
        });
        let answers = futures_util::future::join_all(asking).await;
        let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(done.len(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
        let next = done[0].header("etag").unwrap().to_owned();
        assert_ne!(next, tag);
        tag = next;
    }
    // One that is not there is not there, whatever the condition says.
    let none = "/clients/none/disable";
    let _ = ask_where(&operator, &Method::POST, none, None, Some(&tag)).await.is(404);
    let _ = ask_where(&operator, &Method::POST, none, None, Some("*")).await.is(404);
    let any = "/clients/lab/disable";
    drop(ask_where(&operator, &Method::POST, any, None, Some("*")).await.is(200));
    admin.site.stop().await;
}
