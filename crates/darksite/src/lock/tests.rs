use super::*;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn text(packages: &[&str]) -> String {
    let mut text = format!(
        "kldload-lock 1\ndistribution debian trixie amd64\nrequest bash\n\
         pin 990 version 5.*: bash\npin -1 release sid: *\n\
         asked recommends false\nasked optional_sets lab.txt: a b\n\
         suite trixie 2025-05-17T08:05:41Z {EMPTY} 10 http://ftp.debian.org/debian\n\
         signature trixie {EMPTY} 3\n\
         index trixie {EMPTY} 0 main/binary-amd64/Packages.xz\n\
         suite trixie-security 2025-05-18T08:05:41Z {EMPTY} 10 file:/srv/with%20blank\n"
    );
    for package in packages {
        let (start, place) = package.split_once(" @").unwrap();
        text += &format!("package {start} 7 {EMPTY} {place} pool/x y.deb\n");
    }
    text
}

#[test]
fn read_and_written() {
    let text = text(&["a 1:1.0-1 amd64 @trixie/main", "b 2 all @trixie-security/updates/main"]);
    let lock = parse(&text).unwrap();
    assert_eq!(lock.to_string(), text);
    assert_eq!(lock.packages[1].component, "updates/main");
    assert_eq!(lock.packages[0].path, "pool/x y.deb");
    assert_eq!(lock.asked[0], ("recommends".to_owned(), "false".to_owned()));
    assert_eq!(lock.blobs().count(), 6);
    assert_eq!(lock.date().unwrap().to_string(), "2025-05-18T08:05:41Z");
}

#[test]
fn errors_name_the_line() {
    let good = text(&["a 1.0 amd64 @trixie/main"]);
    for (from, to, message) in [
        ("kldload-lock 1", "something", "line 1: this is not a lock"),
        ("kldload-lock 1", "kldload-lock 2", "version 2; this program knows version 1"),
        ("kldload-lock 1", "kldload-lock x", "\"x\" is not a version"),
        ("distribution debian trixie amd64\n", "", "line 1: the line \"distribution\" is missing"),
        ("debian trixie amd64", "debian ../../x amd64", "line 2: \"../../x\" is not a codename"),
        ("a 1.0 amd64", "a 1.0 ..", "line 12: \"..\" is not an architecture"),
        ("request bash", "reqest bash", "line 3: \"reqest\" is not a kind of line"),
        ("pool/x y.deb", "../x", "line 12: the path \"../x\""),
        (" 7 ", " seven ", "line 12: \"seven\" is not a size"),
        ("amd64 7", "amd64", "line 12"),
        ("trixie/main", "sid/main", "line 12: \"sid/main\" is of no suite"),
        ("index trixie", "index sid", "line 10: the suite sid has no line"),
        ("suite trixie-security", "suite trixie", "line 11: the suite trixie occurs a second time"),
        ("2025-05-17T08:05:41Z", "yesterday", "line 8: \"yesterday\" is not a date"),
        ("suite trixie ", "suite ../x ", "line 8: the path"),
        (" 7 ", " 18446744073709551615 ", "line 12: with a size of 18446744073709551615, all"),
        (" 0 main", " 1125899906842624 main", "line 10: with a size of 1125899906842624, all"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(message), "{error:?} does not tell {message:?}");
    }
    assert!(parse("").unwrap_err().to_string().starts_with("line 1: the header is expected"));
}

#[test]
fn differences() {
    let old = parse(&text(&[
        "down 2.0 amd64 @trixie/main",
        "gone 1 all @trixie/main",
        "same 1 amd64 @trixie/main",
        "sec 1.9 amd64 @trixie/main",
        "up 1.9 amd64 @trixie/main",
    ]));
    let new = parse(&text(&[
        "down 1.9 amd64 @trixie/main",
        "new 1 amd64 @trixie/main",
        "same 1 amd64 @trixie/main",
        "sec 1.10 amd64 @trixie-security/main",
        "up 1.10 all @trixie/main",
    ]));
    let (old, mut new) = (old.unwrap(), new.unwrap());
    let found: Vec<String> =
        difference(&old, &new).unwrap().iter().map(ToString::to_string).collect();
    let expected = [
        "security sec 1.9 -> 1.10 (trixie-security)",
        "upgraded up 1.9 -> 1.10 (trixie)",
        "downgraded down 2.0 -> 1.9 (trixie)",
        "added new - -> 1 (trixie)",
        "removed gone 1 -> - (trixie)",
    ];
    assert_eq!(found, expected);
    assert!(difference(&old, &old).unwrap().is_empty());
    new = old.clone();
    new.packages[2].blob.size += 1;
    assert_eq!(difference(&old, &new).unwrap()[0].change, Change::Rebuilt);
}
