//! The admin API, held to its own OpenAPI document: every operation that the document has, by every
//! role, with what is right and with everything that is wrong.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::Method;
use integration_tests::binary::{run, text};
use integration_tests::client::{Answer, Client, sent};
use integration_tests::json_schema::{resolved, wrong};
use integration_tests::site::{Deployment, First, Site};
use serde_json::{Value, json};

use crate::waiting::SOON;

pub(crate) const ROLES: [&str; 3] = ["viewer", "operator", "administrator"];

/// A place with an operator of each role.
pub(crate) struct Admin {
    pub(crate) site: Site,
    pub(crate) tokens: BTreeMap<&'static str, String>,
    document: Value,
    /// Names that were given.
    given: u32,
    /// What the trail has to say of changes by the API: operation, outcome and status.
    expected: Vec<(String, &'static str, u64)>,
    /// What was shown once.
    secrets: Vec<String>,
}

/// An operation of the document.
#[derive(Clone)]
struct Operation {
    id: String,
    method: Method,
    path: String,
    role: usize,
    body: Option<Value>,
    says: Value,
}

impl Operation {
    /// Whether it takes `If-Match`.
    fn is_guarded(&self) -> bool {
        let parameters = self.says["parameters"].as_array().unwrap();
        parameters.iter().any(|one| one["in"] == "header" && one["name"] == "If-Match")
    }
}

/// The path of what an operation is about, of its own path.
fn shown<'a>(operation: &Operation, path: &'a str) -> &'a str {
    let (_, end) = operation.path.rsplit_once('}').unwrap();
    path.strip_suffix(end).unwrap()
}

