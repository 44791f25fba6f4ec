//! Where a key is kept in `config.yaml`, and whether there is room for it.

use hermes_config::Env;
use hermes_config::document::Shape;
use hermes_config::edit::{self, EditError};
use hermes_config::path::{KeyPath, Segment};
use hermes_worker::REGISTRY;

use super::{As, Draft, Note, SettingsError};

impl Draft {
    /// Where a key is really kept: `model.api_base` is `model.base_url`, `model.model` is `model.default`, and `model` is `model.default` where `model` has other
    /// keys too.
    pub(super) fn stored_as(&self, path: &KeyPath, how: As) -> KeyPath {
        let model = |key: &str| KeyPath::of(["model", key].map(Segment::plain));
        match path.texts().as_slice() {
            ["model", "api_base"] => model("base_url"),
            // 0.19.0 and we read the one; what is written under the others is in force only as long as that is not set.
            ["model", "model" | "name"] => model("default"),
            ["model"] if how != As::Json && self.document.shape(path) == Shape::Mapping => model("default"),
            _ => path.clone(),
        }
    }

    /// `model: vendor/name` is short for `model.default`, which is not lost when another key of `model` is set.
    pub(super) fn written_out(&self, path: &KeyPath, notes: &mut Vec<Note>) -> Result<String, EditError> {
        let text = &self.yaml.text;
        let [first, _] = path.segments() else { return Ok(text.clone()) };
        let model = path.up_to(1);
        if first.text != "model" || self.document.shape(&model) != Shape::Scalar {
            return Ok(text.clone());
        }
        // As it is written, references included.
        let name = self.document.get(&REGISTRY, &model, &Env::default()).unwrap_or_default();
        notes.push(Note::StoredAs { typed: "model".to_owned(), stored: "model.default".to_owned() });
        Ok(edit::set(text, &["model", "default"], &edit::Value::from(name))?.text)
    }

    /// An index needs the list it is an index of.
    pub(super) fn expect_place(&self, shown: &str, path: &KeyPath) -> Result<(), SettingsError> {
        for (n, segment) in path.segments().iter().enumerate() {
            let above = path.up_to(n);
            let (shape, upto) = (self.document.shape(&above), path.up_to(n + 1));
            let fits = match shape {
                Shape::List => segment.is_index() && self.document.holds(&upto),
                Shape::Mapping => true,
                Shape::Absent | Shape::Scalar => !segment.is_index() || n == 0,
            };
            if !fits {
                let key = if shape == Shape::List { upto.to_string() } else { shown.to_owned() };
                let advice = advice(path, &above, shape, segment);
                return Err(SettingsError::NoSuchItem { key, file: self.yaml.path.clone(), advice });
            }
        }
        Ok(())
    }
}

/// What to do where an index does not fit.
fn advice(path: &KeyPath, above: &KeyPath, shape: Shape, segment: &Segment) -> String {
    let as_key = |s: Segment| Segment { quoted: s.is_index() || s.quoted, ..s };
    match shape {
        Shape::List if segment.is_index() => {
            format!("set the whole list: `hermes config set {above} --json '[...]'`")
        }
        Shape::List => format!("'{above}' is a list, whose items are numbered: {above}.0"),
        _ => format!(
            "set the whole list (--json), or quote the number to make it a key: '{}'",
            KeyPath::of(path.segments().iter().cloned().map(as_key))
        ),
    }
}
