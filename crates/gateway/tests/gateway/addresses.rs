//! Who may connect, and who is believed about whom they stand for.

use gateway::{AddressBlock, Addresses, GatewayConfig, Rate, ToldBy};

use crate::harness::{start_with, within};

fn block(text: &str) -> AddressBlock {
    text.parse().expect("a block")
}

fn behind_loopback(told_by: ToldBy) -> impl FnOnce(&mut GatewayConfig) {
    move |config| {
        let trusted_proxies = vec![block("127.0.0.1")];
        let deny = vec![block("203.0.113.0/24")];
        config.addresses = Addresses { trusted_proxies, told_by, deny, ..Addresses::default() };
    }
}

// GW-027
#[tokio::test]
async fn who_is_not_allowed_or_is_denied_gets_no_connection() {
    for (allow, deny) in
        [(vec![block("192.0.2.0/24")], vec![]), (vec![], vec![block("127.0.0.0/8")])]
    {
        let (running, stub) = start_with(|config| {
            config.addresses = Addresses { allow, deny, ..Addresses::default() };
        })
        .await;
        assert!(running.connect().await.is_closed().await);
        let refused = "hearthgate_gateway_connections_refused_total{reason=\"address-denied\"}";
        assert_eq!(running.metric(refused).await, 1.0);
        assert!(stub.seen().is_empty());
    }
}

// GW-027
#[tokio::test]
async fn a_trusted_proxy_is_believed_and_limits_and_lists_count_its_clients() {
    let (running, stub) = start_with(|config| {
        behind_loopback(ToldBy::XForwardedFor)(config);
        config.limits.public = Rate::new(1, 2).expect("a rate");
        config.limits.connections_per_address = 1;
    })
    .await;
    let mut open = Vec::new();
    for (client, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("203.0.113.5", 403),
        // Its own words, before those of the proxy.
        ("192.0.2.9, 192.0.2.1", 429),
        ("203.0.113.5, 192.0.2.3", 200),
    ] {
        let head = format!(
            "GET /fhir/metadata HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\
             X-Forwarded-Proto: https\r\nForwarded: for=192.0.2.77\r\n\r\n"
        );
        let mut connection = running.connect().await;
        connection.write(head.as_bytes()).await;
        assert_eq!(connection.read_answer().await.status, status, "{client}");
        open.push(connection);
    }
    let seen = stub.seen();
    assert_eq!(seen[0].headers["forwarded"], "for=192.0.2.1;proto=https");
    assert_eq!(seen[0].headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(seen.last().expect("one").headers["x-forwarded-for"], "192.0.2.3");
}

// GW-025 GW-027
#[tokio::test]
async fn what_is_said_by_nobody_trusted_or_in_another_way_is_ignored() {
    let far = Addresses {
        trusted_proxies: vec![block("10.0.0.0/8")],
        told_by: ToldBy::XForwardedFor,
        ..Addresses::default()
    };
    let said_elsewhere = Addresses {
        trusted_proxies: vec![block("127.0.0.1")],
        told_by: ToldBy::Forwarded,
        ..Addresses::default()
    };
    for addresses in [far, said_elsewhere, Addresses::default()] {
        let (running, stub) = start_with(|config| config.addresses = addresses).await;
        let fields = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Real-IP", "192.0.2.1"),
            ("X_Forwarded_For", "192.0.2.1"),
            ("X-Forwarded-Proto", "https"),
        ];
        let bytes = running.request("GET", "/fhir/Patient/1", &fields, "");
        assert_eq!(running.send(&bytes).await.status, 200);
        let seen = stub.only();
        assert_eq!(seen.headers["forwarded"], "for=127.0.0.1;proto=http");
        assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
        for name in ["x-real-ip", "x_forwarded_for", "x-forwarded-proto"] {
            assert!(!seen.headers.contains_key(name), "{name}");
        }
    }
}

