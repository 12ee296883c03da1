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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = folder.join("occopus-python-1");
    let python = made.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    let beside =
        tempfile::Builder::new().prefix("occopus-python-").tempdir_in(folder).map_err(|error| error.to_string())?;
    run(Command::new("python3").args(["-m", "venv"]).arg(beside.path()))?;
    let mut install = Command::new(beside.path().join("bin/python"));
    run(install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(LIBRARIES))?;
    // Another run of the tests may have been quicker.
    match fs_err::rename(beside.path(), &made) {
        Ok(()) => drop(beside.keep()),
        Err(_) if python.exists() => {}
        Err(error) => return Err(error.to_string()),
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
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
