//! Small universes, each with one question.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use super::*;
use crate::deb::{IndexInfo, Pin, PinTarget, parse_packages};

/// An index from lines `name version | Field: value | …`.
fn index(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let mut parts = line.split(" | ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        text += &format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n");
        for field in parts {
            text += &format!("{}\n", field.replace('¦', "|"));
        }
        text.push('\n');
    }
    text
}

fn info(codename: &str, priority: i32) -> IndexInfo {
    IndexInfo { codename: codename.to_owned(), priority, ..IndexInfo::default() }
}

fn request(packages: &[&str]) -> Request {
    let packages = packages.iter().map(|name| (*name).to_owned()).collect();
    Request { packages, recommends: true, ..Request::default() }
}

/// `name version` of each package of the solution.
fn names(universe: &Universe<'_>, request: &Request) -> Result<Vec<String>, String> {
    let solution = solve(universe, request).map_err(|error| error.to_string())?;
    let one =
        |chosen: &Chosen<'_, '_>| format!("{} {}", chosen.package.name, chosen.package.version);
    Ok(solution.packages.iter().map(one).collect())
}

fn solved(lines: &[&str], asked: &Request) -> Result<Vec<String>, String> {
    let text = index(lines);
    let mut universe = Universe::new("amd64");
    universe.add(info("trixie", 500), parse_packages(&text));
    names(&universe, asked)
}

#[test]
fn alternatives_in_order_and_what_is_there_counts() {
    let lines = [
        "a 1 | Depends: b ¦ c",
        "b 1",
        "c 1",
        "d 1 | Depends: nothing ¦ c",
        "e 1 | Depends: v",
        "f 1 | Provides: v",
        "g 1 | Provides: v (= 2)",
        "h 1 | Depends: v (>= 2)",
    ];
    assert_eq!(solved(&lines, &request(&["a"])).unwrap(), ["a 1", "b 1"]);
    assert_eq!(solved(&lines, &request(&["c", "a"])).unwrap(), ["a 1", "c 1"]);
    assert_eq!(solved(&lines, &request(&["a", "d"])).unwrap(), ["a 1", "b 1", "c 1", "d 1"]);
    assert_eq!(solved(&lines, &request(&["h"])).unwrap(), ["g 1", "h 1"], "versioned only");
    // Nothing else decides: the one that apt saw last.
    assert_eq!(solved(&lines, &request(&["e"])).unwrap(), ["e 1", "g 1"]);
}

#[test]
fn what_a_set_lacks() {
    let lines = [
        "a 2 | Depends: v",
        "a 1",
        "b 1 | Provides: v",
        "c 1 | Conflicts: b",
        "d 1 | Essential: yes",
        "e 2 | Priority: required",
        "e 1",
    ];
    let text = index(&lines);
    let mut universe = Universe::new("amd64");
    universe.add(info("trixie", 500), parse_packages(&text));
    let of = |asked: &Request, set: &[&str]| {
        let label = |entry: &crate::deb::Entry<'_>| {
            format!("{} {}", entry.package.name, entry.package.version)
        };
        let entries = universe.entries().iter().zip(0..);
        let set = entries.filter(|(entry, _)| set.contains(&&*label(entry))).map(|(_, id)| id);
        lacking(&universe, asked, &set.collect()).join("; ")
    };
    let asked = request(&["a", "v"]);
    assert_eq!(of(&asked, &["a 2", "b 1"]), "");
    assert_eq!(of(&asked, &["a 1"]), "\"v\", which is asked for, is not there");
    assert_eq!(of(&request(&["a"]), &["a 1"]), "", "any version will do");
    for text in ["a=2", "a/trixie"] {
        let told = format!("{text:?}, which is asked for, is not there");
        assert_eq!(of(&request(&[text]), &["a 1"]), told);
    }
    assert_eq!(of(&request(&[]), &["a 2"]), "a 2: Depends: v does not hold");
    assert_eq!(of(&request(&[]), &["b 1", "c 1"]), "c 1: Conflicts: b does not hold");
    // An older version of e is not required, so it need not be there.
    let implied = Request { essential: true, priority: Some(Priority::Required), ..request(&[]) };
    assert_eq!(of(&implied, &[]), "\"d\", which is essential or of the priority, is not there");
    assert_eq!(of(&implied, &["d 1"]), "");
    let mut excluding = implied;
    excluding.policy.excluded.insert("d".to_owned());
    assert_eq!(of(&excluding, &[]), "");
}

