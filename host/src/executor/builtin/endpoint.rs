//! Where a server is asked that speaks OpenAI's protocol: `base_url` and `api_key` of `llm.chat` and `llm.embed`.

use reqwest::Url;

use crate::model::secret::Secret;
use crate::model::value::Tree;

/// The address below a `base_url`, which is taken as written; the path, as `/embeddings`, is added unless it ends with it.
///
/// # Errors
/// What is wrong, and the way out.
pub(super) fn endpoint(base_url: &str, path: &str) -> Result<Url, (String, &'static str)> {
    const HELP: &str = "write it with scheme and path, as http://localhost:11434/v1";
    // What was written is not shown: it may hold a key.
    let mut url = Url::parse(base_url).map_err(|error| (format!("base_url is no address: {error}"), HELP))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(("base_url is no web address".to_owned(), HELP));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("base_url holds a user or a password".to_owned(), "give the key as api_key: '${secret.OPENAI_API_KEY}'"));
    }
    url.set_fragment(None);
    let base = url.path().trim_end_matches('/').to_owned();
    if !base.ends_with(path) {
        url.set_path(&format!("{base}{path}"));
    }
    Ok(url)
}

/// The `api_key` of a config; `None` where there is none, or an empty one.
pub(super) fn api_key(config: &Tree) -> Option<Secret> {
    match config.field("api_key") {
        Some(Tree::Secret(secret)) if !secret.reveal().trim().is_empty() => Some(secret.clone()),
        _ => None,
    }
}

/// An address as it may be shown: without user, password, query and fragment, any of which may hold a key.
pub(super) fn shown_url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let bare = &url[..end];
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => bare.rsplit('@').next().unwrap_or(bare).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_as_written() {
        for (written, path, asked) in [
            ("http://localhost:11434/v1", "/chat/completions", "http://localhost:11434/v1/chat/completions"),
            ("http://localhost:11434/v1/", "/chat/completions", "http://localhost:11434/v1/chat/completions"),
            ("https://api.example.com", "/chat/completions", "https://api.example.com/chat/completions"),
            ("https://api.example.com/chat/completions", "/chat/completions", "https://api.example.com/chat/completions"),
            ("https://api.example.com/x?api-version=1#y", "/chat/completions", "https://api.example.com/x/chat/completions?api-version=1"),
            ("http://h/v1/?k=1", "/embeddings", "http://h/v1/embeddings?k=1"),
        ] {
            assert_eq!(endpoint(written, path).map(String::from).as_deref(), Ok(asked));
        }
    }

    #[test]
    fn a_wrong_address_is_refused_without_its_secrets() {
        for written in ["localhost:11434", "not a url", "ftp://x/y", "http://me:hunter2@x/v1", "file:///etc/passwd"] {
            let (message, help) = endpoint(written, "/chat/completions").expect_err(written);
            assert!(!message.contains("hunter2") && !help.is_empty(), "{message}");
        }
        assert_eq!(shown_url("https://me:hunter2@host:1/v1?key=hunter2"), "https://host:1/v1");
    }
}
