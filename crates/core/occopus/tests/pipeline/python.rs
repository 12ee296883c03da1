//! A Python with the original's libraries, made once below the target folder.
#![expect(clippy::disallowed_types, reason = "the model is a program of its own")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the original runs with; a later ruamel.yaml breaks long texts between double quotes.
const LIBRARIES: [&str; 2] = ["ruamel.yaml==0.17.21", "jinja2==3.1.6"];

/// The interpreter, or why there is none.
pub(crate) fn environment() -> Result<PathBuf, String> {
    muster_testkit::python(env!("CARGO_TARGET_TMPDIR"), "occopus-python-1", &LIBRARIES)
}

/// All questions to one process.
pub(crate) fn ask(python: &Path, questions: &[Value]) -> Vec<Value> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipeline/model.py");
    let mut child = Command::new(python)
        .args(["-W", "ignore"])
        .arg(model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let asked = serde_json::to_vec(questions).expect("JSON can be written");
    child.stdin.take().expect("a pipe").write_all(&asked).expect("the model reads its questions");
    let output = child.wait_with_output().expect("the model ends");
    assert!(output.status.success(), "the model failed");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the model answers in JSON");
    assert_eq!(answers.len(), questions.len());
    answers
}
