//! Which way of drawing pictures this terminal can do, whether its background is dark or light, whether it reads UTF-8. A
//! variable of the environment is inherited by whatever is started from there, so none picks a protocol: the terminal is asked.
//! Variables only tell what need not be asked: a multiplexer between, or a terminal without graphics.

use super::{Colours, Images};
use crate::tui::input::{ATTRIBUTES, Answer};
use crate::workspace::Theme;

/// How pictures are drawn, and why so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// How; `auto` draws none yet.
    pub backend: Images,
    /// For people.
    pub why: String,
}

impl Choice {
    fn new(backend: Images, why: impl Into<String>) -> Self {
        Self { backend, why: why.into() }
    }
}

/// Programs between us and the terminal that let no pictures through: the variable that each sets, what `TERM` begins with in
/// it, and what it calls itself.
const MULTIPLEXERS: [(&str, &str, &str); 3] =
    [("TMUX", "tmux", "tmux"), ("STY", "screen", "screen"), ("ZELLIJ", "zellij", "Zellij")];

/// Terminals that know iTerm2's pictures, by what they call themselves.
const ITERM: [&str; 4] = ["iTerm2", "WezTerm", "mintty", "rio"];

/// Shows whether the terminal reads UTF-8: the letter, whose two bytes are two letters elsewhere; where is the cursor?
const READS_UTF8: &str = "\r\u{f1}\x1b[6n\r\x1b[2K";
const BACKGROUND: &str = "\x1b]11;?\x1b\\";
const KEYBOARD: &str = "\x1b[?u";
const VERSION: &str = "\x1b[>0q";
const GRAPHICS: &str = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\";

/// What the environment says of the terminal.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    term: String,
    multiplexer: Option<&'static str>,
    /// viuer prints iTerm2's pictures only where a variable names such a terminal.
    iterm: bool,
    utf8: bool,
}

impl Environment {
    /// That of this process.
    pub fn here() -> Self {
        Self {
            iterm: viuer::is_iterm_supported(),
            ..Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        }
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        let is_inside = |(set, begins, _): &&(&str, &str, &str)| variable(set).is_some() || term.starts_with(begins);
        let multiplexer = MULTIPLEXERS.iter().find(is_inside).map(|(_, name, _)| *name);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name));
        let utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { term, multiplexer, iterm: false, utf8 }
    }

    fn has_no_graphics(&self) -> bool {
        ["linux", "dumb", ""].contains(&self.term.as_str())
    }

    /// The choice that needs no answer of the terminal, if there is one.
    fn choice(&self, wanted: Images) -> Option<Choice> {
        match (wanted, self.multiplexer) {
            (Images::Auto, Some(name)) => Some(Choice::new(Images::Blocks, format!("{name} lets no pictures through"))),
            (Images::Auto, None) if self.has_no_graphics() => {
                Some(Choice::new(Images::Blocks, format!("the terminal {:?} has no graphics", self.term)))
            }
            (Images::Auto, None) => None,
            (wanted, _) => Some(Choice::new(wanted, "as asked")),
        }
    }
}

/// What was asked of a terminal, and what it has answered.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    environment: Environment,
    choice: Option<Choice>,
    theme: Option<Theme>,
    attributes: Option<String>,
    version: Option<String>,
    graphics: Option<bool>,
    keyboard: bool,
    utf8: Option<bool>,
    /// All of them: one that asks for graphics may come behind.
    asked_graphics: bool,
    /// No more answers come.
    over: bool,
}

impl Probe {
    /// Find out how `wanted` pictures are drawn; `theme` where it is set.
    pub fn new(wanted: Images, theme: Option<Theme>, environment: Environment) -> Self {
        let choice = environment.choice(wanted);
        let theme = theme.or_else(|| theme_without_asking(environment.has_no_graphics()));
        Self { environment, choice, theme, ..Self::default() }
    }

