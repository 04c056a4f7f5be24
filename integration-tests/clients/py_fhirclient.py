"""PyPI fhirclient (SMART's Python client) against the clinic's 50 sample patients. Its classes are
strict: they refuse what R4 does not define in any resource that the clinic sends."""

from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle, BundleEntry
from fhirclient.models.condition import Condition
from fhirclient.models.encounter import Encounter
from fhirclient.models.humanname import HumanName
from fhirclient.models.identifier import Identifier
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRUnauthorizedException
from requests import HTTPError

from checks import BASE, KEY, check, end, rejection, types


def connected():
    return FHIRClient(settings={"app_id": "clients", "api_base": BASE}).server


server = connected()
server.session.headers["Authorization"] = f"Bearer {KEY}"
check("fhirVersion", server.capabilityStatement.fhirVersion, "4.0.1")


def search(of, **parameters):
    return of.where(parameters)


def found(searched):
    return types(searched.perform_resources_iter(server))


def total(searched):
    return next(searched.perform_iter(server)).total


pages = [len(page.entry) for page in search(Patient, _count="5").perform_iter(server)]
check("pages of a search", pages, [5] * 10)
ids = {it.id for it in search(Patient, _count="5").perform_resources_iter(server)}
check("resources of all pages", len(ids), 50)
check("token", total(search(Patient, gender="female")), 17)
hypertension = search(Condition, code="http://snomed.info/sct|38341003")
check("token with a system", found(hypertension), {"Condition": 9})
in_2024 = {"$and": ["ge2024-01-01", "lt2025-01-01"]}
rates = search(Observation, code="http://loinc.org|8867-4", date=in_2024, _count="30")
check("date range, page by page", found(rates), {"Observation": 80})
chain = search(Observation, code="8867-4", patient={"$type": "Patient", "gender": "female"})
check("chain", total(chain), 65)
either = search(Patient, gender={"$or": ["male", "female"]})
check("either of two", total(either), 33)
exact = search(Patient, family={"$exact": "Sample-Bumo"})
check(":exact", total(exact), 1)

encounters = search(Encounter, subject="Patient/demo-2").include("subject")
check("_include", found(encounters), {"Encounter": 6, "Patient": 1})
conditions = search(Patient, _id="demo-27").include("subject", Condition, reverse=True)
check("_revinclude", found(conditions), {"Patient": 1, "Condition": 3})
observation = Observation.read("demo-1-visit-1-height", server)
check("read", observation.effectiveDateTime.date.isoformat(), "2024-01-24T12:55:00+00:00")
patient = Patient.read_from(observation.subject.reference, server)
check("resolved reference", patient.name[0].family, "Sample-Bumo")

written = Patient()
written.name = [HumanName({"family": "Written"})]
written.identifier = [Identifier({"system": "urn:clients", "value": "py-fhirclient"})]
created = Patient(written.create(server))
check("create", (created.meta.versionId, created.name[0].family), ("1", "Written"))
created.gender = "other"
updated = Patient(created.update(server))
check("update", (updated.meta.versionId, updated.gender), ("2", "other"))
history = Bundle.read_from(f"{created.relativePath()}/_history", server)
check("history", (history.total, types(it.resource for it in history.entry)), (2, {"Patient": 2}))
transaction = Bundle({"type": "transaction"})
entry = BundleEntry({"request": {"method": "DELETE", "url": created.relativePath()}})
transaction.entry = [entry]
answer = Bundle(transaction.create(server))
check("transaction", answer.entry[0].response.status[:3], "204")


def issue(error):
    outcome = error.response.json()
    return error.response.status_code, outcome["issue"][0]["code"]


gone = rejection(HTTPError, lambda: Patient.read(created.id, server))
check("deleted", issue(gone), (410, "deleted"))
missing = rejection(FHIRNotFoundException, lambda: Patient.read("nobody", server))
check("404", issue(missing), (404, "not-found"))
invalid = {"resourceType": "Patient", "colour": "red"}
bad = rejection(HTTPError, lambda: server.post_json("Patient", invalid))
check("422", issue(bad), (422, "structure"))
bad = rejection(HTTPError, lambda: total(search(Patient, birthdate="someday")))
check("400", issue(bad)[0], 400)
refused = rejection(FHIRUnauthorizedException, lambda: Patient.read("demo-1", connected()))
check("401", issue(refused), (401, "login"))
end()