#[test]
fn recommended_ones_as_far_as_they_fit() {
    let lines = [
        "a 1 | Depends: b | Recommends: c, x, d",
        "b 1 | Conflicts: c",
        "c 1",
        "d 1 | Depends: gone",
        "e 1 | Recommends: f",
        "f 1",
    ];
    assert_eq!(solved(&lines, &request(&["a", "e"])).unwrap(), ["a 1", "b 1", "e 1", "f 1"]);
    let without = Request { recommends: false, ..request(&["e"]) };
    assert_eq!(solved(&lines, &without).unwrap(), ["e 1"]);
}

#[test]
fn why_a_package_that_cannot_be_read_cannot_be_had() {
    let lines = ["a 1 | Depends: b", "b 2 | Depends: c (>> ", "c 1", "d 1 | Depends: e", "e 1"];
    assert_eq!(solved(&lines, &request(&["d"])).unwrap(), ["d 1", "e 1"], "the others are there");
    let error = solved(&lines, &request(&["b"])).unwrap_err();
    let why = "b 2 in trixie/ cannot be read: line 9: Depends: a bracket is not closed: \"(>>\"";
    assert_eq!(error, format!("there is no package \"b\"; {why}"));
    let error = solved(&lines, &request(&["a"])).unwrap_err();
    let step = format!("a 1 has Depends: b [{why}], which no package satisfies");
    assert!(error.contains(&step), "{error}");
    // A version that can be read is as good as ever.
    let older = [&lines[..], &["b 1"]].concat();
    assert_eq!(solved(&older, &request(&["a"])).unwrap(), ["a 1", "b 1"]);
    let error = solved(&older, &request(&["b=2"])).unwrap_err();
    assert!(
        error.contains("there is 1 in trixie (priority 500); b 2 in trixie/ cannot"),
        "{error}"
    );
}

#[test]
fn a_search_where_apts_way_ends() {
    // b is taken first, and c needs what it conflicts with.
    let lines = ["a 1 | Depends: b ¦ d, c", "b 1 | Conflicts: e", "c 1 | Depends: e", "d 1", "e 1"];
    assert_eq!(solved(&lines, &request(&["a"])).unwrap(), ["a 1", "c 1", "d 1", "e 1"]);
}

#[test]
fn recommended_ones_that_do_not_fit_go_back() {
    let lines = [
        "a 1 | Recommends: p, v, w",
        "b 1 | Recommends: v",
        "p 1 | Conflicts: v",
        "v 1",
        "w 1 | Depends: v",
        "c 1 | Depends: p",
    ];
    // Only p says that it does not like v, and v comes later. Two want v, and one wants p.
    assert_eq!(solved(&lines, &request(&["a"])).unwrap(), ["a 1", "v 1", "w 1"]);
    // What is asked for, or needed for it, stays, and what needs the other one goes as well.
    assert_eq!(solved(&lines, &request(&["a", "p"])).unwrap(), ["a 1", "p 1"]);
    assert_eq!(solved(&lines, &request(&["b", "a", "c"])).unwrap(), ["a 1", "b 1", "c 1", "p 1"]);
    let error = solved(&lines, &request(&["c", "w"])).unwrap_err();
    assert!(error.starts_with("these packages cannot be installed together"), "{error}");
}

#[test]
fn after_a_search_recommended_ones_fit_too() {
    let lines = [
        "a 1 | Depends: b ¦ d, c | Recommends: p, v, x ¦ y",
        "b 1 | Conflicts: e",
        "c 1 | Depends: e",
        "d 1 | Conflicts: x",
        "e 1",
        "p 1 | Conflicts: v",
        "v 1",
        "x 1",
        "y 1",
    ];
    let found = solved(&lines, &request(&["a"])).unwrap();
    assert_eq!(found, ["a 1", "c 1", "d 1", "e 1", "p 1", "y 1"]);
}