pub(crate) fn operators(site: &Site, arguments: &[&str]) -> String {
    let (verb, rest) = arguments.split_first().unwrap();
    let data = site.data().to_str().unwrap();
    let mut all = vec!["operators", verb, "--data", data];
    all.extend(rest);
    let output = run(site.folder(), &all);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

impl Admin {
    pub(crate) async fn start(configuration: &str) -> Self {
        let mut site = Site::prepare(Deployment::OneProcess);
        site.configure(configuration);
        site.launch(First::Gateway).await;
        let mut tokens = BTreeMap::new();
        for role in ROLES {
            let name = format!("the-{role}");
            let made = operators(&site, &["create", &name, "--role", role, "--print-token"]);
            tokens.insert(role, made.trim_end().to_owned());
        }
        let mut admin = Self {
            site,
            tokens,
            document: Value::Null,
            given: 0,
            expected: Vec::new(),
            secrets: Vec::new(),
        };
        admin.secrets.extend(admin.tokens.values().cloned());
        let answer = admin.get("/openapi.json").await.is(200);
        admin.document = answer.json();
        admin
    }

    pub(crate) fn client(&self, role: &str) -> Client {
        Client::new(&format!("{}/admin/v1", self.base()), Some(&self.tokens[role]))
    }

    pub(crate) fn nobody(&self) -> Client {
        Client::new(&format!("{}/admin/v1", self.base()), None)
    }

    fn base(&self) -> String {
        format!("http://{}", self.site.admin_address())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.client("administrator").get(path).await
    }

    /// Asks as the administrator for what has to be there before a test's request.
    async fn make(&mut self, operation: &str, path: &str, body: Option<Value>) -> Value {
        let client = self.client("administrator");
        let answer = ask(&client, &Method::POST, path, body.as_ref()).await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
        self.expect_done(operation, answer.status);
        let made = answer.json();
        self.secrets.extend(made["secret"].as_str().map(str::to_owned));
        made
    }

    fn expect_done(&mut self, operation: &str, status: u16) {
        self.expected.push((operation.to_owned(), "begun", 0));
        self.expected.push((operation.to_owned(), "done", status.into()));
    }

    fn expect_refused(&mut self, operation: &Operation, status: u16, was_begun: bool) {
        if operation.method == Method::GET {
            return;
        }
        if was_begun {
            self.expected.push((operation.id.clone(), "begun", 0));
        }
        self.expected.push((operation.id.clone(), "refused", status.into()));
    }

    fn name(&mut self) -> String {
        self.given += 1;
        format!("name-{}", self.given)
    }

    /// The path of an operation, with ids of what was made for it.
    async fn path(&mut self, operation: &Operation) -> String {
        let mut path = operation.path.clone();
        if path.contains("{client}") || path.contains("{key}") {
            let client = self.name();
            self.make("clients.create", "/clients", Some(json!({"id": client, "role": "reader"})))
                .await;
            if operation.id == "clients.enable" {
                self.make("clients.disable", &format!("/clients/{client}/disable"), None).await;
            }
            if path.contains("{key}") {
                let keys = format!("/clients/{client}/keys");
                let made = self.make("keys.create", &keys, Some(json!({}))).await;
                path = path.replace("{key}", made["key"]["id"].as_str().unwrap());
            }
            path = path.replace("{client}", &client);
        }
        if path.contains("{operator}") {
            let name = self.name();
            let body = json!({"name": name, "role": "viewer"});
            self.make("operators.create", "/operators", Some(body)).await;
            path = path.replace("{operator}", &name);
        }
        let path = path.replace("{plan}", "standard").replace("{request}", "none");
        assert!(!path.contains('{'), "{path}");
        path
    }

    /// A body by the schema, all members or those that are needed, whose names are new.
    fn body(&mut self, schema: &Value, all: bool) -> Value {
        let document = self.document.clone();
        let schema = resolved(&document, schema);
        let needed = schema["required"].as_array().unwrap();
        let mut body = json!({});
        for (name, of) in schema["properties"].as_object().unwrap() {
            if !all && !needed.iter().any(|needed| needed == name) {
                continue;
            }
            body[name] = match name.as_str() {
                "id" | "name" => self.name().into(),
                // What is said there has to go together with the rest.
                "patient" | "issuer" | "certificate" => continue,
                "role" if of["enum"].is_null() => "reader".into(),
                _ => example(&document, of),
            };
        }
        assert_eq!(wrong(&document, schema, &body), [""; 0], "{body}");
        body
    }

    /// Checks a problem by the document.
    #[track_caller]
    fn is_problem(&self, operation: &Operation, answer: &Answer, status: u16) -> Value {
        assert_eq!(answer.status, status, "{} {}", operation.id, answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let schema = &operation.says["responses"][status.to_string()]["content"]["application/problem+json"]
            ["schema"];
        let problem = answer.json();
        assert_eq!(wrong(&self.document, schema, &problem), [""; 0], "{} {problem}", operation.id);
        assert_eq!(problem["status"], status);
        problem
    }

    fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, methods) in self.document["paths"].as_object().unwrap() {
            for (method, says) in methods.as_object().unwrap() {
                let body = &says["requestBody"]["content"]["application/json"]["schema"];
                let role = says["x-role"].as_str().unwrap();
                operations.push(Operation {
                    id: says["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_ascii_uppercase().parse().unwrap(),
                    path: path.clone(),
                    role: ROLES.iter().position(|known| *known == role).unwrap(),
                    body: (!body.is_null()).then(|| body.clone()),
                    says: says.clone(),
                });
            }
        }
        operations
    }

    /// The lines of the trail that changes by the API left, read page by page.
    async fn trail(&self) -> Vec<(String, String, u64)> {
        let (mut after, mut lines) = (0, Vec::new());
        loop {
            let page = self.get(&format!("/changes?after={after}&limit=37")).await.is(200).json();
            let items = page["items"].as_array().unwrap();
            if items.is_empty() {
                return lines;
            }
            for line in items.iter().filter(|line| line["how"] == "api") {
                assert_eq!(line["from"], "127.0.0.1", "{line}");
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                let status = line["status"].as_u64().unwrap_or(0);
                lines.push((text("operation"), text("outcome"), status));
            }
            after = page["next"].as_u64().unwrap();
        }
    }
}

fn example(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    if let Some(one) = schema["examples"].as_array() {
        return one[0].clone();
    }
    if let Some(one) = schema["anyOf"].as_array() {
        return example(document, &one[0]);
    }
    match schema["type"].as_str().unwrap() {
        "integer" => schema["minimum"].clone(),
        "boolean" => true.into(),
        "array" => json!([example(document, &schema["items"])]),
        other => panic!("no example of {other}"),
    }
}

/// Bodies that are wrong in one place each, made from one that is right.
fn mutations(document: &Value, schema: &Value, right: &Value) -> Vec<(Value, String)> {
    let schema = resolved(document, schema);
    let mut made = Vec::new();
    let mut extra = right.clone();
    extra["unheardOf"] = 1.into();
    made.push((extra, "/unheardOf".to_owned()));
    made.push((json!([right]), String::new()));
    for name in schema["required"].as_array().unwrap() {
        let mut missing = right.clone();
        missing.as_object_mut().unwrap().remove(name.as_str().unwrap());
        made.push((missing, format!("/{}", name.as_str().unwrap())));
    }
    for (name, of) in schema["properties"].as_object().unwrap() {
        let mut others = vec![json!({"another": "type"}), json!(-1)];
        if let Some(most) = of["maxLength"].as_u64() {
            others.push("x".repeat(usize::try_from(most).unwrap() + 1).into());
            others.push("a\u{7}b".into());
        }
        if let Some(most) = of["maximum"].as_u64() {
            others.push((most + 1).into());
        }
        if !of["enum"].is_null() {
            others.push("unheard of".into());
        }
        for other in others {
            let mut changed = right.clone();
            changed[name] = other;
            made.push((changed, format!("/{name}")));
        }
    }
    made
}

pub(crate) async fn ask(
    client: &Client,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    ask_where(client, method, path, body, None).await
}

/// The same, where `If-Match` says so.
pub(crate) async fn ask_where(
    client: &Client,
    method: &Method,
    path: &str,
    body: Option<&Value>,
    tag: Option<&str>,
) -> Answer {
    let mut request = client.request(method.clone(), path);
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    sent(match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    })
    .await
}

