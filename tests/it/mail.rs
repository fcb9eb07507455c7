//! `mail.send` with a real mail server over a real socket, from the real binary.

use serde_json::{Value as Json, json};

use crate::program::smtp::{Act, CERTIFICATE, MailServer, Tls, Turn};
use crate::program::{Bench, text};

/// A pipeline that sends one letter; `with` stands beside the step's input, `config` within the executor's config.
fn pipeline(server: &str, config: &str, beside: &str) -> String {
    format!(
        "pipeline: post
trigger: {{ stdin: line }}
input: {{ to: any, subject: string, text: {{ type: string, default: Hello }}, html: string|null, from: string|null, headers: any }}
executors:
  mail:
    builtin: mail.send
    config: {{ from: ['The Shop <shop@example.com>', desk@example.com], {config} }}
    grants: {{ mail: ['{server}'] }}
steps:
  - id: sent
    run: mail
    with:
      to: '${{input.to}}'
      from: '${{input.from}}'
      subject: '${{input.subject}}'
      text: '${{input.text}}'
      html: '${{input.html}}'
      headers: '${{input.headers}}'
    {beside}
  - reply: {{ id: '${{steps.sent.message_id}}', accepted: '${{steps.sent.accepted}}' }}
on_error:
  - reply: {{ kind: '${{error.kind}}', code: '${{error.code}}', status: '${{error.status}}', message: '${{error.message}}' }}
"
    )
}

/// Sends one letter through a server, and gives the reply.
fn send(server: &MailServer, beside: &str, input: &Json) -> Json {
    let bench = Bench::empty();
    bench.write("post.yaml", pipeline(server.address(), "tls: none", beside));
    bench.run(&["run", "post.yaml", "--input", &input.to_string()], b"").objects().remove(0)
}

fn plain() -> Json {
    json!({ "to": "Ada <ada@example.com>", "subject": "Your order" })
}

#[test]
fn a_letter_arrives_as_it_was_written() {
    let server = MailServer::start();
    let input = json!({
        "to": ["Ada <ada@example.com>", "bo@example.com"], "subject": "Grüße", "text": ".\nIt is on its way.", "html": "<b>It is</b>",
        "headers": { "X-Order": "o-1" }, "from": "desk@example.com"
    });
    let reply = send(&server, "", &input);
    assert_eq!(reply["accepted"], json!(["ada@example.com", "bo@example.com"]), "{reply}");
    let [letter] = server.wait_for(1).try_into().expect("one letter");
    assert_eq!((letter.from.as_str(), letter.to.clone()), ("desk@example.com", vec!["ada@example.com".into(), "bo@example.com".into()]));
    assert_eq!(letter.header("Message-ID"), Some(text(&reply, "id")));
    assert_eq!(letter.header("X-Order"), Some("o-1"));
    assert!(letter.text.contains("\r\n.\r\nIt is on its way.\r\n") && letter.text.contains("<b>It is</b>"), "{}", letter.text);
    assert!(!letter.text.contains("Grüße") && letter.header("Subject").expect("one").contains("=?utf-8?"), "{}", letter.text);
}

#[test]
fn another_attempt_sends_the_same_letter_under_the_same_id() {
    let server = MailServer::start();
    // Busy once; once it has taken the letter and the answer is lost, so that nobody here can know.
    server.does(Turn::Content, &[Act::Says("451 try later"), Act::HangsUp, Act::Well]);
    let reply = send(&server, "retry: { max_retries: 2, base_delay: 1ms }", &plain());
    let letters = server.letters();
    let ids: Vec<_> = letters.iter().map(|letter| letter.header("Message-ID")).collect();
    assert_eq!(ids, [Some(text(&reply, "id")); 2]);
}

#[test]
fn what_the_server_says_has_its_kind() {
    for (turn, said, kind, code, status) in [
        (Turn::Greeting, "554 not today", "permanent", "greeting", json!(554)),
        (Turn::Greeting, "421 later", "transient", "busy", json!(421)),
        (Turn::Sender, "550 not you", "permanent", "sender", json!(550)),
        (Turn::Sender, "530 log in first", "denied", "login", json!(530)),
        (Turn::Recipient, "550 nobody of that name", "invalid", "recipient", json!(550)),
        (Turn::Recipient, "450 full", "transient", "busy", json!(450)),
        (Turn::Content, "554 spam", "permanent", "content", json!(554)),
        (Turn::Content, "452 no room", "transient", "busy", json!(452)),
        (Turn::Content, "hello?", "transient", "connection", Json::Null),
    ] {
        let server = MailServer::start();
        server.does(turn, &[Act::Says(said)]);
        let reply = send(&server, "", &plain());
        assert_eq!((text(&reply, "kind"), text(&reply, "code"), &reply["status"]), (kind, code, &status), "{said}: {reply}");
        assert_eq!(server.letters(), []);
        let message = text(&reply, "message");
        assert!(message.contains(server.address()) && (status.is_null() || message.contains(&said[4..])), "{message}");
    }
}

