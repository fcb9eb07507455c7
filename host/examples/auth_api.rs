//! An API with tokens to try `pipelines/auth.yaml` with: the server of its tests, told by lines what to do.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the server is written for tests, and this is a program for one's own terminal"
)]

use auth_server::{AuthServer, PASSWORD};

#[path = "../../tests/it/program/auth_server.rs"]
mod auth_server;
#[path = "../../tests/it/program/http.rs"]
mod http;
#[path = "../../tests/it/program/shared.rs"]
mod shared;

fn main() {
    let server = AuthServer::start();
    println!("AUTH_API={}", server.origin());
    println!("The password is {PASSWORD}. Lines that it takes:");
    println!("  expire      the access token runs out");
    println!("  refuse      the next refresh is refused");
    println!("  together N  none whose token has run out is answered before N ask");
    println!("  asked       what was asked since the last time");
    println!("  tokens      all tokens that were given out");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("expire", _) => server.expire(),
            ("refuse", _) => server.refresh_fails(&[401]),
            ("together", number) => server.refuses_together(number.parse().unwrap_or(0)),
            ("asked", _) => server.asked().iter().for_each(|asked| println!("{asked}")),
            ("tokens", _) => server.tokens().iter().for_each(|token| println!("{token}")),
            _ => println!("expire, refuse, together N, asked or tokens"),
        }
    }
}
