//! Queries by chance, of every kind of parameter.

use fhir_search::{Component, Kind, Parameter, Parameters};

use super::chance::Chance;
use super::codes::{HIERARCHY, VALUE_SET};
use super::values::{
    ASKED_TIMES, CODES, DATES, IDS, LATITUDES, LONGITUDES, NUMBERS, OWN_PATIENTS, SYSTEMS, TEXTS,
    TIMES, TYPES, UNITS, URIS,
};

/// The codes of parameters that resources here have values of.
const USUAL: [&str; 66] = [
    "_id",
    "_lastUpdated",
    "_tag",
    "_profile",
    "name",
    "family",
    "given",
    "birthdate",
    "gender",
    "active",
    "identifier",
    "general-practitioner",
    "organization",
    "telecom",
    "death-date",
    "address",
    "address-city",
    "code",
    "subject",
    "patient",
    "performer",
    "has-member",
    "category",
    "encounter",
    "date",
    "value-quantity",
    "value-concept",
    "value-string",
    "value-date",
    "component-code",
    "component-value-quantity",
    "combo-code",
    "combo-value-quantity",
    "code-value-quantity",
    "combo-code-value-quantity",
    "component-code-value-concept",
    "code-value-string",
    "code-value-date",
    "clinical-status",
    "onset-age",
    "abatement-string",
    "recorded-date",
    "evidence-detail",
    "partof",
    "type",
    "medication",
    "authoredon",
    "status",
    "manufacturer",
    "member",
    "characteristic",
    "characteristic-value",
    "item",
    "title",
    "part-of",
    "length",
    "near",
    "probability",
    "url",
    "version",
    "questionnaire",
    "-any-given",
    "-said-at",
    "-by-whom",
    "-since",
    "-code-said-at",
];

/// How deep chains and `_has` go.
const DEPTH: u32 = 3;

/// A request as after the base of a URL, by these parameters. It may be one that cannot be read.
pub(crate) fn request(chance: &mut Chance, parameters: &Parameters) -> String {
    Asking { chance, parameters }.request()
}

struct Asking<'a> {
    chance: &'a mut Chance,
    parameters: &'a Parameters,
}

impl<'a> Asking<'a> {
    fn request(&mut self) -> String {
        let of = self.chance.one(&TYPES);
        let mut conditions = Vec::new();
        let path = match self.chance.below(10) {
            0 => format!("Patient/{}/{of}", self.patient()),
            1 => {
                conditions.push(format!("_type={of},{}", self.chance.one(&TYPES)));
                String::new()
            }
            _ => of.to_owned(),
        };
        let many = if path.is_empty() { 1 } else { self.chance.one(&[0, 1, 1, 1, 2, 2, 3]) };
        for _ in 0..many {
            let of = if path.is_empty() { "Resource" } else { of };
            conditions.extend(self.condition(of, DEPTH));
        }
        if self.chance.once_in(3) {
            let keys: Vec<String> = (0..=self.chance.below(3)).map(|_| self.sort_key(of)).collect();
            conditions.push(format!("_sort={}", keys.join(",")));
        }
        for _ in 0..self.chance.below(4).saturating_sub(1) {
            conditions.extend(self.include(of));
        }
        if self.chance.once_in(8) {
            conditions.push(format!("_contained={}", self.chance.one(&["true", "both"])));
            if self.chance.once_in(2) {
                conditions.push("_containedType=contained".to_owned());
            }
        }
        format!("{path}?{}", conditions.join("&"))
    }

