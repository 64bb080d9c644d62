//! The words of a command: `name word key=value ...`.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The words of a command after its name.
#[derive(Debug, Default)]
pub(crate) struct Arguments<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Arguments<'a> {
    /// Parts words with `=` from those without.
    pub(crate) fn new(words: impl Iterator<Item = &'a str>) -> Self {
        let mut arguments = Self::default();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => {
                    arguments.named.insert(key, value);
                }
                None => arguments.plain.push(word),
            }
        }
        arguments
    }

    /// The words without `=`.
    pub(crate) fn plain(&self) -> &[&'a str] {
        &self.plain
    }

    /// The text of a key.
    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.named.get(key).copied()
    }

    /// The value of a key that may be absent.
    pub(crate) fn optional<T: FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{key}={text} is not a number that fits")),
        }
    }

    /// The value of a key, or what it is when absent.
    pub(crate) fn or<T: FromStr>(&self, key: &str, default: T) -> Result<T, String> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T: FromStr>(&self, key: &str) -> Result<T, String> {
        self.optional(key)?
            .ok_or_else(|| format!("{key}= is missing"))
    }

    /// An error when a key is none of those that the command knows.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.named.keys().find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) => Err(format!("{key}= is unknown; known are {}", known.join(" "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_an_equals_sign_are_named() {
        let arguments = Arguments::new("constant rate=12.5 set=7".split(' '));
        assert_eq!(arguments.plain(), ["constant"]);
        assert_eq!(arguments.required("rate"), Ok(12.5));
        assert_eq!(arguments.required("set"), Ok(7_usize));
        assert_eq!(arguments.or("seed", 1), Ok(1_u64));
    }

    #[test]
    fn a_wrong_missing_or_unknown_key_is_an_error() {
        let arguments = Arguments::new("set=-1".split(' '));
        let wrong = arguments.required::<usize>("set");
        assert_eq!(wrong, Err("set=-1 is not a number that fits".to_string()));
        assert!(arguments.required::<usize>("rate").is_err());
        assert!(arguments.only(&["rate"]).is_err());
    }
}
