//! Which messages a trigger wants, and what it wants them in order by: read from what a message says.

use std::collections::BTreeMap;

use quamina::QuaminaBuilder;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::config::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, ORDER_KEY_BYTES_MAX, ORDER_PATH_BYTES_MAX};

/// The patterns of the triggers of one queue. A pattern is JSON as in AWS EventBridge, about the document that
/// [`document`] makes of a message.
pub(crate) struct Filters(quamina::Quamina<usize>);

impl Filters {
    /// No patterns.
    pub(crate) fn new() -> Self {
        let built = QuaminaBuilder::new().with_max_pattern_depth(FILTER_DEPTH_MAX).build();
        Self(built.unwrap_or_default())
    }

    /// Adds the pattern of the trigger that is number `place`.
    ///
    /// # Errors
    /// Says what is wrong with it, for the client.
    pub(crate) fn add(&mut self, place: usize, pattern: &Value) -> Result<(), String> {
        let text = pattern.to_string();
        if text.len() > FILTER_BYTES_MAX {
            return Err(format!(
                "it has {} bytes; at most {FILTER_BYTES_MAX} may be",
                text.len()
            ));
        }
        let known = |name: &String| name == "attributes" || name == "body";
        if !pattern.as_object().is_some_and(|fields| fields.keys().all(known)) {
            return Err("it must be an object with `attributes`, `body` or both, such as \
                        {\"body\": {\"type\": [\"OrderPlaced\"]}}"
                .to_owned());
        }
        self.0.add_pattern(place, &text).map_err(|error| error.to_string())
    }