// GW-027
#[tokio::test]
async fn the_proxy_protocol_is_read_from_trusted_proxies_and_demanded_of_them() {
    let (running, stub) = start_with(behind_loopback(ToldBy::ProxyProtocol)).await;
    let request = running.request("GET", "/fhir/Patient/1", &[("X-Forwarded-For", "1.1.1.1")], "");
    let mut connection = running.connect().await;
    connection.write(b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n").await;
    for _ in 0..2 {
        connection.write(request.as_bytes()).await;
        assert_eq!(connection.read_answer().await.status, 200);
    }
    for seen in stub.seen() {
        assert_eq!(seen.headers["forwarded"], "for=192.0.2.1;proto=http");
    }
    for begin in ["PROXY TCP4 203.0.113.5 127.0.0.1 4711 80\r\n", ""] {
        let mut refused = running.connect().await;
        refused.try_write(format!("{begin}{request}").as_bytes()).await;
        within("the end", refused.drain()).await;
    }
    assert_eq!(stub.seen().len(), 2);
    let metric = |reason: &str| {
        format!("hearthgate_gateway_connections_refused_total{{reason=\"{reason}\"}}")
    };
    assert_eq!(running.metric(&metric("address-denied")).await, 1.0);
    assert_eq!(running.metric(&metric("no-proxy-protocol")).await, 1.0);
    running.stop().await;

    // From anybody else the same bytes are no request.
    let (running, stub) = start_with(|config| {
        behind_loopback(ToldBy::ProxyProtocol)(config);
        config.addresses.trusted_proxies = vec![block("10.0.0.0/8")];
    })
    .await;
    let bytes = format!("PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n{request}");
    running.send(&bytes).await.is_refusal(400);
    assert!(stub.seen().is_empty());
}

// GW-022, GW-027
#[tokio::test]
async fn connections_of_one_client_are_bounded_behind_a_proxy_too() {
    let (running, _stub) = start_with(|config| {
        behind_loopback(ToldBy::ProxyProtocol)(config);
        config.limits.connections_per_address = 2;
    })
    .await;
    let request = running.request("GET", "/fhir/Patient/1", &[], "");
    let open = async |client: &str| {
        let mut connection = running.connect().await;
        let begin = format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n{request}");
        connection.try_write(begin.as_bytes()).await;
        connection
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = open("192.0.2.1").await;
        assert_eq!(connection.read_answer().await.status, 200);
        held.push(connection);
    }
    within("the end", open("192.0.2.1").await.drain()).await;
    let reason = "hearthgate_gateway_connections_refused_total{reason=\"too-many-from-address\"}";
    assert_eq!(running.metric(reason).await, 1.0);
    assert_eq!(open("192.0.2.2").await.read_answer().await.status, 200);
    held.clear();
    within("a place", async {
        while running.metric("hearthgate_gateway_connections_open").await > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(open("192.0.2.1").await.read_answer().await.status, 200);
}

// GW-026
#[tokio::test]
async fn pages_of_a_pattern_may_read_the_headers_that_are_exposed_to_them() {
    let (running, _stub) = start_with(|config| {
        config.cors = Some(gateway::Cors {
            origins: vec!["https://*.example.org".to_owned()],
            credentials: true,
            exposed: vec!["x-total".to_owned()],
        });
    })
    .await;
    for (origin, allowed) in
        [("https://app.example.org", true), ("https://app.example.com", false), ("null", false)]
    {
        let fields = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
        let preflight = crate::harness::request("OPTIONS", "/fhir/Patient/1", &fields, "");
        let answer = running.send(&preflight).await;
        assert_eq!(answer.status == 204, allowed, "{origin}: {answer:?}");
        let bytes = running.request("GET", "/fhir/Patient/1", &[("Origin", origin)], "");
        let answer = running.send(&bytes).await;
        let names = answer.fields.iter().map(|(name, _)| name.as_str());
        assert_eq!(names.filter(|name| name.starts_with("access-control")).count() > 0, allowed);
        if allowed {
            assert_eq!(answer.field("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
            let exposed: String = answer
                .fields
                .iter()
                .filter(|(name, _)| name == "access-control-expose-headers")
                .map(|(_, value)| format!("{value}, "))
                .collect();
            for name in
                ["etag", "location", "last-modified", "x-request-id", "ratelimit", "x-total"]
            {
                assert!(exposed.contains(&format!("{name}, ")), "{name}: {exposed}");
            }
        }
    }
}
