//! Servers of every bad kind: each case ends well or in one clear error, never in a wrong blob.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use darksite::Location;
use darksite::fetch::{Event, FetchError, Fetcher, Options, Proxies, Summary, Wanted};
use darksite::store::Store;
use tree::Digest;

use crate::server::{Answer, Server};
use crate::tls::TlsServer;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn wanted(content: &[u8], addresses: &[&str]) -> Wanted {
    let location = |address: &&str| address.parse::<Location>().unwrap().join("pool/a.deb");
    Wanted {
        name: "pool/a.deb".to_owned(),
        locations: addresses.iter().map(location).collect(),
        archives: Vec::new(),
        digest: Digest::of(content),
        size: content.len() as u64,
    }
}

fn quick() -> Options {
    let (pause, silence) = (Duration::from_millis(1), Duration::from_secs(20));
    Options { rounds: 3, pause, silence, ..Options::default() }
}

/// Fetches into a fresh store, and looks at what is in it after.
fn fetch(wanted: &[Wanted]) -> (Result<Summary, FetchError>, usize) {
    fetch_with(quick(), wanted)
}

fn fetch_with(options: Options, wanted: &[Wanted]) -> (Result<Summary, FetchError>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let result = Fetcher::new(options).unwrap().all(&store, wanted, &|_| {});
    let blobs = store.list().unwrap();
    for (blob, _) in &blobs {
        store.verify(blob).unwrap();
    }
    (result, blobs.len())
}

fn fails(wanted: &[Wanted], with: &str) {
    let (result, blobs) = fetch(wanted);
    let error = result.unwrap_err().to_string();
    assert!(error.contains(with), "{error:?} does not tell {with:?}");
    assert!(error.contains("pool/a.deb"), "{error}");
    assert_eq!(blobs, 0);
}

fn succeeds(wanted: &[Wanted]) {
    let (result, blobs) = fetch(wanted);
    assert_eq!(result.unwrap().fetched, 1);
    assert_eq!(blobs, 1);
}

#[test]
fn a_good_server_and_a_directory() {
    let data = content(300_000);
    let body = data.clone();
    let server = Server::start(move |request| {
        assert_eq!(request.path, "/pool/a.deb");
        Answer::full(&body)
    });
    succeeds(&[wanted(&data, &[&server.address])]);

    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("pool")).unwrap();
    std::fs::write(directory.path().join("pool/a.deb"), &data).unwrap();
    let address = format!("file:{}", directory.path().display());
    succeeds(&[wanted(&data, &[&address])]);
    fails(&[wanted(b"other", &[&address])], "300000 bytes, 5 are expected");
    fails(&[wanted(b"other", &["file:/nowhere"])], "not found");
    fails(&[wanted(b"other", &[])], "there is no mirror to ask");
}

#[test]
fn nothing_is_fetched_twice() {
    let data = content(1000);
    let body = data.clone();
    let server = Server::start(move |_| Answer::full(&body));
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let fetcher = Fetcher::new(quick()).unwrap();
    let file = wanted(&data, &[&server.address]);
    let all = [file.clone(), file];
    let summary = fetcher.all(&store, &all, &|_| {}).unwrap();
    assert_eq!(summary, Summary { fetched: 1, kept: 0, bytes: 1000 });
    let summary = fetcher.all(&store, &all, &|_| {}).unwrap();
    assert_eq!(summary, Summary { fetched: 0, kept: 2, bytes: 0 });
    assert_eq!(server.requests(), 1);
}

#[test]
fn server_errors_pass_or_are_told() {
    let data = content(1000);
    let body = data.clone();
    let server =
        Server::start(
            move |request| {
                if request.number < 2 { Answer::status(503) } else { Answer::full(&body) }
            },
        );
    succeeds(&[wanted(&data, &[&server.address])]);

    let server = Server::start(|_| Answer::status(500));
    fails(&[wanted(&data, &[&server.address])], "status 500");
    assert_eq!(server.requests(), 3);

    // What will not change is not asked again.
    let server = Server::start(|_| Answer::status(403));
    fails(&[wanted(&data, &[&server.address])], "status 403");
    assert_eq!(server.requests(), 1);
}

#[test]
fn wrong_bytes_pass_or_are_told() {
    let data = content(200_000);
    let mut wrong = data.clone();
    wrong[100_000] ^= 1;
    let (good, bad) = (data.clone(), wrong.clone());
    let server =
        Server::start(move |request| Answer::full(if request.number == 0 { &bad } else { &good }));
    succeeds(&[wanted(&data, &[&server.address])]);
    let server = Server::start(move |_| Answer::full(&wrong));
    fails(&[wanted(&data, &[&server.address])], "wrong content");
}