#[test]
fn a_recipient_that_is_refused_is_named_and_nobody_gets_the_letter() {
    let server = MailServer::start();
    server.does(Turn::Recipient, &[Act::Well, Act::Says("550 nobody of that name")]);
    let reply = send(&server, "retry: 3", &json!({ "to": ["ada@example.com", "nobody@example.com"], "subject": "s" }));
    let expected = format!("{} answered 550 to the recipient nobody@example.com: nobody of that name", server.address());
    assert_eq!((text(&reply, "kind"), text(&reply, "message")), ("invalid", expected.as_str()));
    assert_eq!((server.letters().len(), server.heard().iter().filter(|line| line.starts_with("RCPT")).count()), (0, 2));
}

#[test]
fn nobody_there_and_hanging_up_may_pass() {
    let server = MailServer::start();
    server.does(Turn::Sender, &[Act::HangsUp]);
    let reply = send(&server, "", &plain());
    assert_eq!((text(&reply, "kind"), text(&reply, "code")), ("transient", "connection"), "{reply}");
    let bench = Bench::empty();
    bench.write("post.yaml", pipeline("127.0.0.1:1", "tls: none", ""));
    let reply = bench.run(&["run", "post.yaml", "--input", &plain().to_string()], b"").objects().remove(0);
    assert_eq!((text(&reply, "kind"), text(&reply, "code")), ("transient", "connection"), "{reply}");
}

#[test]
fn a_server_that_says_nothing_is_left_when_the_time_is_up() {
    let server = MailServer::start();
    server.does(Turn::Content, &[Act::Silent]);
    let reply = send(&server, "timeout: 200ms", &plain());
    assert_eq!(text(&reply, "kind"), "timeout", "{reply}");
    server.wait_for_hang_ups(1);
}

#[test]
fn a_server_that_does_not_say_good_bye_has_the_letter_all_the_same() {
    let server = MailServer::start();
    server.does(Turn::Quit, &[Act::Silent]);
    let reply = send(&server, "", &plain());
    assert_eq!((server.letters().len(), &reply["accepted"]), (1, &json!(["ada@example.com"])));
}

#[test]
fn a_login_is_made_and_its_words_are_shown_nowhere() {
    let bench = Bench::empty().with("SMTP_USER", "shopkeeper").with("SMTP_PASSWORD", "hunter2-of-the-shop");
    let server = MailServer::start();
    server.wants("shopkeeper", "hunter2-of-the-shop");
    let config = "tls: none, user: '${secret.SMTP_USER}', password: '${secret.SMTP_PASSWORD}'";
    bench.write("post.yaml", pipeline(server.address(), config, ""));
    let run = || bench.run(&["run", "post.yaml", "--events", "json", "--input", &plain().to_string()], b"");
    let replied = |out: &[Json]| out.iter().find(|event| event["event"] == "replied").expect("a reply")["reply"].clone();
    let ended = run();
    assert_eq!(replied(&ended.objects())["accepted"], json!(["ada@example.com"]), "{}", ended.err);
    // Another password: the server refuses, and says in its words both what it heard and what it wanted to hear.
    server.wants("shopkeeper", "another");
    let refused = run();
    let reply = replied(&refused.objects());
    let expected = format!("{} answered 535 to the login; look at `user` and `password`", server.address());
    assert_eq!((text(&reply, "kind"), text(&reply, "message")), ("denied", expected.as_str()));
    let proof = server.heard().into_iter().find_map(|line| Some(line.strip_prefix("AUTH PLAIN ")?.to_owned())).expect("a login");
    for shown in [&ended.out, &ended.err, &refused.out, &refused.err] {
        assert!(!shown.contains("hunter2") && !shown.contains(&proof), "{shown}");
    }
}