#[test]
fn a_suite_is_for_what_a_package_needs_too() {
    let stable = index(&["k 1 | Depends: l (= 1)", "l 1", "m 1", "n 1", "r 1"]);
    let backports = index(&[
        "k 2 | Depends: l (= 2), n, f | Recommends: r (>= 2)",
        "l 2",
        "m 2",
        "n 2",
        "r 2",
        "f 2 | Depends: m (>= 2)",
    ]);
    let mut universe = Universe::new("amd64");
    for (name, priority, text) in [("trixie", 500, &stable), ("trixie-backports", 100, &backports)]
    {
        universe.add(info(name, priority), parse_packages(text));
    }
    let ask = |request: &Request| names(&universe, request);
    let wanted = request(&["k/trixie-backports"]);
    // Where a candidate does, as n does, it stays; m is needed by f, which is nowhere else.
    assert_eq!(ask(&wanted).unwrap(), ["f 2", "k 2", "l 2", "m 2", "n 1", "r 2"]);
    let mut other = Request { recommends: false, ..wanted.clone() };
    assert_eq!(ask(&other).unwrap(), ["f 2", "k 2", "l 2", "m 2", "n 1"]);
    assert_eq!(ask(&request(&["k"])).unwrap(), ["k 1", "l 1"]);
    // What is said of a package by name is stronger, and who asks hears which version would do.
    other.packages.push("m=1".to_owned());
    let error = ask(&other).unwrap_err();
    let told = "[m 2 in trixie-backports would do, but 1 is chosen]";
    assert!(error.contains(told), "{error}");
    let mut excluding = wanted;
    excluding.policy.excluded.insert("l".to_owned());
    let error = ask(&excluding).unwrap_err();
    assert!(error.contains("[l is excluded, or pinned away]"), "{error}");
}

#[test]
fn contradictions_in_words() {
    let lines = [
        "a 1 | Depends: b",
        "b 2 | Depends: c (>= 2)",
        "c 1",
        "d 1 | Breaks: e (<< 3)",
        "e 2",
        "f 1 | Depends: e",
    ];
    let error = solved(&lines, &request(&["a"])).unwrap_err();
    for step in [
        "a is asked for",
        "a 1 has Depends: b",
        "b 2 has Depends: c (>= 2), which no package satisfies",
    ] {
        assert!(error.contains(step), "{error}");
    }
    let error = solved(&lines, &request(&["f", "d"])).unwrap_err();
    assert!(error.contains("d 1 has Breaks: e (<< 3), and so cannot be beside e 2"), "{error}");
    assert!(error.contains("f 1 has Depends: e"), "{error}");
}

#[test]
fn names_that_are_not_there() {
    let lines = [
        "openssh-server 1",
        "x 1 | Provides: editor",
        "y 1 | Provides: editor",
        "z 1 | Provides: one",
    ];
    let error = solved(&lines, &request(&["openssh-sever"])).unwrap_err();
    assert_eq!(
        error,
        "there is no package \"openssh-sever\"; is one of these meant: openssh-server?"
    );
    let error = solved(&lines, &request(&["editor"])).unwrap_err();
    assert_eq!(error, "\"editor\" is provided by x, y; ask for one of them");
    assert_eq!(solved(&lines, &request(&["one"])).unwrap(), ["z 1"]);
    let excluded = Policy { excluded: ["x".to_owned()].into(), ..Policy::default() };
    let asked = Request { policy: excluded, ..request(&["editor"]) };
    assert_eq!(solved(&lines, &asked).unwrap(), ["y 1"]);
    let needs = ["a 1 | Depends: x (>= 1) | Recommends: y", "x 1"];
    let excluded = Policy { excluded: ["x".to_owned()].into(), ..Policy::default() };
    let error = solved(&needs, &Request { policy: excluded, ..request(&["a"]) }).unwrap_err();
    assert!(error.contains("Depends: x (>= 1) [x is excluded, or pinned away]"), "{error}");
    let error = solved(&lines, &request(&["x=2"])).unwrap_err();
    assert_eq!(error, "x: version 2 is not there; there is 1 in trixie (priority 500)");
}

