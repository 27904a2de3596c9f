//! The macro that makes types out of the table of strategies.

/// Writes out the table: the modules, the enum [`super::Trainable`] of what is trained, the struct [`super::Strategies`]
/// of all settings, and [`super::start`].
///
/// A line of `trained` is `Variant: module { key: Settings }`, the braces only if there are settings; the module has
/// `start`, which makes the strategy of its settings. A line of `added` is `key: Settings`; the module has the key's name, and
/// `Settings` implements `Added`.
macro_rules! strategies {
    (
        trained { $( $(#[$of_trained:meta])* $trained:ident: $trained_in:ident $({ $its_key:ident: $its:ident })? ,)* }
        added { $( $key:ident: $added:ident ,)* }
    ) => {
        $( mod $trained_in; )*
        $( pub mod $key; pub use $key::$added; )*

        /// Which weights are trained.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "kebab-case")]
        pub enum Trainable {
            $( $(#[$of_trained])* $trained, )*
        }

        /// The settings of all strategies, each of them one key of the recipe; `None` where nothing is given.
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, clap::Args)]
        pub struct Strategies {
            $($(
                /// For what is trained; the defaults where absent.
                #[serde(skip_serializing_if = "Option::is_none")]
                #[command(flatten)]
                pub $its_key: Option<$its>,
            )?)*
            $(
                /// Added where present.
                #[serde(skip_serializing_if = "Option::is_none")]
                #[command(flatten)]
                pub $key: Option<$added>,
            )*
        }

        impl Strategies {
            /// The keys of the recipe that are strategies' settings.
            pub const KEYS: &[&str] = &[ $($( stringify!($its_key), )?)* $( stringify!($key), )* ];

            /// Reads the value of the key `key` of [`Self::KEYS`] from `map`.
            pub(crate) fn read<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &'static str,
                map: &mut A,
            ) -> std::result::Result<(), A::Error> {
                match key {
                    $($( stringify!($its_key) => self.$its_key = map.next_value()?, )?)*
                    $( stringify!($key) => self.$key = map.next_value()?, )*
                    _ => map.next_value::<serde::de::IgnoredAny>().map(drop)?,
                }
                Ok(())
            }

            /// Refuses settings that make no sense, those of what is not trained, and those that do not go with the peak
            /// learning rate `lr`.
            ///
            /// # Errors
            /// The key, its value and what it may be.
            pub fn check(&self, trained: Trainable, lr: f64) -> Result<()> {
                $($(
                    if let Some(settings) = &self.$its_key {
                        settings.check()?;
                        refuse_others(trained, Trainable::$trained)?;
                    }
                )?)*
                $(
                    if let Some(settings) = &self.$key {
                        crate::recipe::strategy::Added::check(settings)?;
                        crate::recipe::strategy::Added::goes_with_rate(settings, lr)?;
                    }
                )*
                Ok(())
            }

            /// The keys of strategies that are added.
            pub const ADDED: &[&str] = &[ $( stringify!($key), )* ];

            /// The corpora and models that the settings name.
            pub fn places(&mut self) -> Vec<crate::recipe::strategy::NamedPlace<'_>> {
                let mut places = Vec::new();
                $( places.extend(self.$key.iter_mut().flat_map(crate::recipe::strategy::Added::places)); )*
                places
            }

            /// Each strategy that can be added, with the settings with which it changes nothing.
            pub fn neutral() -> Vec<(&'static str, Self)> {
                vec![ $( (stringify!($key), Self { $key: Some(crate::recipe::strategy::Added::neutral()), ..Self::default() }), )* ]
            }

            /// Adds the settings' options to `into`, key by key.
            pub(crate) fn options(into: &mut Vec<(&'static str, clap::Command)>) {
                $($( into.push((stringify!($its_key), <$its as clap::Args>::augment_args(clap::Command::new("")))); )?)*
                $( into.push((stringify!($key), <$added as clap::Args>::augment_args(clap::Command::new("")))); )*
            }
        }

        /// The strategies of a run, by name.
        pub(super) fn start(trained: Trainable, settings: &Strategies) -> Vec<(&'static str, Box<dyn Strategy>)> {
            #[allow(unused_mut)] // where nothing can be added
            let mut all = vec![match trained {
                $( Trainable::$trained => {
                    let strategy = $trained_in::start($( settings.$its_key.clone().unwrap_or_default() )?);
                    (stringify!($trained_in), strategy)
                } )*
            }];
            $( all.extend(settings.$key.as_ref().map(|settings| (stringify!($key), crate::recipe::strategy::Added::start(settings)))); )*
            all
        }
    };
}

pub(super) use strategies;