pub(crate) const CONFIGURATION: &str = "[gateway]\nfailures_burst = 100000\n\
    failures_per_account = 100000\nadmin_refusals_per_minute = 100000\n\
    [plans.standard]\nsays = \"For all.\"\nrates = [{ per_second = 1000, burst = 1000 }]\n";

// GW-063
#[tokio::test]
async fn every_operation_of_the_document_keeps_to_it_and_every_change_is_in_the_trail() {
    let mut admin = Admin::start(CONFIGURATION).await;
    assert_eq!(admin.document["openapi"], "3.1.0");
    let operations = admin.operations();
    assert!(operations.len() >= 30, "{}", operations.len());
    let owner = admin.site.owner().key().to_owned();
    for operation in &operations {
        let path = admin.path(operation).await;
        let right = operation.body.as_ref().map(|schema| admin.body(schema, false));

        // Without a credential, and with a client's key.
        let key = Client::new(&format!("{}/admin/v1", admin.base()), Some(&owner));
        for nobody in [admin.nobody(), key] {
            let answer = ask(&nobody, &operation.method, &path, right.as_ref()).await;
            admin.is_problem(operation, &answer, 401);
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            admin.expect_refused(operation, 401, false);
        }
        // By each role that is too weak.
        for weak in &ROLES[..operation.role] {
            let client = admin.client(weak);
            let answer = ask(&client, &operation.method, &path, right.as_ref()).await;
            let problem = admin.is_problem(operation, &answer, 403);
            assert!(problem["detail"].as_str().unwrap().contains(ROLES[operation.role]));
            admin.expect_refused(operation, 403, false);
        }
        // By the weakest that may, with what is wrong.
        let client = admin.client(ROLES[operation.role]);
        match (&operation.body, &right) {
            (Some(schema), Some(right)) => {
                let document = admin.document.clone();
                let full = admin.body(schema, true);
                for (body, place) in mutations(&document, schema, right)
                    .into_iter()
                    .chain(mutations(&document, schema, &full))
                {
                    let answer = ask(&client, &operation.method, &path, Some(&body)).await;
                    let problem = admin.is_problem(operation, &answer, 422);
                    let errors = problem["errors"].as_array().unwrap();
                    let named = errors.iter().any(|error| error["pointer"] == place.as_str());
                    assert!(named, "{} {body} {place} {problem}", operation.id);
                    admin.expect_refused(operation, 422, false);
                }
                let broken = client.request(operation.method.clone(), &path);
                let broken = broken.header("content-type", "application/json").body("{\"a\":");
                admin.is_problem(operation, &sent(broken).await, 400);
                admin.expect_refused(operation, 400, false);
                // What two readers could understand differently.
                let twice = client.request(operation.method.clone(), &path);
                let twice = twice.header("content-type", "application/json");
                let twice = sent(twice.body("{\"a\":1,\"a\":2}")).await;
                let problem = admin.is_problem(operation, &twice, 400);
                let says = problem["detail"].as_str().unwrap();
                assert!(says.contains("\"a\" stands twice"), "{says}");
                admin.expect_refused(operation, 400, false);
                let untyped = client.request(operation.method.clone(), &path);
                let untyped = untyped.header("content-type", "text/plain").body(right.to_string());
                admin.is_problem(operation, &sent(untyped).await, 415);
                admin.expect_refused(operation, 415, false);
                let long = json!({"unheardOf": "x".repeat(70_000)});
                let answer = ask(&client, &operation.method, &path, Some(&long)).await;
                admin.is_problem(operation, &answer, 413);
                admin.expect_refused(operation, 413, false);
            }
            _ => {
                let answer = ask(&client, &operation.method, &path, Some(&json!({}))).await;
                admin.is_problem(operation, &answer, 422);
                admin.expect_refused(operation, 422, false);
            }
        }
        let asked = format!("{path}?unheardOf=1");
        let answer = ask(&client, &operation.method, &asked, right.as_ref()).await;
        let problem = admin.is_problem(operation, &answer, 422);
        assert_eq!(problem["errors"][0]["pointer"], "?unheardOf");
        admin.expect_refused(operation, 422, false);
        if operation.method != Method::GET {
            let request = client.request(operation.method.clone(), &path);
            let page = request.header("origin", "http://127.0.0.1:9090");
            admin.is_problem(operation, &sent(page).await, 403);
            admin.expect_refused(operation, 403, false);
        }
        if operation.is_guarded() {
            for (tag, status) in [("\"0123\"", 412), ("W/\"0123\"", 412), ("0123", 400)] {
                let answer =
                    ask_where(&client, &operation.method, &path, right.as_ref(), Some(tag)).await;
                admin.is_problem(operation, &answer, status);
                admin.expect_refused(operation, status, status == 412);
            }
        } else if operation.method != Method::GET {
            // Nothing that it could be held against: it is not passed over.
            let tag = Some("\"0123\"");
            let answer = ask_where(&client, &operation.method, &path, right.as_ref(), tag).await;
            let problem = admin.is_problem(operation, &answer, 400);
            assert!(problem["detail"].as_str().unwrap().contains("If-Match"), "{problem}");
            admin.expect_refused(operation, 400, false);
        }
        let other = ask(&client, &Method::DELETE, &path, None).await.is(405);
        let allowed = other.header("allow").unwrap();
        assert!(allowed.split(", ").any(|one| one == operation.method.as_str()), "{allowed}");

        // What is right, with what is needed alone and with all there is.
        if operation.id.ends_with(".confirm") {
            // Nothing is suspended without a restore.
            let answer = ask(&client, &operation.method, &path, None).await;
            admin.is_problem(operation, &answer, 409);
            admin.expect_refused(operation, 409, true);
            continue;
        }
        let full = operation.body.as_ref().map(|schema| admin.body(schema, true));
        for (body, with_tag) in [(right, false), (full, true)] {
            let path = admin.path(operation).await;
            let tag = match with_tag && operation.is_guarded() {
                true => admin.get(shown(operation, &path)).await.header("etag").map(str::to_owned),
                false => None,
            };
            assert_eq!(tag.is_some(), with_tag && operation.is_guarded(), "{path}");
            let answer =
                ask_where(&client, &operation.method, &path, body.as_ref(), tag.as_deref()).await;
            let status = answer.status;
            let documented = &operation.says["responses"][status.to_string()];
            assert!(status < 300, "{} {path} {body:?}: {}", operation.id, answer.text());
            let schema = &documented["content"]["application/json"]["schema"];
            let found = wrong(&admin.document, schema, &answer.json());
            assert_eq!(found, [""; 0], "{} {}", operation.id, answer.text());
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let has_tag = documented["headers"]["ETag"].is_object();
            assert_eq!(answer.header("etag").is_some(), has_tag, "{}", operation.id);
            if let Some(tag) = answer.header("etag").filter(|_| operation.is_guarded()) {
                let shown = admin.get(shown(operation, &path)).await;
                assert_eq!(shown.header("etag"), Some(tag), "{}", operation.id);
            }
            admin.secrets.extend(answer.json()["secret"].as_str().map(str::to_owned));
            if operation.method != Method::GET {
                admin.expect_done(&operation.id, status);
            }
            if operation.path.contains('{') && operation.id != "denials.show" {
                let (start, _) = operation.path.split_once('{').unwrap();
                let (_, end) = operation.path.rsplit_once('}').unwrap();
                let missing = format!("{start}0123456789abcdef{end}");
                let answer = ask(&client, &operation.method, &missing, body.as_ref()).await;
                admin.is_problem(operation, &answer, 404);
                admin.expect_refused(operation, 404, true);
            }
        }
    }
    let trail = admin.trail().await;
    let found: Vec<_> = trail
        .iter()
        .map(|(operation, outcome, status)| (operation.as_str(), outcome.as_str(), *status))
        .collect();
    let expected: Vec<_> = admin
        .expected
        .iter()
        .map(|(operation, outcome, status)| (operation.as_str(), *outcome, *status))
        .collect();
    assert_eq!(found, expected);

    let file = std::fs::read_to_string(admin.site.data().join("registry/trail.jsonl")).unwrap();
    assert!(admin.secrets.len() >= 20, "{}", admin.secrets.len());
    for secret in &admin.secrets {
        let (_, secret) = secret.split_at(secret.len() - 43);
        assert!(!file.contains(secret), "a secret stands in the trail");
    }
    let data = admin.site.data().to_str().unwrap();
    let verified = run(admin.site.folder(), &["changes", "verify", "--data", data]);
    assert!(text(&verified.stdout).starts_with("The trail is whole: "), "{verified:?}");
    let listed = run(admin.site.folder(), &["changes", "list", "--data", data]);
    let listed = text(&listed.stdout);
    assert!(listed.contains("operators.create name the-viewer, role viewer: done"), "{listed}");
    admin.site.stop().await;
}