    fn patient(&mut self) -> &'static str {
        if self.chance.once_in(5) { self.chance.one(&OWN_PATIENTS) } else { self.chance.id() }
    }

    fn sort_key(&mut self, of: &str) -> String {
        let minus = self.chance.one(&["", "-"]);
        let code = if self.chance.once_in(20) { "_score" } else { self.parameter(of).code() };
        format!("{minus}{code}")
    }

    fn parameter(&mut self, of: &str) -> &'a Parameter {
        let of_type = self.parameters.of_type(of);
        let usual: Vec<&Parameter> =
            of_type.iter().map(|it| &**it).filter(|it| USUAL.contains(&it.code())).collect();
        if usual.is_empty() || self.chance.once_in(8) {
            let all: Vec<&Parameter> = of_type.iter().map(|it| &**it).collect();
            return self.chance.one(&all);
        }
        self.chance.one(&usual)
    }

    fn reference_parameter(&mut self, of: &str) -> Option<&'a Parameter> {
        let of_type = self.parameters.of_type(of);
        let links: Vec<&Parameter> = of_type
            .iter()
            .map(|it| &**it)
            .filter(|it| it.kind == Kind::Reference && USUAL.contains(&it.code()))
            .collect();
        (!links.is_empty()).then(|| self.chance.one(&links))
    }

    /// A type that a parameter may refer to.
    fn target(&mut self, link: &Parameter) -> &'static str {
        let is_target = |of: &&str| link.definition.targets.iter().any(|it| **it == **of);
        let known: Vec<&str> = TYPES.into_iter().filter(is_target).collect();
        if known.is_empty() { self.chance.one(&TYPES) } else { self.chance.one(&known) }
    }

    /// A parameter with its value, chained or not.
    fn condition(&mut self, of: &str, depth: u32) -> Option<String> {
        if of == "Resource" {
            let code = self.chance.one(&["_id", "_lastUpdated", "_tag", "_profile"]);
            let known = self.parameters.get("Patient", code)?;
            return Some(format!("{code}={}", self.value(known)));
        }
        match self.chance.below(16) {
            0..=2 if depth > 0 => {
                let from = self.chance.one(&TYPES);
                let link = self.reference_parameter(from)?;
                let rest = self.condition_of_link(from, depth)?;
                Some(format!("_has:{from}:{}:{rest}", link.code()))
            }
            3..=6 if depth > 0 => {
                let link = self.reference_parameter(of)?;
                let target = self.target(link);
                let rest = self.condition_of_link(target, depth)?;
                Some(match self.chance.below(4) {
                    // Of whatever type the parameter may refer to.
                    0 => format!("{}.{rest}", link.code()),
                    _ => format!("{}:{target}.{rest}", link.code()),
                })
            }
            7 if depth == DEPTH && of == "Condition" && self.chance.once_in(2) => {
                Some("_list=$current-problems".to_owned())
            }
            7 if depth == DEPTH => Some(format!("_list={}", self.chance.one(&IDS))),
            8 | 9 if depth == DEPTH => Some(format!("_filter={}", self.filter(of, 2))),
            _ => Some(self.own(of)),
        }
    }

    /// What is asked of the resource at the other end of a link.
    fn condition_of_link(&mut self, of: &str, depth: u32) -> Option<String> {
        let rest = self.condition(of, depth - 1)?;
        (!rest.starts_with("_list") && !rest.starts_with("_filter")).then_some(rest)
    }

    /// A parameter of a kind that few are of.
    fn rare_parameter(&mut self, of: &str) -> Option<&'a Parameter> {
        let rare = [Kind::Composite, Kind::Quantity, Kind::Special, Kind::Number];
        let of_type = self.parameters.of_type(of).iter().map(|it| &**it);
        let of_type: Vec<&Parameter> =
            of_type.filter(|it| rare.contains(&it.kind) && USUAL.contains(&it.code())).collect();
        (!of_type.is_empty()).then(|| self.chance.one(&of_type))
    }

    /// What is asked of the resource itself.
    fn own(&mut self, of: &str) -> String {
        let rare = if self.chance.once_in(5) { self.rare_parameter(of) } else { None };
        let parameter = rare.unwrap_or_else(|| self.parameter(of));
        let code = parameter.code();
        if self.chance.once_in(8) {
            return format!("{code}:missing={}", self.chance.one(&["true", "false"]));
        }
        let mut values = self.value(parameter);
        while self.chance.once_in(4) {
            values = format!("{values},{}", self.value(parameter));
        }
        if code == "identifier" && self.chance.once_in(3) {
            return format!("{code}:of-type={}", self.of_type());
        }
        if !self.chance.once_in(3) {
            return format!("{code}={values}");
        }
        let modifiers: &[&str] = match parameter.kind {
            Kind::String => &[":exact", ":contains"],
            Kind::Token => {
                &[":not", ":text", ":of-type", ":not", ":in", ":not-in", ":above", ":below"]
            }
            Kind::Reference => &[":identifier", ":below", ":above", ":Patient", ":not"],
            Kind::Uri => &[":below", ":above", ":not"],
            _ => &[""],
        };
        let modifier = self.chance.one(modifiers);
        let values = match (modifier, parameter.kind) {
            (":identifier", _) => self.token(),
            (":text", _) => self.chance.one(&TEXTS).to_owned(),
            (":of-type", _) => self.of_type(),
            (":in" | ":not-in", _) => VALUE_SET.to_owned(),
            (":above" | ":below", Kind::Token) => {
                format!("{HIERARCHY}|{}", self.chance.one(&CODES))
            }
            (":exact", _) => self.chance.one(&TEXTS).replace(',', "\\,"),
            _ => values,
        };
        format!("{code}{modifier}={values}")
    }

    fn of_type(&mut self) -> String {
        let [kind, value] = [self.chance.one(&CODES), self.chance.one(&CODES)];
        format!("{}|{kind}|{value}", self.chance.one(&SYSTEMS))
    }

    fn token(&mut self) -> String {
        let (system, code) = (self.chance.one(&SYSTEMS), self.chance.one(&CODES));
        match self.chance.below(5) {
            0 => format!("{system}|"),
            1 => format!("|{code}"),
            2 | 3 => format!("{system}|{code}"),
            _ => self.chance.one(&["male", "true", "active", code, code]).to_owned(),
        }
    }

    /// A value that a parameter may be asked for with, encoded as far as it must be.
    fn value(&mut self, parameter: &Parameter) -> String {
        self.value_of(parameter.kind, parameter.code(), &parameter.components)
    }

    fn value_of(&mut self, kind: Kind, code: &str, components: &[Component]) -> String {
        const PREFIXES: [&str; 12] =
            ["", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap", ""];
        let prefix = self.chance.one(&PREFIXES);
        match kind {
            _ if code == "_id" => self.patient().to_owned(),
            _ if code == "_lastUpdated" => {
                let instants = ["2027", "2026", "2027-01-15T08:00:00Z", "2027-01-15", "2027-01-16"];
                format!("{prefix}{}", self.chance.one(&instants))
            }
            Kind::Number => format!("{prefix}{}", self.chance.one(&NUMBERS)),
            Kind::Date => {
                let date = match self.chance.below(5) {
                    0 | 1 => self.chance.one(&DATES),
                    2 | 3 => self.chance.one(&TIMES),
                    _ => self.chance.one(&ASKED_TIMES),
                };
                format!("{prefix}{}", date.replace('+', "%2B"))
            }
            Kind::String => {
                let text = self.chance.one(&TEXTS);
                let length = 1 + self.chance.below(text.len() as u64);
                let length = usize::try_from(length).expect("it is a length");
                text[..text.ceil_char_boundary(length)].to_lowercase().replace(',', "\\,")
            }
            Kind::Token => self.token(),
            Kind::Reference => match self.chance.below(4) {
                0 => self.chance.id().to_owned(),
                _ if code == "questionnaire" => self.chance.one(&URIS).to_owned(),
                1 => format!("Patient/{}", self.patient()),
                _ => self.chance.reference(&TYPES),
            },
            Kind::Composite => {
                let parts = components.iter().map(|part| self.value_of(part.kind, "", &[]));
                parts.collect::<Vec<_>>().join("$")
            }
            Kind::Quantity => {
                let (number, (unit, code)) = (self.chance.one(&NUMBERS), self.chance.one(&UNITS));
                match (self.chance.below(4), code) {
                    (0, _) => format!("{prefix}{number}"),
                    (1 | 2, Some(code)) => {
                        let code = code.replace('%', "%25");
                        format!("{prefix}{number}|http://unitsofmeasure.org|{code}")
                    }
                    _ => format!("{prefix}{number}||{unit}"),
                }
            }
            Kind::Uri => self.chance.one(&URIS).to_owned(),
            Kind::Special => {
                let place = [self.chance.one(&LATITUDES), self.chance.one(&LONGITUDES)];
                let within =
                    ["", "|1|km", "|10", "|500|km", "|700|m", "|60|[mi_i]", "|20000|km", "|0|km"];
                format!("{}{}", place.join("|"), self.chance.one(&within))
            }
        }
    }

    fn filter(&mut self, of: &str, depth: u32) -> String {
        let between = self.chance.one(&["and", "or"]);
        match self.chance.below(8) {
            0 if depth > 0 => format!("not ({})", self.filter(of, depth - 1)),
            1 | 2 if depth > 0 => {
                let [left, right] = [(); 2].map(|()| self.filter(of, depth - 1));
                format!("{left} {between} {right}")
            }
            3 if depth > 0 => {
                let [one, other, third] = [(); 3].map(|()| self.filter(of, depth - 1));
                format!("({one} or {other}) {between} {third}")
            }
            4 | 5 if depth > 0 => {
                let Some(link) = self.reference_parameter(of) else { return self.comparison(of) };
                let target = self.target(link);
                let rest = self.comparison(target);
                match self.chance.below(3) {
                    0 => format!("{}[{}].{rest}", link.code(), self.comparison(target)),
                    _ => format!("{}:{target}.{rest}", link.code()),
                }
            }
            _ => self.comparison(of),
        }
    }

    /// A parameter, an operator and a value.
    fn comparison(&mut self, of: &str) -> String {
        const OPERATORS: [&str; 16] = [
            "eq", "eq", "ne", "gt", "lt", "co", "sw", "ew", "ss", "sb", "re", "ge", "le", "sa",
            "eb", "ap",
        ];
        let parameter = self.parameter(of);
        if self.chance.once_in(8) {
            return format!("{} pr {}", parameter.code(), self.chance.one(&["true", "false"]));
        }
        let operators: &[&str] = match parameter.kind {
            _ if self.chance.once_in(10) => &OPERATORS,
            Kind::String => &["eq", "ne", "co", "sw", "ew"],
            Kind::Token => &["eq", "ne", "eq", "ss", "sb", "in", "ni"],
            Kind::Number | Kind::Quantity => {
                &["eq", "ne", "gt", "lt", "ge", "le", "ap", "sa", "eb"]
            }
            Kind::Date => &["eq", "ne", "gt", "lt", "ge", "le", "ap", "sa", "eb", "po"],
            Kind::Reference => &["eq", "ne", "re"],
            _ => &["eq", "ne"],
        };
        let operator = self.chance.one(operators);
        let value = match parameter.kind {
            _ if matches!(operator, "in" | "ni") => VALUE_SET.to_owned(),
            _ if matches!(operator, "ss" | "sb") => {
                format!("{HIERARCHY}|{}", self.chance.one(&CODES))
            }
            Kind::String => {
                let text = self.chance.one(&TEXTS);
                let word = text.split(' ').next_back().unwrap_or(text);
                format!("\"{}\"", self.chance.one(&[text, word]))
            }
            Kind::Uri => format!("\"{}\"", self.chance.one(&URIS)),
            Kind::Token => self.token(),
            Kind::Number | Kind::Quantity => self.chance.one(&NUMBERS).to_owned(),
            Kind::Date => self.chance.one(&DATES).to_owned(),
            _ => self.chance.reference(&TYPES),
        };
        format!("{} {operator} {value}", parameter.code())
    }

    fn include(&mut self, of: &str) -> Option<String> {
        let iterate = self.chance.one(&["", "", ":iterate"]);
        if self.chance.once_in(8) {
            return Some(format!("_include{iterate}=*"));
        }
        if self.chance.once_in(12) {
            return Some(format!("_include{iterate}={of}:*"));
        }
        let target = self.chance.one(&["", "", ":Patient", ":Organization"]);
        // What an iteration begins with may be included itself.
        let of = if !iterate.is_empty() && self.chance.once_in(2) {
            self.chance.one(&TYPES)
        } else {
            of
        };
        if self.chance.once_in(2) {
            let link = self.reference_parameter(of)?;
            return Some(format!("_include{iterate}={of}:{}{target}", link.code()));
        }
        let from = self.chance.one(&TYPES);
        let link = self.reference_parameter(from)?;
        Some(format!("_revinclude{iterate}={from}:{}{target}", link.code()))
    }
}
