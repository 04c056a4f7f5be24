//! The table, driven by data: `HOST/PATH METHODS HEADER` for each route.

use super::*;

/// `name host/path [GET,PUT] [x-header[=value]]`; `*` is every host.
fn route(text: &str) -> Route {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let name = words.next().expect("a name").into();
    let place = words.next().expect("a host and a path");
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = match host.strip_prefix("*.") {
        _ if host == "*" => Host::Any,
        Some(parent) => Host::Below(parent.to_owned()),
        None => Host::Exactly(host.to_owned()),
    };
    let (mut methods, mut header) = (Vec::new(), None);
    for word in words {
        if word.starts_with("x-") {
            let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
            header = Some(NeededHeader {
                name: name.parse().expect("a header's name"),
                value: value.map(|value| value.parse().expect("a value")),
            });
        } else {
            methods = word.split(',').map(|name| name.parse().expect("a method")).collect();
        }
    }
    Route {
        name,
        host,
        path: path.to_owned(),
        methods,
        header,
        content: Content::Fhir,
        cors: None,
        body_bytes: 1,
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        authorizer: None,
        to: Destination::Server,
    }
}

fn table(routes: &[&str]) -> Result<Table, RouteProblem> {
    let forwards = Table::new(routes.iter().map(|text| route(text)).collect());
    // The order in which they are written says nothing.
    let backwards = Table::new(routes.iter().rev().map(|text| route(text)).collect());
    assert_eq!(forwards.is_ok(), backwards.is_ok(), "{routes:?}");
    forwards
}

/// `METHOD host/path [x-header=value]`
fn check(routes: &[&str], request: &str, expected: Option<&str>) {
    let table = table(routes).unwrap_or_else(|problem| panic!("{problem}"));
    let mut words = request.split(' ');
    let method: Method = words.next().expect("a method").parse().expect("a method");
    let place = words.next().expect("a place");
    let (host, path) = place.split_at(place.find('/').expect("a path"));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host.parse().expect("a host"));
    if let Some((name, value)) = words.next().and_then(|word| word.split_once('=')) {
        let name: HeaderName = name.parse().expect("a name");
        headers.insert(name, value.parse().expect("a value"));
    }
    let uri: Uri = path.parse().expect("a path");
    let found = table.find(&method, &uri, &headers).map(|route| &*route.name);
    assert_eq!(found, expected, "{request} among {routes:?}");
    // In HTTP/2 the host stands in the target.
    headers.remove(HOST);
    let uri: Uri = format!("https://{place}").parse().expect("a target");
    let found = table.find(&method, &uri, &headers).map(|route| &*route.name);
    assert_eq!(found, expected, "{request} in HTTP/2 among {routes:?}");
}

fn refused(routes: &[&str]) -> String {
    table(routes).expect_err("these are refused").to_string()
}

// GW-001
#[test]
fn the_longest_path_wins_by_whole_segments() {
    let routes = ["all */", "fhir */fhir", "lab */fhir/lab"];
    check(&routes, "GET a.example/fhir/Patient", Some("fhir"));
    check(&routes, "GET a.example/fhir", Some("fhir"));
    check(&routes, "GET a.example/fhir/lab/Patient", Some("lab"));
    check(&routes, "GET a.example/fhir/labs", Some("fhir"));
    check(&routes, "GET a.example/fhirs", Some("all"));
    check(&routes, "GET a.example/", Some("all"));
    check(&routes[1..], "GET a.example/", None);
}

// GW-001
#[test]
fn of_routes_with_one_path_the_narrower_wins() {
    let routes = [
        "any */a",
        "below *.example.org/a",
        "deeper *.north.example.org/a",
        "host h.north.example.org/a",
        "host-get h.north.example.org/a GET",
        "host-get-v2 h.north.example.org/a GET x-version=2",
        "host-get-v h.north.example.org/a GET x-version",
    ];
    check(&routes, "GET else.example/a", Some("any"));
    check(&routes, "GET example.org/a", Some("any"));
    check(&routes, "GET x.example.org/a", Some("below"));
    check(&routes, "GET x.north.example.org/a", Some("deeper"));
    check(&routes, "PUT h.north.example.org/a", Some("host"));
    check(&routes, "GET H.North.Example.org:8080/a/b", Some("host-get"));
    check(&routes, "GET h.north.example.org/a x-version=2", Some("host-get-v2"));
    check(&routes, "GET h.north.example.org/a x-version=3", Some("host-get-v"));
    check(&routes, "PUT h.north.example.org/a x-version=2", Some("host"));
}

