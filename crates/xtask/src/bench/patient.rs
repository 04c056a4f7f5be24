//! A made-up patient of about the size that patients have.

/// The number that makes one patient another; the same length whatever the number.
pub(crate) const NUMBER: &str = "0000000000";

/// The patient, with [`NUMBER`] where another number makes another patient.
pub(crate) fn patient() -> String {
    let text = r#"{"resourceType":"Patient","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]},
"extension":[{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[{"url":"ombCategory","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3","display":"White"}},{"url":"text","valueString":"White"}]},
{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex","valueCode":"F"}],
"identifier":[{"use":"official","type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MR","display":"Medical Record Number"}]},"system":"urn:example:clinic:mrn","value":"MRN-0000000000"},
{"system":"urn:example:insurance","value":"INS-7781-0000000000"}],
"active":true,"name":[{"use":"official","family":"Korvanel-0000000000","given":["Bidana","Lumo"],"prefix":["Ms."]},{"use":"maiden","family":"Tesirun"}],
"telecom":[{"system":"phone","value":"+1 555 0000000000","use":"home"},{"system":"email","value":"patient.0000000000@example.org"}],
"gender":"female","birthDate":"1974-03-18","deceasedBoolean":false,
"address":[{"use":"home","line":["17 Vasteno Lane","Apartment 4"],"city":"Mirados","state":"MA","postalCode":"01730","country":"US","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/geolocation","extension":[{"url":"latitude","valueDecimal":42.490100},{"url":"longitude","valueDecimal":-71.276000}]}]}],
"maritalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus","code":"M","display":"Married"}],"text":"Married"},
"multipleBirthBoolean":false,"communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"en-US","display":"English (United States)"}],"text":"English"},"preferred":true}]}"#;
    text.replace('\n', "")
}

#[cfg(test)]
mod tests {
    use super::{NUMBER, patient};

    #[test]
    fn the_patient_is_of_a_usual_size_and_has_numbers_to_set() {
        let patient = patient();
        assert!((1500..2500).contains(&patient.len()), "{}", patient.len());
        assert_eq!(patient.matches(NUMBER).count(), 5);
        assert!(serde_json::from_str::<serde_json::Value>(&patient).is_ok());
    }
}
