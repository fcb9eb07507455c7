//! Lays YAML out anew. What comes of it is for the caller to compare: whoever changes somebody's file proves that it means the same.

use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions, Quotes};

use super::SourceFile;

/// Lines may be so long; flow maps that are longer are broken.
const WIDTH: usize = 140;

impl SourceFile {
    /// The text in its usual layout.
    ///
    /// # Errors
    /// Why it cannot be laid out.
    pub(in crate::plan) fn laid_out(&self) -> Result<String, String> {
        let options = FormatOptions {
            layout: LayoutOptions { print_width: WIDTH, ..LayoutOptions::default() },
            language: LanguageOptions { quotes: Quotes::PreferSingle, ..LanguageOptions::default() },
        };
        pretty_yaml::format_text(&self.text, &options).map_err(|_| "the formatter does not read it".to_owned())
    }
}
