//! The API as any HTTP client sees it: `curl --unix-socket`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::Topology;
use libtest_mimic::Trial;
use serde_json::Value;

use super::scene::{ECHO, Scene, UDP};
use super::trial::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "the API answers plain HTTP on its socket",
        plain_http,
    )]
}

fn plain_http() -> Result<()> {
    let scene = Scene::build(&Topology::two_nets())?;
    let socket = scene.lab().socket();
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "the socket has mode {mode:o}");

    let answer = request(&socket, "GET", "/healthz", "")?;
    ensure!(answer == (200, "ok\n".to_owned()), "{answer:?}");

    let body = r#"{"service": "echo", "changes": ["new=25"]}"#;
    let weights = json(&socket, "POST", "/v1/weights", body, 200)?;
    ensure!(
        weights["service"]["backends"][1]["after_percent"] == 25.0,
        "{weights}"
    );
    scene.ask_for_share(ECHO, 400, 0.25)?;

    let status = json(&socket, "GET", "/v1/status", "", 200)?;
    ensure!(status["services"][0]["source"] == "runtime", "{status}");
    let services = json(&socket, "GET", "/v1/services", "", 200)?;
    ensure!(
        services["services"].as_array().map(Vec::len) == Some(4),
        "{services}"
    );
    let backends = json(&socket, "GET", "/v1/backends", "", 200)?;
    let opened: u64 = [0, 1]
        .iter()
        .filter_map(|it| backends["backends"][*it]["counters"]["opened"].as_u64())
        .sum();
    ensure!(opened == 400, "400 flows were opened: {backends}");
    // Connections that are over are no flows; datagrams are until they have been silent for long.
    scene.ask_for_share(UDP, 20, 0.0)?;
    let flows = json(
        &socket,
        "GET",
        "/v1/flows?limit=3&service=echo-udp",
        "",
        200,
    )?;
    ensure!(
        flows["flows"].as_array().map(Vec::len) == Some(3),
        "{flows}"
    );
    ensure!(flows["more"] == true, "{flows}");
    let reasons = json(&socket, "GET", "/v1/reasons", "", 200)?;
    let counted = |verdict: &str| -> u64 {
        let all = reasons["reasons"].as_array().into_iter().flatten();
        all.filter(|it| it["verdict"] == verdict)
            .filter_map(|it| it["packets"].as_u64())
            .sum()
    };
    // At least SYN, ACK, question and FIN of each, and as much back.
    ensure!(counted("forward") >= 400 * 8, "{reasons}");
    ensure!(counted("drop") == 0, "{reasons}");

    for (method, path, body, status, code) in [
        ("GET", "/v1/nothing", "", 404, "not-found"),
        ("GET", "/v1/weights", "", 405, "not-found"),
        ("POST", "/v1/weights", "{", 400, "bad-request"),
        (
            "POST",
            "/v1/weights",
            r#"{"changes": ["new=1"], "extra": 1}"#,
            400,
            "bad-request",
        ),
        (
            "POST",
            "/v1/weights",
            r#"{"changes": ["new=1"]}"#,
            400,
            "service-required",
        ),
        (
            "POST",
            "/v1/weights",
            r#"{"service": "echo", "changes": ["new=101"]}"#,
            422,
            "bad-weights",
        ),
        (
            "POST",
            "/v1/weights",
            r#"{"service": "nothing", "changes": ["new=1"]}"#,
            404,
            "unknown-name",
        ),
        ("POST", "/v1/config", "interfaces = 1", 422, "bad-config"),
        (
            "POST",
            "/v1/config",
            "interfaces = [\"lo\"]",
            409,
            "needs-restart",
        ),
        ("GET", "/v1/flows?limit=some", "", 400, "bad-request"),
    ] {
        let failure = json(&socket, method, path, body, status)?;
        ensure!(failure["code"] == code, "{method} {path}: {failure}");
        ensure!(
            failure["error"].as_str().is_some_and(|it| !it.is_empty()),
            "{failure}"
        );
    }
    Ok(())
}

fn json(socket: &Path, method: &str, path: &str, body: &str, status: u16) -> Result<Value> {
    let (got, text) = request(socket, method, path, body)?;
    ensure!(got == status, "{method} {path}: {got} {text}");
    serde_json::from_str(&text).with_context(|| format!("{method} {path}: {text}"))
}

/// Status and body.
fn request(socket: &Path, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("read the answer")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}
