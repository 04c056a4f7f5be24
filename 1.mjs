import { Client } from "fhir-kit-client";

const { FHIR_BASE, FHIR_KEY } = process.env;
const client = new Client({ baseUrl: FHIR_BASE, bearerToken: FHIR_KEY });
const searchParams = { gender: "female", _count: 5 };
let page = await client.search({ resourceType: "Patient", searchParams });
console.log(page.total, "patients");
let pages = 0;
for (; page; page = await client.nextPage({ bundle: page })) pages += 1;
console.log(pages, "pages");