#[test]
fn names_of_a_policy_that_are_not_there() {
    let text =
        index(&["nano 1 | Source: editors", "x 1 | Provides: editor", "y 1 | Provides: editor"]);
    let mut universe = Universe::new("amd64");
    universe.add(info("trixie", 500), parse_packages(&text));
    let pin = |packages: &[&str]| Pin {
        packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        target: PinTarget::parse("release *").unwrap(),
        priority: 1,
    };
    let policy = Policy {
        excluded: ["nanno", "editor", "na*", "y"].map(str::to_owned).into(),
        versions: [("nono".to_owned(), "1".to_owned())].into(),
        pins: vec![pin(&["na*", "src:editors", "*"]), pin(&["src:edit", "zfs*"])],
        ..Policy::default()
    };
    let solution = solve(&universe, &Request { policy, ..request(&["nano"]) }).unwrap();
    let unknown: Vec<String> = solution.unknown.iter().map(ToString::to_string).collect();
    let nothing = "so nothing comes of it";
    assert_eq!(
        unknown,
        [
            format!(
                "exclude: there is no package \"editor\", {nothing}; it is what others provide, as x, y"
            ),
            format!("exclude: there is no package \"na*\", {nothing}"),
            format!(
                "exclude: there is no package \"nanno\", {nothing}; is one of these meant: nano?"
            ),
            format!(
                "packages: there is no package \"nono\", {nothing}; is one of these meant: nano?"
            ),
            format!("pin: there is no package \"src:edit\", {nothing}"),
            format!("pin: there is no package \"zfs*\", {nothing}"),
        ]
    );
}

#[test]
fn essential_and_priorities() {
    let lines = [
        "a 1 | Essential: yes | Priority: required",
        "b 1 | Priority: important",
        "c 1 | Priority: standard",
        "d 1 | Priority: optional",
    ];
    let asked = Request { essential: true, ..Request::default() };
    assert_eq!(solved(&lines, &asked).unwrap(), ["a 1"]);
    let asked = Request { priority: Some(Priority::Important), ..asked };
    assert_eq!(solved(&lines, &asked).unwrap(), ["a 1", "b 1"]);
}

#[test]
fn optional_sets_never_cost_anything() {
    let lines = [
        "a 1 | Depends: b ¦ c",
        "b 1",
        "c 1",
        "bad 1 | Conflicts: b",
        "good 1 | Depends: more",
        "more 1",
    ];
    let text = index(&lines);
    let mut universe = Universe::new("amd64");
    universe.add(info("trixie", 500), parse_packages(&text));
    let set = |name: &str, package: &str| OptionalSet {
        name: name.to_owned(),
        packages: vec![package.to_owned()],
    };
    let optional = vec![set("one", "bad"), set("two", "good"), set("three", "gone")];
    let solution = solve(&universe, &Request { optional, ..request(&["a"]) }).unwrap();
    let names: Vec<&str> = solution.packages.iter().map(|chosen| chosen.package.name).collect();
    assert_eq!(names, ["a", "b", "good", "more"]);
    assert_eq!(solution.packages[2].reason, Reason::Optional("two".to_owned()));
    assert_eq!(
        solution.packages[3].reason,
        Reason::Needed { by: "good".to_owned(), kind: Kind::Depends }
    );
    let skipped: Vec<String> = solution.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(skipped.len(), 2);
    assert!(
        skipped[0].contains("bad 1 has Conflicts: b, and so cannot be beside b 1"),
        "{skipped:?}"
    );
    assert!(
        skipped[1].contains("\"three\" is left out: there is no package \"gone\""),
        "{skipped:?}"
    );
}

