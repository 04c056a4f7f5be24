// npm fhir-kit-client against the clinic's 50 sample patients.
import { CapabilityTool, Client } from "fhir-kit-client";
import { base, check, end, key, rejection, types } from "./checks.mjs";

const client = new Client({ baseUrl: base, bearerToken: key });

const statement = await client.capabilityStatement();
check("fhirVersion", statement.fhirVersion, "4.0.1");
const tool = new CapabilityTool(statement);
check("capability", tool.resourceCan("Patient", "search-type"), true);
check("capability of searches", tool.resourceSearch("Patient", "birthdate"), true);

// Searches, and follows the links from page to page.
async function pages(resourceType, searchParams, options) {
  const found = [];
  let page = await client.search({ resourceType, searchParams, options });
  while (page) {
    found.push(page);
    page = await client.nextPage({ bundle: page });
  }
  return found;
}
const resources = (found) => found.flatMap(({ entry }) => (entry ?? []).map((it) => it.resource));
const searched = async (resourceType, searchParams) =>
  types(resources(await pages(resourceType, searchParams)));
const total = async (resourceType, searchParams, options) =>
  (await client.search({ resourceType, searchParams, options })).total;

const found = await pages("Patient", { _count: 5 });
check("pages of a search", found.map(({ entry }) => entry.length), Array(10).fill(5));
check("resources of all pages", new Set(resources(found).map(({ id }) => id)).size, 50);

check("token", await total("Patient", { gender: "female" }), 17);
const hypertension = { code: "http://snomed.info/sct|38341003" };
check("token with a system", await total("Condition", hypertension), 9);
const in2024 = { code: "http://loinc.org|8867-4", date: ["ge2024-01-01", "lt2025-01-01"] };
check("date range", await total("Observation", in2024), 80);
const chain = { code: "8867-4", "patient.gender": "female" };
check("chain", await total("Observation", chain), 65);
check("POST _search", await total("Observation", in2024, { postSearch: true }), 80);
const posted = await pages("Condition", { _count: 5 }, { postSearch: true });
check("pages of POST _search", types(resources(posted)), { Condition: 58 });
const compartment = { resourceType: "Patient", id: "demo-1" };
const within = await client.search({ resourceType: "Observation", compartment });
check("compartment", within.total, 35);

const include = ["Encounter:subject", "Encounter:service-provider"];
const included = await searched("Encounter", { subject: "Patient/demo-2", _include: include });
check("_include", included, { Encounter: 6, Patient: 1, Organization: 1 });
const conditions = { _id: "demo-27", _revinclude: "Condition:subject" };
check("_revinclude", await searched("Patient", conditions), { Patient: 1, Condition: 3 });
const context = await client.search({
  resourceType: "Condition",
  searchParams: { subject: "Patient/demo-27", _include: "Condition:subject" },
});
const [first] = resources([context]);
const subject = await client.resolve({ reference: first.subject.reference, context });
check("resolved in the Bundle", subject.id, "demo-27");
const encounter = await client.resolve({ reference: first.encounter.reference });
check("resolved by reading", encounter.resourceType, "Encounter");

const body = {
  resourceType: "Patient",
  identifier: [{ system: "urn:clients", value: "js-fhir-kit-client" }],
  name: [{ family: "Written" }],
};
const created = await client.create({ resourceType: "Patient", body });
check("create", [created.name[0].family, created.meta.versionId], ["Written", "1"]);
check("status of a create", Client.httpFor(created).response.status, 201);
const { id } = created;
const ifNoneExist = { "If-None-Exist": "identifier=urn:clients|js-fhir-kit-client" };
const options = { headers: ifNoneExist };
const again = await client.create({ resourceType: "Patient", body, options });
check("conditional create", again.id, id);
const changed = { ...created, gender: "other" };
const updated = await client.update({ resourceType: "Patient", id, body: changed });
check("update", [updated.gender, updated.meta.versionId], ["other", "2"]);
const jsonPatch = [{ op: "replace", path: "/gender", value: "male" }];
const patched = await client.patch({ resourceType: "Patient", id, jsonPatch });
check("patch", [patched.gender, patched.meta.versionId], ["male", "3"]);
const stale = { headers: { "If-Match": 'W/"1"' } };
const conflict = client.update({ resourceType: "Patient", id, body: changed, options: stale });
check("stale If-Match", (await rejection(conflict)).response.status, 412);
const searchParams = { identifier: "urn:clients|js-fhir-kit-client" };
const same = await client.update({ resourceType: "Patient", searchParams, body });
check("conditional update", [same.id, same.meta.versionId], [id, "4"]);
const version = await client.vread({ resourceType: "Patient", id, version: "2" });
check("vread", version.gender, "other");
check("history", (await client.history({ resourceType: "Patient", id })).total, 4);
const entry = (method, url) => ({ request: { method, url } });
const bundle = (type, entries) => ({ resourceType: "Bundle", type, entry: entries });
const batch = await client.batch({
  body: bundle("batch", [entry("GET", `Patient/${id}`), entry("GET", "Patient/nobody")]),
});
check("batch", batch.entry.map(({ response }) => response.status.slice(0, 3)), ["200", "404"]);
const transaction = await client.transaction({
  body: bundle("transaction", [entry("DELETE", `Patient/${id}`)]),
});
check("transaction", transaction.entry[0].response.status.slice(0, 3), "204");
const gone = await rejection(client.read({ resourceType: "Patient", id }));
check("deleted", gone.response.status, 410);
const validated = await client.operation({
  name: "validate",
  resourceType: "Patient",
  input: { resourceType: "Patient", gender: "red" },
});
check("operation", validated.issue[0].expression, ["Patient.gender"]);

const issue = (error) => [error.response.status, error.response.data.issue[0].code];
const missing = await rejection(client.read({ resourceType: "Patient", id: "nobody" }));
check("404", issue(missing), [404, "not-found"]);
const invalid = { resourceType: "Patient", body: { resourceType: "Patient", colour: "red" } };
const bad = await rejection(client.create(invalid));
check("422", issue(bad), [422, "structure"]);
check("422 says where", bad.response.data.issue[0].expression, ["Patient.colour"]);
const anonymous = new Client({ baseUrl: base });
const refused = await rejection(anonymous.read({ resourceType: "Patient", id: "demo-1" }));
check("401", issue(refused), [401, "login"]);
end();