    /// What to write first of all, where the cursor is in an empty line.
    pub fn first_question() -> &'static str {
        READS_UTF8
    }

    /// What to ask then. Every terminal answers the last of it, and some the others.
    pub fn questions(&self) -> String {
        let background = if self.theme.is_none() { BACKGROUND } else { "" };
        let of_newer = if self.environment.has_no_graphics() { "" } else { KEYBOARD };
        let version = if self.choice.is_none() { VERSION } else { "" };
        [background, of_newer, version, ATTRIBUTES].concat()
    }

    /// The terminal has answered. What else to ask it now.
    pub fn hear(&mut self, answer: Answer) -> Option<String> {
        match answer {
            Answer::Background(colour) => self.theme = self.theme.or_else(|| background(&colour)),
            Answer::Version(version) => self.version = Some(version),
            Answer::Graphics(known) => self.graphics = Some(known),
            Answer::Keyboard => self.keyboard = true,
            // One more than its column is where the cursor is after a letter; two more, after two.
            Answer::Column(column) if self.utf8.is_none() && !self.over => self.utf8 = Some(column != 3),
            // A column then is a key that looks like one.
            Answer::Column(_) | Answer::Status => {}
            Answer::Attributes(attributes) => {
                self.attributes = Some(attributes);
                if !self.asked_graphics && self.may_know_graphics() {
                    self.asked_graphics = true;
                    return Some([GRAPHICS, ATTRIBUTES].concat());
                }
                self.over = true;
            }
        }
        None
    }

    /// Whether it is worth asking for kitty's graphics: terminals that know nothing of the kind write the question out.
    fn may_know_graphics(&self) -> bool {
        let named = self.environment.term.contains("kitty");
        self.choice.is_none() && self.decide().is_none() && (self.version.is_some() || self.keyboard || named)
    }

    /// Whether all that will be answered has been.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether pictures or colours wait for an answer.
    pub fn is_waited_for(&self) -> bool {
        self.choice.is_none() || self.theme.is_none()
    }

    /// How pictures are drawn, by what has been heard so far.
    pub fn choice(&self) -> Choice {
        let known = self.choice.clone().or_else(|| self.decide());
        known.unwrap_or_else(|| {
            let has_sixel =
                self.attributes.iter().flat_map(|attributes| attributes.split(';').skip(1)).any(|a| a == "4");
            if self.graphics == Some(true) {
                Choice::new(Images::Kitty, "the terminal answered to kitty's graphics protocol")
            } else if has_sixel {
                Choice::new(Images::Sixel, "the terminal names sixel among its attributes")
            } else if self.attributes.is_some() {
                let name = self.version.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                Choice::new(
                    Images::Blocks,
                    format!("the terminal{name} knows neither kitty's nor iTerm2's pictures nor sixel"),
                )
            } else {
                Choice::new(Images::Blocks, "the terminal has not answered what it can do")
            }
        })
    }

    /// What its name alone decides.
    fn decide(&self) -> Option<Choice> {
        let version = self.version.as_ref()?;
        let is_named = |name: &&str| version.starts_with(*name);
        if let Some((_, name, _)) = MULTIPLEXERS.iter().find(|(_, name, own)| is_named(name) || is_named(own)) {
            return Some(Choice::new(Images::Blocks, format!("{name} lets no pictures through")));
        }
        let iterm = self.environment.iterm && ITERM.iter().any(is_named);
        iterm.then(|| Choice::new(Images::Iterm, format!("the terminal is {version}, which knows iTerm2's pictures")))
    }

    /// What suits its background, where it tells.
    pub fn theme(&self) -> Option<Theme> {
        self.theme
    }

    /// Whether it knows kitty's keyboard protocol.
    pub fn knows_keyboard(&self) -> bool {
        self.keyboard
    }

    /// Whether letters beyond ASCII are seen; why not, and what to do.
    pub fn unreadable(&self) -> Option<&'static str> {
        match self.utf8 {
            Some(false) => Some(
                "this terminal does not read UTF-8: set its character encoding to UTF-8 (`xterm -u8`, `screen -U`, or start \
                 the terminal under LC_ALL=C.UTF-8)",
            ),
            // What it shows is decided by the locale it was started in, which is likely this one.
            _ if !self.environment.utf8 && self.environment.multiplexer == Some("tmux") => {
                Some("the locale is not UTF-8, and tmux may show lines and pictures as _: attach with `tmux -u attach`")
            }
            _ => None,
        }
    }

    /// Whether all of the screen is wrecked by that, and not letters alone.
    pub fn is_wrecked(&self) -> bool {
        self.utf8 == Some(false)
    }

    /// What it reads, for people; none where that is not known.
    pub fn letters(&self) -> Option<String> {
        let fine = (self.utf8 == Some(true)).then_some("UTF-8, as the terminal shows");
        self.unreadable().or(fine).map(Into::into)
    }
}

