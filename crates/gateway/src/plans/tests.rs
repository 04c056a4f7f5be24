//! Plans as they are written, and what of them is refused.

use super::*;

fn name(text: &str) -> PlanName {
    text.parse().expect("a plan's name")
}

fn written() -> WrittenPlan {
    let json = serde_json::json!({
        "says": "For a test.", "lane": "bulk", "roles": ["reader"],
        "rates": [
            {"per_second": 100, "burst": 20, "delay_ms": 50},
            {"by": ["client", "address"], "per_minute": 600},
        ],
        "at_once": [{"by": ["user"], "most": 4}],
        "quotas": [
            {"of": "requests", "most": 1000, "per": "day"},
            {"of": "cost", "most": 5, "per": "month", "window": "rolling", "by": ["user"]},
        ],
    });
    serde_json::from_value(json).expect("a plan's text")
}

#[test]
fn a_plan_is_read_into_limits_with_names_and_a_policy() {
    let plan = written().check(&name("lab")).expect("a plan");
    let names: Vec<&str> = plan.limits.iter().map(|limit| limit.name.as_str()).collect();
    let expected = [
        "client-per-second",
        "client-address-per-minute",
        "user-at-once",
        "requests-per-day",
        "user-cost-per-month-rolling",
    ];
    assert_eq!(names, expected);
    // GW-043
    assert_eq!(
        plan.policy,
        "\"client-per-second\";q=20;w=1, \"client-address-per-minute\";q=1;w=1, \
         \"user-at-once\";q=4;qu=\"concurrent-requests\", \
         \"requests-per-day\";q=1000;w=86400;qu=\"requests\", \
         \"user-cost-per-month-rolling\";q=5;w=2592000;qu=\"cost-units\""
    );
    let said = plan.limits[3].to_string();
    assert_eq!(
        said,
        "requests-per-day of the plan lab: 1000 requests in a day of the calendar, by client"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let check = |change: fn(&mut WrittenPlan), place: &str, part: &str| {
        let mut plan = written();
        change(&mut plan);
        let error = plan.check(&name("lab")).expect_err(place);
        assert_eq!(error.place, place, "{error}");
        assert!(error.problem.contains(part), "{error}");
    };
    check(|plan| plan.says.clear(), "says", "1 to 500");
    check(|plan| plan.rates[0].by = Vec::new(), "rates[0].by", "name one of");
    check(|plan| plan.rates[1].by[0] = "ip".to_owned(), "rates[1].by", "there is no \"ip\"");
    check(|plan| plan.rates[1].by[0] = "address".to_owned(), "rates[1].by", "twice");
    check(|plan| plan.rates[0].per_minute = Some(1), "rates[0].per_second", "either");
    check(|plan| plan.rates[0].burst = 0, "rates[0].burst", "at least 1");
    check(|plan| plan.rates[0].delay_ms = 60_000, "rates[0].delay_ms", "10000");
    check(|plan| plan.at_once[0].most = 0, "at_once[0].most", "at least 1");
    check(|plan| plan.quotas[0].most = 0, "quotas[0].most", "1 to");
    check(|plan| plan.quotas.push(plan.quotas[0].clone()), "quotas[2]", "says the same");
}

#[test]
fn a_clients_own_plan_comes_first_then_its_roles_then_the_default() {
    let named = |change: fn(&mut WrittenPlan)| {
        let mut plan = WrittenPlan { roles: Vec::new(), ..written() };
        change(&mut plan);
        plan
    };
    let all = BTreeMap::from([
        (name("own"), named(|_| {})),
        (name("roles"), named(|plan| plan.roles = vec!["reader".parse().expect("a role")])),
        (name("rest"), named(|plan| plan.default = true)),
        (name("nobody"), named(|plan| plan.public = true)),
    ]);
    let plans = Plans::new(&all).expect("plans");
    let client = |role: &str, plan: Option<&str>| {
        let id = registry::ClientId::new("app").expect("an id");
        let mut new = registry::NewClient::of_role(id, "An app", role.parse().expect("a role"));
        new.plan = plan.map(name);
        new.into_client(contract::Instant::from_micros(0))
    };
    let check = |role: &str, plan: Option<&str>, expected: &str| {
        let found = plans.of(&client(role, plan)).expect("a plan");
        assert_eq!(found.name, name(expected), "{role} {plan:?}");
    };
    check("reader", Some("own"), "own");
    check("reader", None, "roles");
    check("clinician", None, "rest");
    // One that the configuration has no more.
    check("reader", Some("gone"), "roles");
    assert_eq!(plans.of_nobody().map(|plan| &plan.name), Some(&name("nobody")));
}

#[test]
fn two_plans_for_one_role_or_for_all_are_refused() {
    let twice = |change: fn(&mut WrittenPlan), place: &str| {
        let mut plan = WrittenPlan { roles: Vec::new(), ..written() };
        change(&mut plan);
        let all = BTreeMap::from([(name("a"), plan.clone()), (name("b"), plan)]);
        let error = Plans::new(&all).expect_err(place);
        assert_eq!((error.place.as_str(), error.plan.as_str()), (place, "b"));
    };
    twice(|plan| plan.default = true, "default");
    twice(|plan| plan.public = true, "public");
    twice(|plan| plan.roles = vec!["reader".parse().expect("a role")], "roles");
}
