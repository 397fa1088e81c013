use super::*;

fn start(directory: &Path) -> SocketAddr {
    let server = Server::bind("localhost:0", directory).unwrap();
    let address = server.address().unwrap();
    thread::spawn(|| server.run(|_, _| {}));
    address
}

fn ask(address: SocketAddr, text: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(text.replace('\n', "\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_is_silent_keeps_nobody_away() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("pool")).unwrap();
    fs::write(directory.path().join("pool/a"), "0123456789").unwrap();
    let address = start(directory.path());
    let silent: Vec<TcpStream> =
        (0..CONNECTIONS + 12).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begun = Instant::now();
    assert!(get(address, "/pool/a").ends_with("0123456789"));
    assert!(begun.elapsed() < IDLE / 2, "{:?}", begun.elapsed());
    drop(silent);
    // Nor does who trickles.
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /pool/a HTTP/1.1\r\nX: ").unwrap();
    let mut writes = slow.try_clone().unwrap();
    let trickle = move || {
        while writes.write_all(b"x").is_ok() && begun.elapsed() < IDLE * 3 {
            thread::sleep(LOOK);
        }
    };
    let trickle = thread::spawn(trickle);
    let (begun, mut answer) = (Instant::now(), Vec::new());
    // Closed, or reset where bytes of the request were not read.
    let _ = slow.read_to_end(&mut answer);
    assert!(answer.is_empty() && begun.elapsed() < IDLE * 2, "{:?}", begun.elapsed());
    trickle.join().unwrap();
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\nConnection: close\n\n"))
}

#[test]
fn files_ranges_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("snapshots/1/pool")).unwrap();
    fs::create_dir_all(root.join("keys")).unwrap();
    fs::write(root.join("keys/secret"), "secret").unwrap();
    fs::write(root.join("snapshots/1/pool/a+b.deb"), "0123456789").unwrap();
    fs::write(root.join("snapshots/1/pool/.hidden"), "secret").unwrap();
    fs::create_dir_all(root.join("snapshots/.old-1/pool")).unwrap();
    fs::write(root.join("snapshots/.old-1/pool/a"), "secret").unwrap();
    std::os::unix::fs::symlink(root.join("keys/secret"), root.join("snapshots/1/pool/link"))
        .unwrap();
    std::os::unix::fs::symlink(root.join("keys"), root.join("snapshots/1/pool/keys")).unwrap();
    let pipe = root.join("snapshots/1/pool/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    std::os::unix::fs::symlink("snapshots/1", root.join(CURRENT)).unwrap();
    let address = start(root);

    let whole = get(address, "/pool/a%2Bb.deb");
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\n0123456789"));
    assert!(whole.contains("Content-Length: 10\r\n"), "{whole}");
    assert!(get(address, "/snapshots/1/pool/a+b.deb").ends_with("0123456789"));
    for path in [
        "/",
        "/pool",
        "/pool/",
        "/keys/secret",
        "/pool/../keys/secret",
        "/pool/%2e%2e/keys/secret",
        "/../keys/secret",
        "/snapshots/../keys/secret",
        "/snapshots/1/../../keys/secret",
        "//keys/secret",
        "/pool/.hidden",
        "/pool/missing",
        "/pool/link",
        "/pool/keys/secret",
        "/pool/pipe",
        "/snapshots/.old-1/pool/a",
        "/snapshots/1",
        "/current/pool/a+b.deb",
    ] {
        let answer = get(address, path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }

    let posted = ask(address, "POST /pool/a+b.deb HTTP/1.1\nConnection: close\n\n");
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("\r\nAllow: GET, HEAD\r\n"));
    let ranged = |range: &str| {
        let head = "GET /pool/a+b.deb HTTP/1.1\nConnection: close\n";
        ask(address, &format!("{head}Range: {range}\n\n"))
    };
    let part = ranged("bytes=4-");
    assert!(part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\n456789"), "{part}");
    assert!(part.contains("Content-Range: bytes 4-9/10\r\n"), "{part}");
    assert!(ranged("bytes=10-").contains("Content-Range: bytes */10\r\n"));
    assert!(ranged("bytes=10-").starts_with("HTTP/1.1 416 "));

    let date = whole.lines().find_map(|line| line.strip_prefix("Last-Modified: ")).unwrap();
    let head = "GET /pool/a+b.deb HTTP/1.1\nConnection: close\n";
    let unchanged = ask(address, &format!("{head}If-Modified-Since: {date}\n\n"));
    assert!(unchanged.starts_with("HTTP/1.1 304 ") && unchanged.ends_with("\r\n\r\n"));
    let other = ask(address, &format!("{head}Range: bytes=4-\nIf-Range: \"x\"\n\n"));
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    // Two requests at once, the first without a body in the answer.
    let two = ask(address, &format!("HEAD /pool/a+b.deb HTTP/1.1\n\n{head}\n"));
    assert_eq!(two.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(two.matches("0123456789").count(), 1);
    assert!(ask(address, "rubbish\n\n").starts_with("HTTP/1.1 400 "));
    assert!(ask(address, &"x".repeat(20_000)).starts_with("HTTP/1.1 4"));
}