// GW-063
#[tokio::test]
async fn what_an_operator_changes_holds_on_the_public_port_at_once() {
    let mut admin = Admin::start(CONFIGURATION).await;
    let operator = admin.client("operator");
    let public = admin.site.client(&admin.tokens["administrator"]);
    public.get("/Patient?_count=1").await.is_outcome(401, "login");
    let body = json!({"id": "lab", "role": "reader", "plan": "standard"});
    drop(ask(&operator, &Method::POST, "/clients", Some(&body)).await.is(201));
    let made = ask(&operator, &Method::POST, "/clients/lab/keys", Some(&json!({}))).await.is(201);
    let made = made.json();
    let lab = admin.site.client(made["secret"].as_str().unwrap());
    assert_eq!(lab.get("/Patient?_count=1").await.status, 200);
    let limits = operator.get("/clients/lab/limits").await.is(200).json();
    assert_eq!(limits["plan"], "standard");
    assert_eq!(limits["limits"].as_array().unwrap().len(), 1, "{limits}");
    drop(ask(&operator, &Method::POST, "/clients/lab/disable", None).await.is(200));
    lab.get("/Patient?_count=1").await.is_outcome(401, "login");
    drop(ask(&operator, &Method::POST, "/clients/lab/disable", None).await.is(409));
    drop(ask(&operator, &Method::POST, "/clients/lab/enable", None).await.is(200));
    assert_eq!(lab.get("/Patient?_count=1").await.status, 200);
    let key = made["key"]["id"].as_str().unwrap();
    drop(ask(&operator, &Method::POST, &format!("/keys/{key}/revoke"), None).await.is(200));
    lab.get("/Patient?_count=1").await.is_outcome(401, "login");
    let routes = operator.get("/routes").await.is(200).json();
    assert_eq!(routes["items"][0]["ready"], true, "{routes}");

    // What the registry takes no client for is said by its place too.
    for (wrong, place) in [
        (json!({"id": "b", "role": "reader", "name": "ü".repeat(150)}), "/name"),
        (json!({"id": "b", "role": "reader", "powers": ["audit", "audit"]}), "/powers/1"),
    ] {
        let told = ask(&operator, &Method::POST, "/clients", Some(&wrong)).await.is(422).json();
        assert_eq!(told["errors"][0]["pointer"], place, "{told}");
    }

    let health = operator.get("/health").await.is(200).json();
    assert_eq!((&health["ready"], &health["server"]), (&json!(true), &json!(true)), "{health}");

    // Somebody puts the whole key where its id belongs: the trail keeps the id alone.
    let secret = made["secret"].as_str().unwrap();
    for path in [format!("/keys/{secret}/revoke"), format!("/clients/{secret}/disable")] {
        let _ = ask(&operator, &Method::POST, &path, None).await.is(404);
    }
    let client = json!({"id": secret, "role": "unheard-of"});
    let _ = ask(&operator, &Method::POST, "/clients", Some(&client)).await.is(422);
    let trail = std::fs::read_to_string(admin.site.data().join("registry/trail.jsonl")).unwrap();
    assert!(trail.contains(&format!("hg_{key}_[redacted]")), "{trail}");
    assert!(!trail.contains(secret), "a secret stands in the trail");

    // A reload that is tried changes nothing, and a real one does.
    let administrator = admin.client("administrator");
    admin.site.configure(&format!("{CONFIGURATION}[roles.lab]\nsays = \"A lab.\"\nrules = [{{ types = [\"*\"], actions = [\"read\"], within = \"all\" }}]\n"));
    let roles = |answer: Answer| answer.json().to_string().contains("A lab.");
    let dry = ask(&administrator, &Method::POST, "/reload", Some(&json!({"dryRun": true}))).await;
    assert_eq!(dry.is(200).json(), json!({"inForce": false, "changed": ["roles"]}));
    assert!(!roles(administrator.get("/roles").await));
    let real = ask(&administrator, &Method::POST, "/reload", Some(&json!({"dryRun": false}))).await;
    assert_eq!(real.is(200).json(), json!({"inForce": true, "changed": ["roles"]}));
    assert!(roles(administrator.get("/roles").await));
    admin.site.configure("[gateway]\nunheard_of = 1\n");
    let asked = json!({"dryRun": false});
    let refused = ask(&administrator, &Method::POST, "/reload", Some(&asked)).await.is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("unheard_of"), "{refused}");

    // An operator that is revoked is nobody from the answer on.
    drop(ask(&administrator, &Method::POST, "/operators/the-operator/revoke", None).await.is(200));
    assert_eq!(operator.get("/clients").await.status, 401);
    let own = "/operators/the-administrator/revoke";
    drop(ask(&administrator, &Method::POST, own, None).await.is(409));
    admin.site.stop().await;
}