#[test]
fn short_answers_are_continued() {
    let data = content(2_000_000);
    let body = data.clone();
    let server = Server::start(move |request| Answer::range(&body, request).cut(400_000));
    succeeds(&[wanted(&data, &[&server.address])]);
    assert_eq!(server.requests(), 5);

    // A server that cannot continue, and breaks off once.
    let body = data.clone();
    let server = Server::start(move |request| {
        let full = Answer::full(&body);
        if request.number == 0 { full.cut(500_000) } else { full }
    });
    succeeds(&[wanted(&data, &[&server.address])]);

    // One that has nothing more to say, and one that tells of no length.
    let body = data.clone();
    let server = Server::start(move |request| Answer::range(&body, request).cut(0));
    fails(&[wanted(&data, &[&server.address])], "pool/a.deb");
}

#[test]
fn a_partial_file_that_is_wrong_is_begun_again() {
    let data = content(100_000);
    let body = data.clone();
    let server = Server::start(move |request| Answer::range(&body, request));
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let file = wanted(&data, &[&server.address]);
    for left_over in [b"wrong".to_vec(), vec![0; 100_000], vec![0; 100_001]] {
        let name = directory.path().join("partial").join(file.digest.to_string());
        std::fs::write(name, left_over).unwrap();
        let fetcher = Fetcher::new(quick()).unwrap();
        assert_eq!(fetcher.all(&store, std::slice::from_ref(&file), &|_| {}).unwrap().fetched, 1);
        store.verify(&file.digest).unwrap();
        store.remove(&file.digest).unwrap();
    }
}

#[test]
fn endless_and_lying_answers_are_bounded() {
    let data = content(1000);
    let long = content(500_000);
    let server = Server::start(move |_| {
        let mut answer = Answer::full(&long);
        // Chunks have no length that could be looked at first.
        answer.headers.push("X-Other: 1".to_owned());
        answer
    });
    fails(&[wanted(&data, &[&server.address])], "500000 bytes, 1000 are expected");
}

#[test]
fn silence_passes_or_is_told() {
    let data = content(1000);
    let body = data.clone();
    let server = Server::start(move |request| Answer {
        silence: Duration::from_millis(if request.number == 0 { 3000 } else { 1 }),
        ..Answer::range(&body, request)
    });
    let silence = Duration::from_millis(500);
    // A busy machine may be slow as well.
    let options = Options { rounds: 20, silence, ..quick() };
    let (result, _) = fetch_with(options, &[wanted(&data, &[&server.address])]);
    assert_eq!(result.unwrap().fetched, 1);

    let body = data.clone();
    let server = Server::start(move |_| Answer {
        silence: Duration::from_millis(3000),
        ..Answer::full(&body)
    });
    let options = Options { rounds: 2, silence, ..quick() };
    let (result, blobs) = fetch_with(options, &[wanted(&data, &[&server.address])]);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("no answer in time"), "{error}");
    assert_eq!(blobs, 0);
}

#[test]
fn a_drop_now_and_then_is_as_good_as_silence() {
    let data = content(1000);
    let body = data.clone();
    let server = Server::start(move |request| Answer {
        drip: Duration::from_millis(if request.number == 0 { 200 } else { 0 }),
        ..Answer::full(&body)
    });
    let options = Options { silence: Duration::from_millis(1000), ..quick() };
    let begun = Instant::now();
    let (result, _) = fetch_with(options, &[wanted(&data, &[&server.address])]);
    assert_eq!(result.unwrap().fetched, 1);
    // The whole of the first answer takes 200 s.
    assert!(server.requests() > 1 && begun.elapsed() < Duration::from_secs(150));
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let data = content(1000);
    let body = data.clone();
    let server = Server::start(move |request| match &*request.path {
        "/pool/a.deb" => {
            Answer { headers: vec!["Location: /elsewhere/a.deb".to_owned()], ..Answer::status(302) }
        }
        _ => Answer::full(&body),
    });
    succeeds(&[wanted(&data, &[&server.address])]);
    let server = Server::start(|_| Answer {
        headers: vec!["Location: /pool/a.deb".to_owned()],
        ..Answer::status(302)
    });
    fails(&[wanted(&data, &[&server.address])], "redirects to more than 10 times");
    // It will not end tomorrow either.
    assert_eq!(server.requests(), 11);
}

