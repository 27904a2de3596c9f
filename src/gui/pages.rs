//! The pages of the application.

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Page {
    /// Recent studies, and what to do first.
    #[default]
    Home,
    /// A form that makes a study.
    NewStudy,
    /// The opened study.
    Study,
    /// Running and waiting jobs.
    Live,
    /// The machine's devices and whether they compute right.
    Devices,
}

impl Page {
    /// All, in the order of the navigation.
    pub const ALL: [Self; 5] = [Self::Home, Self::NewStudy, Self::Study, Self::Live, Self::Devices];

    /// Its label in the navigation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::NewStudy => "New study",
            Self::Study => "Study",
            Self::Live => "Live",
            Self::Devices => "Devices",
        }
    }
}