// GW-001
#[test]
fn an_ambiguous_or_shadowed_route_is_refused_and_both_are_named() {
    for (routes, both) in [
        (&["one */a", "two */a"][..], ["`one` (/a)", "`two` (/a)"]),
        (&["one h.example/a", "two */a GET"], ["`one` (h.example/a)", "`two` (/a)"]),
        (&["one */a GET,PUT", "two */a PUT,POST"], ["`one`", "`two`"]),
        (&["one */a x-one", "two */a x-two"], ["`one`", "`two`"]),
        (&["one */a x-one", "two */a GET"], ["`one`", "`two`"]),
        (&["both */a GET,PUT", "get */a GET", "put */a PUT"], ["`both`", "`get`"]),
    ] {
        let problem = refused(routes);
        assert!(both.iter().all(|name| problem.contains(name)), "{problem}");
    }
    for routes in [
        &["one */a GET", "two */a PUT"][..],
        &["one a.example/a", "two b.example/a"],
        &["one */a x-one=1", "two */a x-one=2"],
        &["one */a GET,PUT", "two */a GET"],
        &["one */a GET x-one", "two */a"],
        &["one h.example/", "two */a"],
    ] {
        assert!(table(routes).is_ok(), "{routes:?}");
    }
}

#[test]
fn names_and_paths_are_checked_by_themselves() {
    for text in ["One */a", "none */a", "a */a/", "a */a//b", "a */a/../b", "a */%61", "a *"] {
        assert!(!refused(&[text]).is_empty(), "{text}");
    }
    assert!(refused(&["a */a", "a */b"]).contains("two routes are called `a`"));
    assert!(refused(&["a */break-glass"]).contains("the gateway answers /break-glass itself"));
    assert!(table(&["a */"]).is_ok());
}

#[test]
fn a_base_is_not_divided_by_types_of_resources() {
    let to = |mut route: Route, upstream: &str| {
        let share = Share { upstream: upstream.into(), weight: 1 };
        route.to = Destination::Foreign(Foreign::among(vec![share]));
        route
    };
    for (inner, refused) in [("b */fhir/Observation", true), ("b */fhir/lab", false)] {
        for backwards in [false, true] {
            let mut routes = vec![to(route("a */fhir"), "one"), to(route(inner), "two")];
            if backwards {
                routes.reverse();
            }
            let made = Table::new(routes);
            let divided = matches!(made, Err(RouteProblem::DividesABase(..)));
            assert_eq!(divided, refused, "{inner}: {made:?}");
        }
    }
    let same = vec![to(route("a */fhir"), "one"), to(route("b */fhir/Observation"), "one")];
    assert!(Table::new(same).is_ok());
}

// GW-009
#[test]
fn a_split_follows_its_weights_and_a_sticky_header() {
    let share = |upstream: &str, weight| Share { upstream: upstream.into(), weight };
    let mut foreign = Foreign::among(vec![share("old", 95), share("new", 5)]);
    let headers = HeaderMap::new();
    let new = (0..10_000).filter(|turn| &**foreign.upstream(&headers, *turn) == "new").count();
    assert!((400..=600).contains(&new), "{new} of 10,000");
    foreign.sticky = Some(HeaderName::from_static("x-session"));
    let mut new = 0;
    for session in 0..10_000_u32 {
        let mut headers = HeaderMap::new();
        headers.insert("x-session", session.into());
        let first = foreign.upstream(&headers, 0);
        assert!((1..5).all(|turn| foreign.upstream(&headers, turn) == first));
        new += u32::from(&**first == "new");
    }
    assert!((400..=600).contains(&new), "{new} of 10,000");
}
