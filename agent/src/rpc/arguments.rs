//! Positional arguments. Source: upstream agent/action/runner.go: too many are ignored, too few are an error.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;

/// The arguments of one call.
#[derive(Debug)]
pub(super) struct Arguments {
    values: Vec<Value>,
    required: usize,
}

impl Arguments {
    /// Fails if there are fewer than `required`.
    pub(super) fn new(values: Vec<Value>, required: usize) -> Result<Self, Error> {
        if values.len() < required {
            let got = values.len();
            return Err(Error::Arguments(format!(
                "Not enough arguments, expected {required}, got {got}"
            )));
        }
        Ok(Self { values, required })
    }

    /// A required argument, from 0.
    pub(super) fn get<T: DeserializeOwned>(&mut self, index: usize) -> Result<T, Error> {
        debug_assert!(
            index < self.required,
            "argument {index} is not among the required ones"
        );
        let value = self
            .values
            .get_mut(index)
            .map(Value::take)
            .unwrap_or_default();
        serde_json::from_value(value).map_err(|error| unmarshalling(index, &error))
    }

    /// An argument that may be absent; `null` is not absent.
    pub(super) fn optional<T: DeserializeOwned>(
        &mut self,
        index: usize,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.values.get_mut(index) else {
            return Ok(None);
        };
        serde_json::from_value(value.take())
            .map(Some)
            .map_err(|error| unmarshalling(index, &error))
    }
}

fn unmarshalling(index: usize, error: &serde_json::Error) -> Error {
    Error::Arguments(format!(
        "Unmarshalling action argument: argument {}: {error}",
        index + 1
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn too_few_too_many_and_wrong_ones() {
        let error = Arguments::new(vec![], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Extracting method arguments from payload: Not enough arguments, expected 2, got 0"
        );
        let mut arguments = Arguments::new(vec![json!("a"), json!(2), json!("more")], 1).unwrap();
        assert_eq!(arguments.get::<String>(0).unwrap(), "a");
        assert!(
            arguments
                .optional::<String>(1)
                .unwrap_err()
                .to_string()
                .contains("argument 2")
        );
        assert_eq!(arguments.optional::<String>(7).unwrap(), None);
    }
}