#[test]
fn without_the_tls_that_was_asked_for_nothing_is_said() {
    let server = MailServer::start();
    let bench = Bench::empty().with("P", "hunter2");
    bench.write("post.yaml", pipeline(server.address(), "user: '${secret.P}', password: '${secret.P}'", ""));
    let reply = bench.run(&["run", "post.yaml", "--input", &plain().to_string()], b"").objects().remove(0);
    assert_eq!((text(&reply, "kind"), text(&reply, "code")), ("permanent", "tls"));
    assert!(server.heard().iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{:?}", server.heard());
}

#[test]
fn what_is_not_granted_is_refused_with_the_yaml_to_add() {
    let server = MailServer::start();
    let reply = send(&server, "", &json!({ "to": "ada@example.com", "subject": "s", "from": "boss@example.com" }));
    let expected = "mail may not write as boss@example.com; to allow it, write under executors: mail: config: { from: ['The Shop \
                    <shop@example.com>', 'desk@example.com', 'boss@example.com'] }";
    assert_eq!((text(&reply, "kind"), text(&reply, "message")), ("denied", expected));
    let bench = Bench::empty();
    bench.write("post.yaml", pipeline(server.address(), "tls: none", "").replace("    grants:", "    #"));
    let ended = bench.run(&["run", "post.yaml", "--input", &plain().to_string()], b"");
    let reply = ended.objects().remove(0);
    let expected = "mail has no mail server granted; to allow it, write under executors: mail: grants: { mail: ['mail.example.com:587'] }";
    assert_eq!((text(&reply, "kind"), text(&reply, "message")), ("denied", expected));
    assert!(ended.err.contains("W0551") && server.heard().is_empty(), "{}", ended.err);
}

#[test]
fn no_input_begins_another_header() {
    let server = MailServer::start();
    for input in [
        json!({ "to": "ada@example.com\r\nBcc: eve@example.com", "subject": "s" }),
        json!({ "to": "ada@example.com", "subject": "s\r\nBcc: eve@example.com" }),
        json!({ "to": "ada@example.com", "subject": "s", "headers": { "X-A": "b\nBcc: eve@example.com" } }),
        json!({ "to": "ada@example.com", "subject": "s", "headers": { "Bcc": "eve@example.com" } }),
        json!({ "to": [], "subject": "s" }),
    ] {
        let reply = send(&server, "retry: 3", &input);
        assert_eq!(text(&reply, "kind"), "invalid", "{input}: {reply}");
    }
    assert_eq!(server.heard(), [""; 0]);
}

#[test]
fn a_wrong_config_is_refused_before_anything_runs() {
    let bench = Bench::empty().with("P", "hunter2");
    let login = "user: '${secret.P}', password: '${secret.P}'";
    for (server, config, code, words) in [
        ("mail", "tls: none", "E0656", "mail.example.com:587"),
        ("127.0.0.1:25", "tls: maybe", "E0541", "starttls, tls or none"),
        ("127.0.0.1:25", "tls: none, user: '${secret.P}'", "E0541", "go together"),
        ("mail.example.com:25", &format!("tls: none, {login}"), "E0541", "hear the password"),
        ("127.0.0.1:25", "tls: none, user: me, password: x", "E0213", "secret"),
    ] {
        bench.write("post.yaml", pipeline(server, config, ""));
        let ended = bench.run(&["run", "post.yaml", "--input", &plain().to_string()], b"");
        assert!(ended.code != Some(0) && ended.err.contains(code) && ended.err.contains(words), "{config}: {}", ended.err);
    }
}

/// Sends one letter with a login through a server that speaks TLS, from a machine that trusts it or not.
fn send_secretly(server: &MailServer, tls: &str, trusted: bool) -> Json {
    let mut bench = Bench::empty().with("P", "hunter2");
    bench.write("trusted.pem", CERTIFICATE);
    if trusted {
        let file = bench.path("trusted.pem");
        bench = bench.with("SSL_CERT_FILE", file.to_str().expect("a path"));
    }
    let config = format!("tls: {tls}, user: '${{secret.P}}', password: '${{secret.P}}'");
    bench.write("post.yaml", pipeline(server.address(), &config, ""));
    bench.run(&["run", "post.yaml", "--input", &plain().to_string()], b"").objects().remove(0)
}

#[test]
fn letters_and_logins_go_through_tls() {
    for (offered, asked) in [(Tls::WhenAsked, "starttls"), (Tls::Always, "tls")] {
        let server = MailServer::with(offered);
        server.wants("hunter2", "hunter2");
        let reply = send_secretly(&server, asked, true);
        assert_eq!(reply["accepted"], json!(["ada@example.com"]), "{asked}: {reply}");
        assert_eq!(server.letters().len(), 1);
        let heard = server.heard();
        let at = |word: &str| heard.iter().position(|line| line.starts_with(word));
        assert!(at("STARTTLS") < at("AUTH") && (at("STARTTLS").is_some() == (asked == "starttls")), "{heard:?}");
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_told_nothing() {
    for (offered, asked) in [(Tls::WhenAsked, "starttls"), (Tls::Always, "tls")] {
        let server = MailServer::with(offered);
        server.wants("hunter2", "hunter2");
        let reply = send_secretly(&server, asked, false);
        assert_eq!((text(&reply, "kind"), text(&reply, "code")), ("permanent", "tls"), "{reply}");
        assert!(text(&reply, "message").contains("certificate"), "{reply}");
        assert!(server.heard().iter().all(|line| line.starts_with("EHLO") || line == "STARTTLS"), "{:?}", server.heard());
    }
}
