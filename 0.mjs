import fhirclient from "fhirclient";

const client = fhirclient({ headers: {} }, {}).client({
  serverUrl: process.env.FHIR_BASE,
  tokenResponse: { access_token: process.env.FHIR_KEY },
});
const query = "Condition?code=http://snomed.info/sct|38341003&_count=5&_include=Condition:subject";
let conditions = 0;
for await (const resource of client.resources(query)) {
  if (resource.resourceType === "Condition") conditions += 1;
}
console.log(conditions, "conditions");