fn to(address: String) -> Server {
    Server::start(move |_| Answer {
        headers: vec![format!("Location: {address}")],
        ..Answer::status(301)
    })
}

#[test]
fn redirects_between_http_and_https() {
    let data = content(1000);
    let Some(secure) = TlsServer::start("pool/a.deb", &data) else { return };
    let server = to(format!("{}/pool/a.deb", secure.address));
    let trusting = Options { certificates: Some(secure.certificate()), ..quick() };
    // The authorities that count are those of the address it leads to.
    let (result, _) = fetch_with(trusting.clone(), &[wanted(&data, &[&server.address])]);
    assert_eq!(result.unwrap().fetched, 1);
    fails(&[wanted(&data, &[&server.address])], "certificate");
    // So do the proxies: this one serves http: only.
    let proxy = Server::start(|_| Answer::status(418));
    let proxies = Proxies { http: Some(proxy.address), ..Proxies::default() };
    let (result, _) =
        fetch_with(Options { proxies, ..trusting }, &[wanted(&data, &[&secure.address])]);
    assert_eq!(result.unwrap().fetched, 1);

    let body = data.clone();
    let plain = Server::start(move |_| Answer::full(&body));
    let answer =
        format!("HTTP/1.0 302 x\r\nLocation: {}/a\r\nContent-Length: 0\r\n\r\n", plain.address);
    let secure = TlsServer::answering("pool/a.deb", answer.as_bytes()).unwrap();
    let trusting = Options { certificates: Some(secure.certificate()), ..quick() };
    let (result, blobs) = fetch_with(trusting, &[wanted(&data, &[&secure.address])]);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("not encrypted any more") && blobs == 0, "{error}");
    assert_eq!(plain.requests(), 0);

    fails(
        &[wanted(&data, &[&to("ftp://x.example/a".to_owned()).address])],
        "only http: and https: are known",
    );
}

#[test]
fn proxies_of_another_kind_are_refused() {
    for address in ["socks5://me:secret@127.0.0.1:1080", "socks5h://127.0.0.1:1080", "ssh://x"] {
        for (http, https) in [(Some(address), None), (None, Some(address))] {
            let (http, https) = (http.map(str::to_owned), https.map(str::to_owned));
            let proxies = Proxies { http, https, ..Proxies::default() };
            let error = Fetcher::new(Options { proxies, ..quick() }).unwrap_err().to_string();
            assert!(error.contains("cannot be used") && !error.contains("secret"), "{error}");
            assert!(error.contains("SOCKS") || address == "ssh://x", "{error}");
        }
    }
}

#[test]
fn an_archive_is_asked_when_no_mirror_delivers() {
    let data = content(1000);
    let archive = |body: Vec<u8>| Server::start(move |_| Answer::full(&body));
    let with = |address: &str, archive: &Server| {
        let archives = wanted(&data, &[&archive.address]).locations;
        Wanted { archives, ..wanted(&data, &[address]) }
    };
    let body = data.clone();
    let hiccups = Server::start(move |request| {
        let full = Answer::full(&body);
        if request.number < 2 { full.cut(10) } else { full }
    });
    let unasked = archive(data.clone());
    succeeds(&[with(&hiccups.address, &unasked)]);
    assert_eq!(unasked.requests(), 0);

    let missing = Server::start(|_| Answer::status(404));
    succeeds(&[with(&missing.address, &archive(data.clone()))]);
    assert_eq!(missing.requests(), 1);
    succeeds(&[with("http://127.0.0.1:1", &archive(data.clone()))]);
    fails(&[with(&missing.address, &archive(b"other".to_vec()))], &missing.address);
}

#[test]
fn the_next_mirror_helps() {
    let data = content(1000);
    let body = data.clone();
    let good = Server::start(move |_| Answer::full(&body));
    let stale = Server::start(|_| Answer::full(b"older"));
    let missing = Server::start(|_| Answer::status(404));
    let dead = "http://127.0.0.1:1";
    let places = [dead, &stale.address, &missing.address, &good.address];
    let events = Mutex::new(Vec::new());
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let file = wanted(&data, &places);
    Fetcher::new(quick())
        .unwrap()
        .all(&store, &[file], &|event| {
            if let Event::Retry { problem, .. } = event {
                events.lock().unwrap().push(problem.to_string());
            }
        })
        .unwrap();
    let events = events.into_inner().unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events[1].contains("another state") && events[2].contains("not found"), "{events:?}");
    fails(&[wanted(&data, &places[..3])], "127.0.0.1");
}

