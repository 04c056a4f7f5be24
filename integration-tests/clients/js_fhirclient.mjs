// npm fhirclient (SMART's JavaScript client) against the clinic's 50 sample patients.
import fhirclient from "fhirclient";
import { base, check, end, key, rejection, types } from "./checks.mjs";

const client = fhirclient({ headers: {} }, {}).client({
  serverUrl: base,
  tokenResponse: { access_token: key },
});

check("fhirVersion", await client.getFhirVersion(), "4.0.1");
check("fhirRelease", await client.getFhirRelease(), 4);

const pages = [];
for await (const page of client.pages("Patient?_count=5")) {
  pages.push(page.entry.length);
}
check("pages of a search", pages, Array(10).fill(5));
const ids = new Set();
for await (const { id } of client.resources("Patient?_count=5")) {
  ids.add(id);
}
check("resources of all pages", ids.size, 50);
const all = await client.request("Condition?_count=5", { pageLimit: 0, flat: true });
check("all pages at once", types(all), { Condition: 58 });

const count = async (query) => (await client.request(`${query}&_count=0`)).total;
check("token", await count("Patient?gender=female"), 17);
check("token with a system", await count("Condition?code=http://snomed.info/sct|38341003"), 9);
const in2024 = "code=http://loinc.org|8867-4&date=ge2024-01-01&date=lt2025-01-01";
check("date range", await count(`Observation?${in2024}`), 80);
check("chain", await count("Observation?code=8867-4&patient.gender=female"), 65);

const flat = { flat: true };
const encounters =
  "Encounter?subject=Patient/demo-2&_include=Encounter:subject&_include=Encounter:service-provider";
const included = types(await client.request(encounters, flat));
check("_include", included, { Encounter: 6, Patient: 1, Organization: 1 });
const patient = "Patient?_id=demo-27&_revinclude=Condition:subject";
check("_revinclude", types(await client.request(patient, flat)), { Patient: 1, Condition: 3 });
const observation = await client.request("Observation/demo-1-visit-1-height", {
  resolveReferences: ["subject", "encounter"],
});
check("resolved reference", observation.subject.name[0].family, "Sample-Bumo");
check("resolved references", observation.encounter.resourceType, "Encounter");
const vitals = await client.request("Observation?subject=Patient/demo-1&_count=100", flat);
const heights = client.byCodes(vitals, "code")("8302-2");
check("observations by code", [vitals.length, heights.length], [35, 5]);
check("getPath", client.getPath(heights[0], "valueQuantity.unit"), "cm");

const created = await client.create({
  resourceType: "Patient",
  identifier: [{ system: "urn:clients", value: "js-fhirclient" }],
  name: [{ family: "Written" }],
});
check("create", [created.name[0].family, created.meta.versionId], ["Written", "1"]);
const place = `Patient/${created.id}`;
const again = await client.create(
  { resourceType: "Patient", name: [{ family: "Twice" }] },
  { headers: { "if-none-exist": "identifier=urn:clients|js-fhirclient" } },
);
check("conditional create", again.id, created.id);
const updated = await client.update({ ...created, gender: "other" });
check("update", [updated.gender, updated.meta.versionId], ["other", "2"]);
const patched = await client.patch(place, [{ op: "replace", path: "/gender", value: "male" }]);
check("patch", [patched.gender, patched.meta.versionId], ["male", "3"]);
const stale = { headers: { "if-match": 'W/"1"' } };
check("stale If-Match", (await rejection(client.update(created, stale))).status, 412);
check("history", (await client.request(`${place}/_history`)).total, 3);
await client.delete("Patient?identifier=urn:clients|js-fhirclient");
const gone = await rejection(client.request(place));
check("conditional delete", gone.status, 410);

const missing = await rejection(client.request("Patient/nobody"));
check("404", [missing.status, missing.message.includes('"code": "not-found"')], [404, true]);
const bad = await rejection(client.create({ resourceType: "Patient", colour: "red" }));
check("422", [bad.status, bad.message.includes("Patient.colour")], [422, true]);
const anonymous = fhirclient({ headers: {} }, {}).client({ serverUrl: base });
check("401", (await rejection(anonymous.request("Patient"))).status, 401);
end();
