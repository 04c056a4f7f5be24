"""PyPI fhirpy against the clinic's 50 sample patients, synchronously and asynchronously."""

import asyncio
import json

from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import (
    AuthorizationError,
    MultipleResourcesFound,
    OperationOutcome,
    ResourceNotFound,
)

from checks import BASE, KEY, check, end, rejection, types

AUTHORIZATION = f"Bearer {KEY}"
client = SyncFHIRClient(BASE, authorization=AUTHORIZATION)
patients = client.resources("Patient")
observations = client.resources("Observation")

check("pages of a search", len({it.id for it in patients.limit(5).fetch_all()}), 50)
check("count", patients.count(), 50)
check("token", patients.search(gender="female").count(), 17)
hypertension = client.resources("Condition").search(code="http://snomed.info/sct|38341003")
check("token with a system", hypertension.count(), 9)
rates = observations.search(code="http://loinc.org|8867-4")
in_2024 = rates.search(date__ge="2024-01-01", date__lt="2025-01-01")
check("date range", in_2024.count(), 80)
check("date range, page by page", len(in_2024.limit(30).fetch_all()), 80)
check("chain", rates.search(patient__Patient__gender="female").count(), 65)
has = patients.has("Condition", "subject", code="38341003")
check("_has", has.count(), 9)
newest = observations.search(patient="demo-1").sort("-date").first()
check("_sort", newest.subject.reference, "Patient/demo-1")
short = patients.search(_id="demo-1").elements("name").get()
check("_elements", ("birthDate" in short, short.name[0].family), (False, "Sample-Bumo"))

encounters = client.resources("Encounter").search(subject="Patient/demo-2")
found = encounters.include("Encounter", "subject").include("Encounter", "service-provider")
found = types(entry.resource for entry in found.fetch_raw().entry)
check("_include", found, {"Encounter": 6, "Patient": 1, "Organization": 1})
found = patients.search(_id="demo-27").revinclude("Condition", "subject").fetch_raw()
found = types(entry.resource for entry in found.entry)
check("_revinclude", found, {"Patient": 1, "Condition": 3})
patient = newest.subject.to_resource()
check("resolved reference", patient.name[0].family, "Sample-Bumo")


async def page_by_page():
    searched = AsyncFHIRClient(BASE, authorization=AUTHORIZATION).resources("Condition")
    return [condition async for condition in searched.limit(5)]


check("pages, asynchronously", types(asyncio.run(page_by_page())), {"Condition": 58})

identifier = [{"system": "urn:clients", "value": "py-fhirpy"}]
written = client.resource("Patient", identifier=identifier, name=[{"family": "Written"}])
check("valid", written.is_valid(), True)
written.save()
check("create", (written.meta.versionId, written.name[0].family), ("1", "Written"))
written["gender"] = "other"
written.save()
check("update", (written.meta.versionId, written.gender), ("2", "other"))
other = patients.search(_id=written.id).get()
other["gender"] = "male"
other.save()
written.refresh()
check("refresh", (written.meta.versionId, written.gender), ("3", "male"))
named = patients.search(identifier="urn:clients|py-fhirpy")
same = client.resource("Patient", identifier=identifier, gender="unknown")
found, is_new = named.update(same)
check("conditional update", (found.id, is_new, found.gender), (written.id, False, "unknown"))
history = written.execute("_history", method="get")
check("history", history.total, 4)
many = patients.search(gender="female")
several = rejection(MultipleResourcesFound, lambda: many.update(client.resource("Patient")))
code = json.loads(str(several))["issue"][0]["code"]
check("conditional update of several", code, "multiple-matches")
named.delete()
gone = rejection(ResourceNotFound, lambda: client.get("Patient", written.id))
check("deleted", json.loads(str(gone))["issue"][0]["code"], "deleted")

# It sends the search in the URL, which no create of FHIR's reads: it is refused, not ignored.
again = client.resource("Patient", identifier=identifier)
bad = rejection(OperationOutcome, lambda: named.get_or_create(again)).resource["issue"][0]
check("create with a search", "If-None-Exist" in bad["diagnostics"], True)

missing = rejection(ResourceNotFound, lambda: client.get("Patient", "nobody"))
check("404", json.loads(str(missing))["issue"][0]["code"], "not-found")
invalid = client.resource("Patient", colour="red")
bad = rejection(OperationOutcome, invalid.save).resource["issue"][0]
check("422", (bad["code"], bad["expression"]), ("structure", ["Patient.colour"]))
check("invalid", client.resource("Patient", gender="red").is_valid(), False)
bad = rejection(OperationOutcome, lambda: patients.search(birthdate="someday").fetch())
check("400", bad.resource["issue"][0]["severity"], "error")
several = rejection(MultipleResourcesFound, lambda: patients.search(gender="female").get())
check("more than one", str(several), "More than one resource found")
anonymous = SyncFHIRClient(BASE)
refused = rejection(AuthorizationError, lambda: anonymous.get("Patient", "demo-1"))
check("401", json.loads(str(refused))["issue"][0]["code"], "login")
end()
