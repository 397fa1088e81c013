//! Language, keyboard and time zone, in the files in which Debian keeps them.

use super::{PersonaliseError, Root};
use crate::glob::find;

/// The locale that libc has built in.
pub const DEFAULT: &str = "C.UTF-8";

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
    matches!(locale, "C" | "POSIX") || locale.eq_ignore_ascii_case("C.UTF-8") || locale == "C.utf8"
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
         line=$(grep -m 1 -F -e \"$locale \" $supported) || {{ echo \"$locale is not in $supported\" >&2; exit 1; }}\n\
         grep -q -x -F -e \"$line\" /etc/locale.gen || echo \"$line\" >> /etc/locale.gen\n\
         locale-gen\n"
    ))
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
    let text = format!(
        "XKBMODEL=\"{model}\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\n\
         XKBOPTIONS=\"{options}\"\n\nBACKSPACE=\"guess\"\n"
    );
    root.editor.change("etc/default/keyboard", 0o644, &text)?;
    // What console-setup computed for another keyboard; the machine computes it anew.
    root.editor.remove_all("etc/console-setup/cached_*")?;
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
    root.editor.symlink("etc/localtime", &format!("/{file}"))?;
    if root.has("etc/timezone") {
        root.editor.change("etc/timezone", 0o644, &format!("{zone}\n"))?;
    }
    Ok(())
}
