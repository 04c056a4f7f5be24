//! Parameters out.

use fhir_core::json::write_string;

use crate::code_system::PropertyValue;

/// A Parameters resource that is being written; or the parts of a parameter.
#[derive(Debug)]
pub(super) struct Output {
    items: Vec<u8>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { items: Vec::new() }
    }

    fn begin(&mut self, name: &str) {
        if !self.items.is_empty() {
            self.items.push(b',');
        }
        self.items.extend_from_slice(b"{\"name\":");
        write_string(name, &mut self.items);
    }

    /// A parameter whose value is a text of this type: `valueCode`. FHIR has no empty ones, so
    /// that those are left out.
    pub(super) fn text(&mut self, name: &str, of: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.begin(name);
        member(&mut self.items, of, value);
        self.items.push(b'}');
    }

    pub(super) fn text_if(&mut self, name: &str, of: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, of, value);
        }
    }

    pub(super) fn boolean(&mut self, name: &str, value: bool) {
        self.raw(name, "valueBoolean", if value { b"true" } else { b"false" });
    }

    /// A parameter with JSON that is written already.
    pub(super) fn raw(&mut self, name: &str, of: &str, json: &[u8]) {
        self.begin(name);
        self.items.extend_from_slice(b",\"");
        self.items.extend_from_slice(of.as_bytes());
        self.items.extend_from_slice(b"\":");
        self.items.extend_from_slice(json);
        self.items.push(b'}');
    }

    pub(super) fn coding(&mut self, name: &str, coding: &[(&str, Option<&str>)]) {
        let json = object(coding);
        if json != b"{}" {
            self.raw(name, "valueCoding", &json);
        }
    }

    /// A parameter of parts, if there are any.
    pub(super) fn parts(&mut self, name: &str, parts: Output) {
        if parts.items.is_empty() {
            return;
        }
        self.begin(name);
        self.items.extend_from_slice(b",\"part\":[");
        self.items.extend(parts.items);
        self.items.extend_from_slice(b"]}");
    }

    pub(super) fn property(&mut self, name: &str, value: &PropertyValue<'_>) {
        match *value {
            PropertyValue::Code(text) => self.text(name, "valueCode", text),
            PropertyValue::String(text) => self.text(name, "valueString", text),
            PropertyValue::DateTime(text) => self.text(name, "valueDateTime", text),
            PropertyValue::Integer(text) => self.raw(name, "valueInteger", text.as_bytes()),
            PropertyValue::Decimal(text) => self.raw(name, "valueDecimal", text.as_bytes()),
            PropertyValue::Boolean(value) => self.boolean(name, value),
            PropertyValue::Coding { system, version, code, display } => {
                let fields = [
                    ("system", Some(system)),
                    ("version", Some(version)),
                    ("code", Some(code)),
                    ("display", Some(display)),
                ];
                self.coding(name, &fields);
            }
        }
    }

    pub(super) fn into_json(self) -> Vec<u8> {
        let mut json = b"{\"resourceType\":\"Parameters\"".to_vec();
        if !self.items.is_empty() {
            json.extend_from_slice(b",\"parameter\":[");
            json.extend(self.items);
            json.push(b']');
        }
        json.push(b'}');
        json
    }
}

/// `,"name":"value"`
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    write_string(name, out);
    out.push(b':');
    write_string(value, out);
}

/// An object of those texts that are there.
pub(super) fn object(fields: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, value) in fields {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(name, &mut out);
        out.push(b':');
        write_string(value, &mut out);
    }
    out.push(b'}');
    out
}

impl Output {
    /// A parameter that is a resource.
    pub(super) fn raw_resource(&mut self, name: &str, json: &[u8]) {
        self.raw(name, "resource", json);
    }
}
