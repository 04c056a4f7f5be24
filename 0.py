import os
from fhirpy import SyncFHIRClient

client = SyncFHIRClient(os.environ["FHIR_BASE"], authorization=f"Bearer {os.environ['FHIR_KEY']}")
rates = client.resources("Observation").search(code="http://loinc.org|8867-4")
in_2024 = rates.search(date__ge="2024-01-01", date__lt="2025-01-01")
print(len(in_2024.limit(30).fetch_all()), "heart rates")
