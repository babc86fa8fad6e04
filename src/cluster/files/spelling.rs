//! What was probably meant by a name that is not known.

/// The name that was probably meant: at most two edits away, or the same but for case.
pub fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(given: &str, known: impl Iterator<Item = &'a S>) -> Option<&'a str> {
    known
        .map(|name| (distance(given, name.as_ref()), name.as_ref()))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance, not counting case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_two_edits_away_is_meant_and_what_is_further_is_not() {
        let known = ["endpoints", "retries", "limit", "tls"];
        for (given, meant) in [
            ("endpoint", Some("endpoints")),
            ("Retries", Some("retries")),
            ("retires", Some("retries")),
            ("limits", Some("limit")),
            ("ssl", None),
            ("backoff", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known.iter().copied()), meant, "{given}");
        }
    }
}