#[test]
fn pins_backports_and_security() {
    let stable = index(&["a 1", "b 1 | Depends: a (>= 2)", "zfs 1", "c 1"]);
    let security = index(&["c 1+deb13u1"]);
    let backports = index(&["a 2", "zfs 2", "new 1"]);
    let mut universe = Universe::new("amd64");
    for (name, priority, text) in [
        ("trixie", 500, &stable),
        ("trixie-security", 500, &security),
        ("trixie-backports", 100, &backports),
    ] {
        universe.add(info(name, priority), parse_packages(text));
    }
    let ask = |packages: &[&str], policy: Policy| {
        names(&universe, &Request { policy, ..request(packages) })
    };
    assert_eq!(ask(&["a", "c"], Policy::default()).unwrap(), ["a 1", "c 1+deb13u1"]);
    assert_eq!(ask(&["new"], Policy::default()).unwrap(), ["new 1"], "only there");
    assert_eq!(ask(&["a/trixie-backports", "b"], Policy::default()).unwrap(), ["a 2", "b 1"]);
    assert_eq!(ask(&["c=1"], Policy::default()).unwrap(), ["c 1"]);
    ask(&["b"], Policy::default()).unwrap_err();
    let pin = |packages: &str, target: &str, priority| Pin {
        packages: vec![packages.to_owned()],
        target: PinTarget::parse(target).unwrap(),
        priority,
    };
    let with = |pins: Vec<Pin>| Policy { pins, ..Policy::default() };
    let zfs = with(vec![pin("zfs*", "release n=trixie-backports", 990)]);
    assert_eq!(ask(&["zfs", "a"], zfs).unwrap(), ["a 1", "zfs 2"]);
    let all = with(vec![pin("*", "release n=trixie-backports", 500)]);
    assert_eq!(ask(&["zfs", "b"], all).unwrap(), ["a 2", "b 1", "zfs 2"]);
    let never = with(vec![pin("a", "release *", -1)]);
    let error = ask(&["a"], never).unwrap_err();
    assert!(
        error.starts_with("a: pins keep every version of it away; there is 2 in trixie-backports")
    );
    let old = with(vec![pin("c", "version 1", 1001)]);
    assert_eq!(ask(&["c"], old).unwrap(), ["c 1"]);
    let held = Policy { held: [("zfs".to_owned(), "2".to_owned())].into(), ..Policy::default() };
    assert_eq!(ask(&["zfs"], held.clone()).unwrap(), ["zfs 2"]);
    // Who asks for a version means it.
    assert_eq!(ask(&["zfs=1"], held).unwrap(), ["zfs 1"]);
}

#[test]
fn holds_are_of_what_is_there() {
    let mut policy = Policy::default();
    let locked = [("linux-image-6.1", "6.1"), ("linux-base", "4"), ("vim", "9")];
    let patterns = ["linux-image-*", "vim", "emacs"].map(str::to_owned);
    assert_eq!(policy.hold(&patterns, locked.into_iter()), ["emacs"]);
    let held: Vec<&str> = policy.held.keys().map(String::as_str).collect();
    assert_eq!(held, ["linux-image-6.1", "vim"]);

    // What comes in place of a version that is gone is what a hold is to prevent, also further below.
    let lines = ["a 1 | Recommends: vim", "linux-image-6.1 6.1", "vim 10"];
    let error = solved(&lines, &Request { policy: policy.clone(), ..request(&["a"]) }).unwrap_err();
    assert_eq!(
        error,
        "vim: it is held at 9, which no suite has any more; there is 10 in trixie (priority 500)"
    );
    policy.excluded.insert("vim".to_owned());
    assert_eq!(solved(&lines, &Request { policy, ..request(&["a"]) }).unwrap(), ["a 1"]);
}

#[test]
fn the_first_pin_that_fits_a_version_holds() {
    let text = index(&["a 1", "b 2"]);
    let newer = index(&["a 2"]);
    let mut universe = Universe::new("amd64");
    for (name, text) in [("trixie", &text), ("trixie-updates", &text), ("trixie-backports", &newer)]
    {
        universe.add(info(name, 500), parse_packages(text));
    }
    let pin = |target: &str, priority| Pin {
        packages: vec!["a".to_owned()],
        target: PinTarget::parse(target).unwrap(),
        priority,
    };
    let ask = |pins: Vec<Pin>| {
        let policy = Policy { pins, ..Policy::default() };
        names(&universe, &Request { policy, ..request(&["a"]) }).unwrap()
    };
    // It is for the version, though another suite, which is not pinned, has it as well.
    assert_eq!(ask(vec![pin("release trixie-backports", 400)]), ["a 1"]);
    assert_eq!(ask(vec![pin("version 2", 400), pin("release trixie", 300)]), ["a 2"]);
    assert_eq!(ask(vec![pin("release trixie-backports", 400), pin("version 2", 990)]), ["a 1"]);
}