/// What some terminals say in the environment: the number of the background's colour, last. A console is dark, and
/// knows no such question; without colours there is nothing to ask.
fn theme_without_asking(is_console: bool) -> Option<Theme> {
    if is_console || colours() == Colours::None {
        return Some(Theme::Dark);
    }
    let colours = std::env::var("COLORFGBG").ok()?;
    let background: u8 = colours.rsplit(';').next()?.parse().ok()?;
    Some(if background == 7 || background == 15 { Theme::Light } else { Theme::Dark })
}

/// What suits a background of this colour, as in `rgb:1212/1212/1212`.
fn background(colour: &str) -> Option<Theme> {
    let part = |part: &str| {
        let most = 16f64.powi(part.len() as i32) - 1.0;
        u32::from_str_radix(part, 16).ok().map(|value| f64::from(value) / most)
    };
    let parts: Vec<f64> = colour.strip_prefix("rgb:")?.split('/').map(part).collect::<Option<_>>()?;
    let [r, g, b] = parts[..] else { return None };
    Some(if 0.299 * r + 0.587 * g + 0.114 * b > 0.5 { Theme::Light } else { Theme::Dark })
}

/// How many colours half blocks may have here.
pub fn colours() -> Colours {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return Colours::None;
    }
    let named = set("COLORTERM").is_some_and(|value| value.contains("truecolor") || value.contains("24bit"));
    let term = set("TERM").unwrap_or_default();
    // tmux turns true colours into what its own terminal has.
    let known = ["tmux", "kitty", "alacritty", "direct", "ghostty", "wezterm", "foot"];
    if named || set("TMUX").is_some() || known.iter().any(|known| term.contains(known)) {
        Colours::True
    } else {
        Colours::Indexed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen where these variables are set and the terminal gives these answers; and whether it was asked for graphics.
    fn chosen(wanted: Images, variables: &[(&str, &str)], answers: &[Answer]) -> (Choice, bool) {
        let variable =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        // viuer looks at these itself.
        let iterm = ["LC_TERMINAL", "TERM_PROGRAM"].iter().any(|name| variable(name).is_some());
        let environment = Environment { iterm, ..Environment::of(variable) };
        let mut probe = Probe::new(wanted, Some(Theme::Dark), environment);
        let mut asked = false;
        for answer in answers {
            asked |= probe.hear(answer.clone()).is_some();
        }
        (probe.choice(), asked)
    }

    fn attributes(attributes: &str) -> Answer {
        Answer::Attributes(attributes.into())
    }

    fn version(version: &str) -> Answer {
        Answer::Version(version.into())
    }

    const XTERM: (&str, &str) = ("TERM", "xterm-256color");

    #[test]
    fn a_variable_alone_picks_no_protocol() {
        for inherited in [("LC_TERMINAL", "iTerm2"), ("TERM_PROGRAM", "WezTerm"), ("TERM_PROGRAM", "iTerm.app")] {
            let choice = |answers: &[Answer]| chosen(Images::Auto, &[XTERM, inherited], answers).0.backend;
            assert_eq!(choice(&[]), Images::Blocks);
            assert_eq!(choice(&[attributes("62;22")]), Images::Blocks);
            assert_eq!(choice(&[version("XTerm(390)"), attributes("64;1;4"), attributes("64;1;4")]), Images::Sixel);
            assert_eq!(choice(&[version("iTerm2 3.5.0"), attributes("64;1;4")]), Images::Iterm);
        }
        // What viuer would not print is not chosen.
        assert_eq!(
            chosen(Images::Auto, &[XTERM], &[version("iTerm2 3.5.0"), attributes("64;1;4")]).0.backend,
            Images::Sixel
        );
    }

    #[test]
    fn what_the_terminal_answers_decides() {
        let (choice, asked) = chosen(
            Images::Auto,
            &[XTERM],
            &[version("kitty(0.35.2)"), attributes("62"), Answer::Graphics(true), attributes("62")],
        );
        assert_eq!((choice.backend, asked), (Images::Kitty, true));
        let (choice, asked) = chosen(Images::Auto, &[XTERM], &[attributes("1;2")]);
        assert_eq!((choice.backend, asked), (Images::Blocks, false), "one that knows nothing newer is not asked more");
        // The first number is the kind of terminal, not something it can do.
        assert_eq!(chosen(Images::Auto, &[XTERM], &[attributes("4;1")]).0.backend, Images::Blocks);
    }

    #[test]
    fn multiplexers_get_blocks_unless_asked_otherwise() {
        for variable in [
            ("TMUX", "/tmp/x"),
            ("STY", "1.x"),
            ("ZELLIJ", "0"),
            ("TERM", "screen-256color"),
            ("TERM", "tmux-256color"),
        ] {
            let (choice, _) =
                chosen(Images::Auto, &[variable], &[version("kitty"), attributes("62;4"), attributes("62;4")]);
            assert_eq!(choice.backend, Images::Blocks, "{variable:?}");
            assert_eq!(chosen(Images::Sixel, &[variable], &[]).0, Choice::new(Images::Sixel, "as asked"));
        }
        // After `sudo -i` only the terminal's own word is left.
        for name in ["tmux 3.4", "Zellij(0.41)"] {
            assert_eq!(
                chosen(Images::Auto, &[XTERM], &[version(name), attributes("62;4")]).0.backend,
                Images::Blocks,
                "{name}"
            );
        }
    }

    #[test]
    fn a_terminal_that_makes_two_letters_of_one_is_told() {
        let heard = |column, locale: &[(&str, &str)]| {
            let variable =
                |name: &str| locale.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            let mut probe = Probe::new(Images::Off, None, Environment::of(variable));
            probe.hear(Answer::Column(column));
            (probe.is_wrecked(), probe.unreadable().is_some())
        };
        assert_eq!(heard(2, &[("LC_ALL", "C")]), (false, false), "the locale says nothing of the terminal");
        assert_eq!(heard(3, &[("LC_ALL", "de_DE.UTF-8")]), (true, true));
        assert_eq!(heard(1, &[]), (false, false), "an odd answer");
        assert_eq!(heard(2, &[("TMUX", "x"), ("LC_ALL", "C")]), (false, true));
        assert_eq!(heard(2, &[("TMUX", "x"), ("LANG", "en_US.utf8")]), (false, false));
    }

    #[test]
    fn the_background_is_read_from_its_colour() {
        assert_eq!(background("rgb:ffff/ffff/dddd"), Some(Theme::Light));
        assert_eq!(background("rgb:12/12/12"), Some(Theme::Dark));
        for odd in ["", "rgb:ffff", "rgb:/x/", "what"] {
            assert_eq!(background(odd), None, "{odd:?}");
        }
    }
}
