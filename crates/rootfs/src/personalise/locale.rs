//! Language, keyboard and time zone, in the files in which Debian keeps them.

use tree::{Blobs, Tree};

use super::{PersonaliseError, Root};
use crate::edit;
use crate::glob::find;

/// The locale that libc has built in.
pub const DEFAULT: &str = "C.UTF-8";

/// The locales that [`script`] can compile, one a line before its character set; of the package locales.
const SUPPORTED: &str = "usr/share/i18n/SUPPORTED";

/// Where xkb-data has its layouts.
const SYMBOLS: &str = "usr/share/X11/xkb/symbols";

/// The keyboard, in the words of keyboard(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyboard {
    /// Layout, as `de`.
    pub layout: String,
    /// Variant, as `nodeadkeys`.
    pub variant: String,
    /// Model, as `pc105`.
    pub model: String,
    /// Options, as `ctrl:nocaps`.
    pub options: String,
}

/// Whether a locale needs no compiling.
fn is_built_in(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX" | "C.UTF-8" | "C.utf8")
}

/// The script that compiles a locale in the sandbox, as `dpkg-reconfigure locales` would; `None` where
/// there is nothing to compile.
pub fn script(locale: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    if is_built_in(locale) || !locale.bytes().all(plain) {
        return None;
    }
    Some(format!(
        "#!/bin/sh\n\
         set -e\n\
         locale='{locale}'\n\
         supported=/usr/share/i18n/SUPPORTED\n\
         test -e $supported || {{ echo \"no locales here: add the package locales\" >&2; exit 1; }}\n\
         while read -r name charset && test \"$name\" != \"$locale\"; do :; done <$supported\n\
         line=\"$name $charset\"\n\
         test -n \"$name\" || {{ echo \"locale = \\\"$locale\\\": there is no such locale in $supported\" >&2; exit 1; }}\n\
         grep -q -x -F -e \"$line\" /etc/locale.gen || echo \"$line\" >> /etc/locale.gen\n\
         locale-gen\n"
    ))
}

/// Whether [`script`] will find this locale in the root, which is known before anything runs there.
pub fn check(tree: &Tree, blobs: &dyn Blobs, locale: &str) -> Result<(), PersonaliseError> {
    if is_built_in(locale) {
        return Ok(());
    }
    let text = edit::text(tree, |file| blobs.open(&file.blob), SUPPORTED)?;
    let Some(text) = text else {
        return Err(PersonaliseError::Missing {
            what: format!("the locale {locale}"),
            path: format!("/{SUPPORTED}"),
            package: "locales".to_owned(),
        });
    };
    match text.lines().any(|line| line.split(' ').next() == Some(locale)) {
        true => Ok(()),
        false => Err(PersonaliseError::Locale(locale.to_owned())),
    }
}

pub(super) fn locale(root: &mut Root<'_>, locale: &str) -> Result<(), PersonaliseError> {
    let compiled = is_built_in(locale)
        || root.has("usr/lib/locale/locale-archive")
        || !find(root.editor.tree, "usr/lib/locale/*_*").is_empty();
    if !compiled {
        return Err(PersonaliseError::Missing {
            what: format!("the locale {locale}"),
            path: "/usr/lib/locale/locale-archive".to_owned(),
            package: "locales".to_owned(),
        });
    }
    // Debian 13 has a link here, to the file of systemd.
    let old = "etc/default/locale";
    let path =
        if root.editor.tree.get(old).is_some() && root.has(old) { old } else { "etc/locale.conf" };
    root.editor.change(path, 0o644, &format!("LANG={locale}\n"))?;
    if root.editor.tree.get(old).is_none() {
        root.editor.symlink(old, "../locale.conf")?;
    }
    Ok(())
}

pub(super) fn keyboard(root: &mut Root<'_>, keyboard: &Keyboard) -> Result<(), PersonaliseError> {
    let Keyboard { layout, variant, model, options } = keyboard;
    check_layouts(root, layout, variant)?;
    let text = format!(
        "XKBMODEL=\"{model}\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\n\
         XKBOPTIONS=\"{options}\"\n\nBACKSPACE=\"guess\"\n"
    );
    root.editor.change("etc/default/keyboard", 0o644, &text)?;
    // What console-setup computed for another keyboard; the machine computes it anew.
    root.editor.remove_all("etc/console-setup/cached_*")?;
    Ok(())
}

/// Each layout is a file of xkb-data, with its variants in it; lists have commas between. Roots without
/// these files get what they are told, as they may get the files later.
fn check_layouts(root: &Root<'_>, layouts: &str, variants: &str) -> Result<(), PersonaliseError> {
    if !root.has(SYMBOLS) {
        return Ok(());
    }
    let mut variants = variants.split(',');
    for layout in layouts.split(',').filter(|layout| !layout.is_empty()) {
        let file = format!("{SYMBOLS}/{layout}");
        let symbols = root.text(&file)?;
        let unknown = |key, value: &str, file: &str| {
            let (value, file) = (value.to_owned(), format!("/{file}"));
            Err(PersonaliseError::Keyboard { key, value, file })
        };
        if symbols.is_empty() {
            return unknown("layout", layout, SYMBOLS);
        }
        let variant = variants.next().unwrap_or_default();
        if !variant.is_empty() && !symbols.contains(&format!("xkb_symbols \"{variant}\"")) {
            return unknown("variant", variant, &file);
        }
    }
    Ok(())
}

pub(super) fn time_zone(root: &mut Root<'_>, zone: &str) -> Result<(), PersonaliseError> {
    let file = format!("usr/share/zoneinfo/{zone}");
    // Without a link, libc takes UTC.
    if zone == "Etc/UTC" && !root.has(&file) {
        return Ok(());
    }
    if !root.has(&file) {
        return Err(PersonaliseError::Missing {
            what: format!("the time zone {zone}"),
            path: format!("/{file}"),
            package: "tzdata (old names: tzdata-legacy)".to_owned(),
        });
    }
    // Directories of zones are there as well, and tables of them.
    if !root.editor.starts_with(root.blobs, &file, b"TZif")? {
        return Err(PersonaliseError::NoZone(zone.to_owned()));
    }
    root.editor.symlink("etc/localtime", &format!("/{file}"))?;
    if root.has("etc/timezone") {
        root.editor.change("etc/timezone", 0o644, &format!("{zone}\n"))?;
    }
    Ok(())
}