// GW-063
#[tokio::test]
async fn whoever_guesses_tokens_waits_and_the_operators_do_not() {
    let mut admin = Admin::start("[gateway]\nfailures_burst = 5\nfailures_per_account = 3\n").await;
    let viewer = admin.client("viewer");
    assert_eq!(viewer.get("/self").await.status, 200);
    let base = format!("{}/admin/v1", admin.base());
    let guess = Client::new(
        &base,
        Some("hgo_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    );
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(guess.get("/self").await.status);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[6..].contains(&429), "{statuses:?}");
    let waits = guess.get("/self").await;
    if waits.status == 429 {
        assert!(waits.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    }
    assert_eq!(viewer.get("/self").await.status, 200);
    // Whoever comes without anything and asks for changes fills no disk.
    for _ in 0..40 {
        ask(&admin.nobody(), &Method::POST, "/reload", Some(&json!({"dryRun": true}))).await;
    }
    let lines = admin.trail().await;
    assert!(lines.len() < 15, "{}", lines.len());
    admin.site.stop().await;
}

// GW-063
#[tokio::test]
async fn whoever_sends_two_credentials_at_once_waits_too_and_fills_no_disk() {
    let mut admin = Admin::start("[gateway]\nfailures_burst = 5\n").await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let twice = admin.nobody().request(Method::POST, "/clients");
        let twice = twice.header("authorization", "Bearer a").header("authorization", "Bearer b");
        statuses.push(sent(twice).await.status);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[6..].iter().filter(|status| **status == 429).count() > 20, "{statuses:?}");
    let lines = admin.trail().await;
    assert!(lines.len() < 15, "{}", lines.len());
    admin.site.stop().await;
}

/// A change whose head comes now, and whose body later.
struct Slow(TcpStream);

impl Slow {
    const BODY: &str = r#"{"id": "late", "role": "reader"}"#;

    fn begin(admin: &Admin, role: &str) -> Self {
        let address = admin.site.admin_address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!(
            "POST /admin/v1/clients HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\
             Connection: close\r\n\r\n",
            admin.tokens[role],
            Self::BODY.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Whoever it is was looked at before a body is asked for.
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self(stream)
    }

    fn end(mut self) -> String {
        self.0.write_all(Self::BODY.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}

// GW-063
#[tokio::test]
async fn an_operator_that_is_revoked_while_its_request_comes_changes_nothing() {
    let mut admin = Admin::start(CONFIGURATION).await;
    let slow = Slow::begin(&admin, "operator");
    operators(&admin.site, &["revoke", "the-operator"]);
    let answer = slow.end();
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("nothing is done"), "{answer}");
    let slow = Slow::begin(&admin, "administrator");
    let rotated = operators(&admin.site, &["rotate", "the-administrator", "--print-token"]);
    let answer = slow.end();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    admin.tokens.insert("administrator", rotated.trim_end().to_owned());
    let _ = admin.get("/clients/late").await.is(404);
    let refused = ("clients.create".to_owned(), "refused".to_owned(), 401);
    let trail = admin.trail().await;
    assert_eq!(trail.iter().filter(|line| **line == refused).count(), 2, "{trail:?}");
    assert!(Slow::begin(&admin, "administrator").end().starts_with("HTTP/1.1 201 "));
    admin.site.stop().await;
}