/// So many files of `server`, called by their numbers; each is 1000 bytes and its number long.
fn numbered(server: &Server, files: usize) -> Vec<Wanted> {
    let base: Location = server.address.parse().unwrap();
    let wanted = |number| {
        let data = content(1000 + number);
        Wanted {
            name: format!("pool/a.deb/{number}"),
            locations: vec![base.join(&format!("pool/{number}"))],
            archives: Vec::new(),
            digest: Digest::of(&data),
            size: data.len() as u64,
        }
    };
    (0..files).map(wanted).collect()
}

#[test]
fn a_slow_server_is_asked_for_as_many_files_as_are_allowed_but_no_more() {
    // More than this machine has processors, so that what was begun with is not enough.
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + 4;
    // Nobody gets an answer before so many ask at the same time.
    let together = Barrier::new(threads);
    let asking = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&asking), Arc::clone(&most));
    let server = Server::start(move |request| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        together.wait();
        now.fetch_sub(1, Ordering::SeqCst);
        let number = request.path.rsplit('/').next().unwrap().parse::<usize>().unwrap();
        Answer::full(&content(1000 + number))
    });
    let files = numbered(&server, threads * 3);
    let (result, blobs) = fetch_with(Options { threads, ..quick() }, &files);
    assert_eq!(result.unwrap().fetched, files.len());
    assert_eq!(blobs, files.len());
    assert_eq!(server.requests(), files.len(), "nobody waited in vain");
    assert_eq!(most.load(Ordering::SeqCst), threads);
}

#[test]
fn many_files_one_of_them_missing() {
    let server = Server::start(|request| match request.path.rsplit('/').next().unwrap() {
        "17" => Answer::status(404),
        name => Answer::full(&content(1000 + name.parse::<usize>().unwrap())),
    });
    let (result, blobs) = fetch(&numbered(&server, 40));
    let error = result.unwrap_err().to_string();
    assert!(error.starts_with("cannot fetch pool/a.deb/17: http://127.0.0.1:"), "{error}");
    assert!(error.ends_with("/pool/17: not found"), "{error}");
    assert_eq!(blobs, 39);
}

#[test]
fn small_files_without_a_digest() {
    let server = Server::start(|request| match &*request.path {
        "/InRelease" => Answer::full(b"signed"),
        "/short" => Answer::full(b"signed").cut(3),
        _ => Answer::status(404),
    });
    let base: Location = server.address.parse().unwrap();
    let fetcher = Fetcher::new(quick()).unwrap();
    let get = |name: &str, limit| fetcher.small(name, &[base.join(name)], limit, &|_| {});
    let (bytes, place) = get("InRelease", 100).unwrap();
    assert_eq!((bytes.as_slice(), place), (&b"signed"[..], base.join("InRelease")));
    assert!(get("InRelease", 5).unwrap_err().to_string().contains("longer than 5 bytes"));
    assert!(get("Release", 100).unwrap_err().is_not_found_somewhere());
    assert!(!get("short", 100).unwrap_err().is_not_found_somewhere());
}

#[test]
fn the_rate_is_kept() {
    let data = content(200_000);
    let body = data.clone();
    let server = Server::start(move |_| Answer::full(&body));
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let options = Options { rate: NonZeroU64::new(400_000), ..quick() };
    let before = std::time::Instant::now();
    let fetcher = Fetcher::new(options).unwrap();
    fetcher.all(&store, &[wanted(&data, &[&server.address])], &|_| {}).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(450));
}

#[test]
fn proxies_get_whole_addresses_and_exceptions_none() {
    let data = content(1000);
    let body = data.clone();
    let proxy = Server::start(move |request| match &*request.path {
        "http://mirror.invalid/debian/pool/a.deb" => Answer::full(&body),
        _ => Answer::status(403),
    });
    let body = data.clone();
    let direct = Server::start(move |_| Answer::full(&body));
    for (address, asked) in [("http://mirror.invalid/debian", 1), (direct.address.as_str(), 0)] {
        let before = proxy.requests();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let proxies = Proxies {
            http: Some(proxy.address.replace("http://", "http://me:secret@")),
            https: None,
            except: "localhost,127.0.0.1".to_owned(),
        };
        let fetcher = Fetcher::new(Options { proxies, ..quick() }).unwrap();
        fetcher.all(&store, &[wanted(&data, &[address])], &|_| {}).unwrap();
        assert_eq!(proxy.requests() - before, asked);
    }
}

