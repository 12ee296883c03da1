//! "Did you mean".

/// How alike two words must be; below this a suggestion confuses more than it helps.
const LIKENESS_MIN: f64 = 0.7;

/// The candidate most like `word`, if any is like it.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (likeness(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// Prefixes count as alike (`mem` and `memory`); otherwise transpositions and single edits do.
fn likeness(word: &str, candidate: &str) -> f64 {
    if word.len() >= 3 && (candidate.starts_with(word) || word.starts_with(candidate) && candidate.len() >= 3) {
        return 0.95;
    }
    strsim::normalized_damerau_levenshtein(word, candidate).max(strsim::jaro_winkler(word, candidate) - 0.15)
}

/// A hint that names the closest candidate, or else lists them all (up to a dozen).
pub fn hint(word: &str, candidates: &[&str], noun: &str) -> String {
    if let Some(close) = closest(word, candidates.iter().copied()) {
        return format!("did you mean `{close}`?");
    }
    if candidates.is_empty() {
        return format!("there is no {noun} that could be meant; remove it");
    }
    let shown: Vec<String> = candidates.iter().take(12).map(|name| format!("`{name}`")).collect();
    let more = if candidates.len() > 12 { ", …" } else { "" };
    format!("known here: {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_typos_are_found_and_others_are_not() {
        let keys = ["count", "needs", "recipe", "cloud_init", "health", "memory"];
        for (word, meant) in [
            ("coutn", Some("count")),
            ("need", Some("needs")),
            ("recipie", Some("recipe")),
            ("cloudinit", Some("cloud_init")),
            ("cloud-init", Some("cloud_init")),
            ("Health", Some("health")),
            ("mem", Some("memory")),
            ("zebra", None),
            ("x", None),
        ] {
            assert_eq!(closest(word, keys), meant, "{word}");
        }
        assert_eq!(hint("zebra", &["a", "b"], "key"), "known here: `a`, `b`");
        assert!(!hint("zebra", &[], "key").is_empty());
    }
}
