import os
from fhirclient.client import FHIRClient
from fhirclient.models.condition import Condition
from fhirclient.models.patient import Patient

base = os.environ["FHIR_BASE"]
server = FHIRClient(settings={"app_id": "example", "api_base": base}).server
server.session.headers["Authorization"] = f"Bearer {os.environ['FHIR_KEY']}"
search = Patient.where({"_id": "demo-27"}).include("subject", Condition, reverse=True)
print(*sorted(type(it).__name__ for it in search.perform_resources_iter(server)))