/// Hosts that nobody has, so that what is asked directly comes to nothing.
#[test]
fn exceptions_are_those_of_curl() {
    let curl = std::process::Command::new("curl").arg("--version").output();
    let curl = curl.is_ok_and(|output| output.status.success());
    if !curl {
        eprintln!("skipped: no curl here that would judge");
    }
    let data = content(10);
    let body = data.clone();
    let proxy = Server::start(move |_| Answer::full(&body));
    for (except, host, direct) in [
        ("debian.invalid", "debian.invalid", true),
        ("debian.invalid", "deb.debian.invalid", true),
        (".debian.invalid", "deb.debian.invalid", true),
        (".debian.invalid", "debian.invalid", true),
        ("a.invalid, debian.INVALID", "deb.Debian.invalid", true),
        ("debian.invalid", "notdebian.invalid", false),
        ("debian.invalid", "debian.invalid.invalid", false),
        ("deb.debian.invalid", "debian.invalid", false),
        ("*", "deb.debian.invalid", true),
        ("127.0.0.0/8", "127.1.2.3:1", true),
        ("127.0.0.0/16", "127.1.2.3:1", false),
        ("1.2.3", "127.1.2.3:1", false),
    ] {
        let address = format!("http://{host}");
        let asked = || proxy.requests();
        let before = asked();
        let proxies = Proxies {
            http: Some(proxy.address.replace("http://", "http://me:secret@")),
            https: None,
            except: except.to_owned(),
        };
        let (result, _) =
            fetch_with(Options { proxies, rounds: 1, ..quick() }, &[wanted(&data, &[&address])]);
        assert_eq!(asked() - before, usize::from(!direct), "{except:?} {host}");
        match result {
            Ok(_) => assert!(!direct),
            Err(error) => {
                let error = error.to_string();
                assert!(direct && !error.contains("proxy"), "{except:?} {host}: {error}");
            }
        }
        if curl {
            let before = asked();
            let mut command = std::process::Command::new("curl");
            command.args(["-s", "-o", "/dev/null", "--proxy", &proxy.address, "--noproxy", except]);
            let status = command.arg(&address).status().unwrap();
            assert_eq!((status.success(), asked() - before), (!direct, usize::from(!direct)));
        }
    }
}

#[test]
fn errors_name_the_proxy_without_its_password() {
    let data = content(1000);
    let told = |proxy: String, address: &str| {
        let proxy = Some(proxy.replace("http://", "http://me:secret@"));
        let proxies = Proxies { http: proxy.clone(), https: proxy, ..Proxies::default() };
        let (result, _) =
            fetch_with(Options { proxies, rounds: 1, ..quick() }, &[wanted(&data, &[address])]);
        let error = result.unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains("me:"), "{error}");
        error
    };
    // Nobody listens where somebody did.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{nobody}");
    for address in ["http://mirror.invalid", "https://mirror.invalid"] {
        let error = told(nobody.clone(), address);
        let expected = format!("(through the proxy {nobody} of the environment)");
        assert!(error.contains(&expected), "{error}");
    }
    let refuses = Server::start(|_| Answer::status(407));
    let error = told(refuses.address.clone(), "http://mirror.invalid");
    let proxy = &refuses.address;
    let expected =
        format!("the answer, through the proxy {proxy} of the environment, has status 407");
    assert!(error.contains(&expected), "{error}");
    // What breaks off later, too.
    let body = data.clone();
    let cuts = Server::start(move |_| Answer::full(&body).cut(500));
    let error = told(cuts.address.clone(), "http://mirror.invalid");
    assert!(error.contains(&format!("through the proxy {} of", cuts.address)), "{error}");
}

#[test]
fn https_needs_an_authority_that_is_trusted() {
    let data = content(100_000);
    let Some(server) = TlsServer::start("pool/a.deb", &data) else { return };
    let file = [wanted(&data, &[&server.address])];
    let (result, blobs) = fetch(&file);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(blobs, 0);

    let trusting = |path: std::path::PathBuf| Options { certificates: Some(path), ..quick() };
    let (result, blobs) = fetch_with(trusting(server.certificate()), &file);
    assert_eq!(result.unwrap().fetched, 1);
    assert_eq!(blobs, 1);

    for (path, with) in [("/nowhere", "No such file"), ("/dev/null", "no certificate")] {
        let error = Fetcher::new(trusting(path.into())).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(with), "{error}");
    }
}
