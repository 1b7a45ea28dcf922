//! Replays the inputs that were kept.

use std::fs;
use std::path::Path;

use fuzz::TARGETS;

/// Every input passes; among them are those that once did not.
#[test]
fn corpora_pass() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{} is empty", folder.display());
        for input in inputs {
            let bytes = fs::read(&input).expect("it can be read");
            // The test's output is shown only where it fails: the last line names the input.
            println!("{}", input.display());
            (target.check)(&bytes);
        }
    }
}