    /// The numbers of those whose patterns fit.
    ///
    /// # Errors
    /// When the document cannot be looked through.
    pub(super) fn matching(&self, document: &[u8]) -> Result<Vec<usize>, String> {
        self.0.matches_for_event(document).map_err(|error| error.to_string())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What patterns are about: `{"attributes": {...}, "body": ...}`, the body as the JSON that it is, or else as a string.
/// JSON that is nested deeper than any pattern is a string, too: whoever looks through it goes down step by step, and its
/// stack has an end.
pub(super) fn document(attributes: &BTreeMap<String, String>, body: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        attributes: &'a BTreeMap<String, String>,
        body: Body<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Body<'a> {
        Json(&'a RawValue),
        Text(&'a str),
    }
    let body = match serde_json::from_str(body) {
        Ok(json) if !nests_deeper_than(body, FILTER_DEPTH_MAX * 2) => Body::Json(json),
        _ => Body::Text(body),
    };
    serde_json::to_vec(&Document { attributes, body }).unwrap_or_default()
}

/// Whether lists and objects of a JSON document stand in each other so deep.
fn nests_deeper_than(json: &str, most: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Where a message says what it must be in order with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderPath {
    /// In the attribute of that name.
    Attribute(String),
    /// In the JSON of its body, from field to field.
    Body(Vec<String>),
}

impl OrderPath {
    /// Reads `attributes.NAME` or `body.FIELD.FIELD`.
    ///
    /// # Errors
    /// Says what is wrong with it, for the client.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "an order key is written as attributes.NAME or body.FIELD.FIELD".to_owned();
        if text.len() > ORDER_PATH_BYTES_MAX {
            return Err(format!(
                "an order key is written with at most {ORDER_PATH_BYTES_MAX} bytes"
            ));
        }
        match text.split_once('.') {
            Some(("attributes", name)) if !name.is_empty() => Ok(Self::Attribute(name.to_owned())),
            Some(("body", path)) => {
                let fields: Vec<String> = path.split('.').map(str::to_owned).collect();
                if fields.iter().any(String::is_empty) {
                    return Err(wrong());
                }
                Ok(Self::Body(fields))
            }
            _ => Err(wrong()),
        }
    }

    /// What a message says there: text, a number or a truth value. One that says nothing is in no order.
    pub(super) fn of(&self, attributes: &BTreeMap<String, String>, body: &str) -> Option<String> {
        let found = match self {
            Self::Attribute(name) => attributes.get(name)?.clone(),
            Self::Body(fields) => {
                let body: Value = serde_json::from_str(body).ok()?;
                let value = fields.iter().try_fold(&body, |value, field| value.get(field))?;
                match value {
                    Value::String(text) => text.clone(),
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    Value::Null | Value::Array(_) | Value::Object(_) => return None,
                }
            }
        };
        Some(storable(found))
    }
}

/// A key as it is kept: a long one, or one that not every database can keep, as its sha256.
fn storable(key: String) -> String {
    if key.len() <= ORDER_KEY_BYTES_MAX && !key.chars().any(char::is_control) {
        return key;
    }
    Sha256::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn patterns_are_about_attributes_and_the_fields_of_a_body() {
        let mut filters = Filters::new();
        for (place, pattern) in [
            json!({"body": {"type": ["OrderPlaced", "OrderPaid"]}}),
            json!({"attributes": {"region": [{"prefix": "eu-"}]}}),
            json!({"body": {"total": [{"numeric": [">", 100]}]}, "attributes": {"region": ["us"]}}),
            json!({"body": ["ping"]}),
            json!({"body": {"note": [{"exists": false}]}}),
        ]
        .iter()
        .enumerate()
        {
            filters
                .add(place, pattern)
                .unwrap_or_else(|error| panic!("{pattern}: {error}"));
        }
        let matching = |pairs: &[(&str, &str)], body: &str| {
            let mut places = filters.matching(&document(&attributes(pairs), body)).unwrap();
            places.sort_unstable();
            places
        };
        assert_eq!(matching(&[], r#"{"type":"OrderPaid","note":"x"}"#), [0]);
        assert_eq!(matching(&[("region", "eu-1")], r#"{"note":1}"#), [1]);
        assert_eq!(matching(&[("region", "us")], r#"{"total":100.5,"note":1}"#), [2]);
        assert_eq!(matching(&[("region", "us")], r#"{"total":100,"note":1}"#), [0; 0]);
        assert_eq!(matching(&[], "ping"), [3, 4], "text that is no JSON");
        assert_eq!(matching(&[], r#""ping""#), [3, 4], "and text that is");
        assert_eq!(matching(&[], r#"{"type":"OrderGone"}"#), [4]);
        // A broken attempt at JSON is text, and no pattern of another one's document.
        assert_eq!(matching(&[], r#"{"type":"OrderPaid","note":"x""#), [4]);
    }

    #[test]
    fn a_body_of_a_hundred_thousand_brackets_is_text() {
        let mut filters = Filters::new();
        filters.add(0, &json!({"body": {"a": [1]}})).unwrap();
        filters.add(1, &json!({"body": [{"prefix": "[[["}]})).unwrap();
        for body in [
            "[".repeat(100_000) + &"]".repeat(100_000),
            "[{\"a\":".repeat(20_000) + "1" + &"}]".repeat(20_000),
        ] {
            let places = filters.matching(&document(&BTreeMap::new(), &body)).unwrap();
            assert_eq!(places, if body.starts_with("[[[") { vec![1] } else { Vec::new() });
        }
        assert!(!nests_deeper_than(r#"["[[[[\"[[[[", {"[[[": "]]"}]"#, 2));
        assert!(nests_deeper_than("[[[1]]]", 2));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_a_reason() {
        for (pattern, reason) in [
            (json!("x"), "must be an object"),
            (json!({"type": ["x"]}), "must be an object with `attributes`"),
            (json!({"body": {"type": "x"}}), "pattern"),
            (json!({"body": {"type": [{"nonsense": 1}]}}), "pattern"),
            (json!({"body": {"a": ["x".repeat(FILTER_BYTES_MAX)]}}), "at most"),
        ] {
            let error = Filters::new().add(0, &pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
    }

    #[test]
    fn an_order_key_is_found_or_there_is_none() {
        let of = |path: &str, pairs: &[(&str, &str)], body: &str| {
            OrderPath::parse(path).unwrap().of(&attributes(pairs), body)
        };
        assert_eq!(of("attributes.a.b", &[("a.b", "7")], ""), Some("7".to_owned()));
        assert_eq!(
            of("body.order.id", &[], r#"{"order":{"id":12}}"#),
            Some("12".to_owned())
        );
        assert_eq!(of("body.order.id", &[], r#"{"order":{"id":null}}"#), None);
        assert_eq!(of("body.order.id", &[], "no JSON"), None);
        assert_eq!(of("attributes.a", &[], ""), None);
        let hidden = of("attributes.a", &[("a", "x\0y")], "").unwrap();
        assert_eq!(hidden.len(), 64);
        assert_ne!(of("attributes.a", &[("a", "x\0z")], ""), Some(hidden));
        for bad in [
            "",
            "body",
            "body.",
            "body..a",
            "attributes.",
            "header.x",
            &format!("body.{}", "x".repeat(300)),
        ] {
            assert!(OrderPath::parse(bad).is_err(), "{bad}");
        }
    }
}
