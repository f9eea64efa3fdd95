//! Makes text of strangers harmless: what a guest printed must not move the cursor or pose as another line.

use std::fmt::Write as _;

/// Longest start of a character that can be waiting for its rest, in bytes.
const PARTIAL_BYTES_MAX: usize = 3;

/// `text` with line breaks and everything else that a terminal would obey written out. Tabs stay.
pub(crate) fn escape_line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|character| escape_into(character, &mut escaped));
    escaped
}

/// The lines of `text`, each escaped; one line when it is empty.
pub(crate) fn escape_lines(text: &str) -> impl Iterator<Item = String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n')
        .map(|line| escape_line(line.strip_suffix('\r').unwrap_or(line)))
}

/// `json` with the harmful characters that JSON allows in strings as `\u` escapes: the same document for a parser.
pub(crate) fn escape_json(json: String) -> String {
    if !json.chars().any(is_harmful_in_json) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if is_harmful_in_json(character) {
            // All of them are below U+10000, so that four digits are enough.
            write_escaped(&mut escaped, format_args!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Escapes a stream whose chunks end anywhere, even inside a character. Line breaks stay.
#[derive(Debug, Default)]
pub(crate) struct StreamEscaper {
    /// Start of a character whose rest has not come yet.
    partial: Vec<u8>,
}

impl StreamEscaper {
    /// What can be shown after `chunk`.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> String {
        self.partial.extend_from_slice(chunk);
        let bytes = std::mem::take(&mut self.partial);
        let complete = bytes.len() - partial_len(&bytes);
        self.partial = bytes[complete..].to_vec();
        escape_bytes(&bytes[..complete])
    }

    /// What is left at the end.
    pub(crate) fn finish(self) -> String {
        escape_bytes(&self.partial)
    }
}

/// Length of the unfinished character at the end of `bytes`.
fn partial_len(bytes: &[u8]) -> usize {
    let tail_start = bytes.len().saturating_sub(PARTIAL_BYTES_MAX);
    let Some(lead) = bytes[tail_start..].iter().rposition(|byte| *byte >= 0xc0) else {
        return 0;
    };
    let tail = &bytes[tail_start + lead..];
    match std::str::from_utf8(tail) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => tail.len(),
        _ => 0,
    }
}

fn escape_bytes(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => escaped.push('\n'),
                other => escape_into(other, &mut escaped),
            }
        }
        for byte in chunk.invalid() {
            write_escaped(&mut escaped, format_args!("\\x{byte:02x}"));
        }
    }
    escaped
}

fn escape_into(character: char, escaped: &mut String) {
    match character {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push('\t'),
        '\0'..='\x1f' | '\x7f' => write_escaped(escaped, format_args!("\\x{:02x}", u32::from(character))),
        other if is_harmful_in_json(other) => write_escaped(escaped, format_args!("\\u{{{:x}}}", u32::from(other))),
        other => escaped.push(other),
    }
}

/// Harmful and not already escaped by a JSON writer: C1 controls, line separators, changes of the writing direction.
fn is_harmful_in_json(character: char) -> bool {
    matches!(
        character,
        '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

fn write_escaped(escaped: &mut String, text: std::fmt::Arguments<'_>) {
    escaped.write_fmt(text).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(escape_line("a\tb é 漢 🦋"), "a\tb é 漢 🦋");
        assert_eq!(escape_line("\x1b[31mred\x07\r\n"), "\\x1b[31mred\\x07\\r\\n");
        assert_eq!(
            escape_line("\u{9b}2J\u{7f}\u{202e}\u{2028}"),
            "\\u{9b}2J\\x7f\\u{202e}\\u{2028}"
        );
    }

    #[test]
    fn a_line_break_makes_a_new_line_and_never_a_bare_one() {
        assert_eq!(escape_lines("a\r\n\x1bb\n").collect::<Vec<_>>(), ["a", "\\x1bb"]);
        assert_eq!(escape_lines("").collect::<Vec<_>>(), [""]);
        assert_eq!(escape_lines("a\rb").collect::<Vec<_>>(), ["a\\rb"]);
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "text": "\x1b[0m \u{9b}2J \u{202e} \u{7f} é" });
        let escaped = escape_json(value.to_string());
        assert!(
            !escaped
                .chars()
                .any(|character| character.is_control() || character == '\u{202e}'),
            "{escaped}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let text = "é漢🦋\n\x1b";
        for cut in 0..=text.len() {
            let mut escaper = StreamEscaper::default();
            let mut shown = escaper.push(&text.as_bytes()[..cut]);
            shown += &escaper.push(&text.as_bytes()[cut..]);
            shown += &escaper.finish();
            assert_eq!(shown, "é漢🦋\n\\x1b", "cut at {cut}");
        }
        let mut escaper = StreamEscaper::default();
        assert_eq!(escaper.push(b"a\xff\xe6\xbc") + &escaper.finish(), "a\\xff\\xe6\\xbc");
    }
}