#[test]
fn pins_that_change_nothing_are_told() {
    let text = index(&["a 1", "b 2"]);
    let mut universe = Universe::new("amd64");
    universe.add(info("trixie", 500), parse_packages(&text));
    let pin = |name: &str, target| Pin { packages: vec![name.to_owned()], target, priority: 990 };
    let version = |text: &str| PinTarget::Version(text.to_owned());
    let suite = |text: &str| PinTarget::Suite(text.to_owned());
    let pins = vec![
        pin("a", version("1*")),
        pin("a", version("2")),
        pin("b", suite("trixie")),
        pin("b", suite("trixie-backports")),
    ];
    let idle = Policy { pins, ..Policy::default() }.idle(&universe);
    assert_eq!(
        idle,
        [
            "pin: nothing is of version 2, so nothing comes of the pin of a",
            "pin: nothing is of release trixie-backports, so nothing comes of the pin of b",
        ]
    );
}

#[test]
fn a_set_that_does_not_hold_is_noticed() {
    let lines = [
        "a 1 | Depends: b (>= 2), v (>= 2) | Conflicts: v (<< 2)",
        "b 1",
        "c 1 | Provides: v (= 1)",
        "d 1 | Depends: b ¦ gone, v | Recommends: gone | Breaks: b (<< 1) | Provides: x | Conflicts: x",
        "e 1 | Depends: b",
    ];
    let text = index(&lines);
    let mut universe = Universe::new("amd64");
    let mut content = parse_packages(&text);
    // No index lets this through.
    content.packages[4].depends = "b (";
    universe.add(info("trixie", 500), content);
    let found = |set: &[VersionId]| check::broken(&universe, &set.iter().copied().collect());
    let of_a = ["a 1: Depends: b (>= 2)", "a 1: Depends: v (>= 2)"];
    assert_eq!(found(&[0]), of_a);
    assert_eq!(found(&[0, 1, 2]), [of_a[0], of_a[1], "a 1: Conflicts: v (<< 2)"]);
    assert_eq!(found(&[1, 2, 3]), [""; 0]);
    assert_eq!(found(&[3]), ["d 1: Depends: b | gone", "d 1: Depends: v"]);
    assert_eq!(found(&[1, 4]).len(), 1);
}

#[test]
fn architectures() {
    let lines = [
        "a 1 | Depends: perl:any, x [arm64], y [amd64]",
        "perl 1 | Multi-Arch: allowed",
        "y 1",
        "b 1 | Depends: y:any",
        "c 1 | Depends: y:i386",
    ];
    assert_eq!(solved(&lines, &request(&["a"])).unwrap(), ["a 1", "perl 1", "y 1"]);
    solved(&lines, &request(&["b"])).unwrap_err();
    solved(&lines, &request(&["c"])).unwrap_err();
}

#[test]
fn what_is_held_keeps_others_back() {
    let lines = [
        // Each pair of versions belongs together, and needs a base of its own.
        "base 1 | Breaks: lib (>= 2)",
        "base 2",
        "lib 1 | Depends: base (= 1)",
        "lib 2 | Depends: base (= 2)",
        "tool 1 | Depends: lib (= 1)",
        "tool 2 | Depends: lib (= 2)",
        "other 1",
        "other 2 | Depends: extra",
        "extra 2",
    ];
    let text = index(&lines);
    let mut universe = Universe::new("amd64");
    universe.add(info("trixie", 500), parse_packages(&text));
    let installed = [("base", "1"), ("lib", "1"), ("tool", "1"), ("other", "1")];
    let held = |name: &str| {
        let mut request = request(&["tool", "other"]);
        assert!(request.policy.hold(&[name.to_owned()], installed.into_iter()).is_empty());
        let solution = solve(&universe, &request).unwrap();
        let chosen = solution.packages.iter();
        let chosen: Vec<String> =
            chosen.map(|one| format!("{} {}", one.package.name, one.package.version)).collect();
        (chosen.join(", "), solution.kept_back)
    };
    let (chosen, kept) = held("lib");
    assert_eq!(chosen, "base 1, extra 2, lib 1, other 2, tool 1");
    let because = |name: &str| format!("{name} is kept back at 1: 2 does not fit what is held");
    assert_eq!(kept, [because("base"), because("tool")]);
    for name in ["base", "tool"] {
        assert_eq!(held(name).0, chosen, "{name}");
    }
    assert_eq!(held("other"), ("base 2, lib 2, other 1, tool 2".to_owned(), Vec::new()));
}
