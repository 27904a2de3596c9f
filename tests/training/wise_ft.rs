//! WiSE-FT: what a run leaves lies between its base and what was trained.

use burn::tensor::Device;
use odyssey::adapt::{AdaptSettings, Adaptation, adapt};
use odyssey::model::{LanguageModel, LoadedModel};
use odyssey::progress::Silent;
use odyssey::recipe::strategies::WiseFt;
use odyssey::recipe::{Strategies, Trainable};

use crate::cli::Place;
use crate::common::{id_stream, model_folder};

fn base() -> LoadedModel {
    LoadedModel::open(&model_folder("gpt2_tied"), &Device::flex()).unwrap()
}

fn run(trained: Trainable, share: Option<f64>) -> Adaptation {
    let strategies = Strategies { wise_ft: share.map(|wise_ft| WiseFt { wise_ft }), ..Strategies::default() };
    let few = AdaptSettings { context: Some(16), lr: 1e-2, batch: 4, steps: Some(6), ..AdaptSettings::default() };
    let settings = AdaptSettings { strategy: trained, strategies, validations: 2, ..few };
    adapt(&base(), id_stream(&[300, 400]), &id_stream(&[90]), &settings, 3, None, &mut Silent).unwrap()
}

/// The weights as they are published, adapters merged.
fn weights(model: &LanguageModel) -> Vec<(String, Vec<f32>)> {
    model.published().into_iter().map(|weight| (weight.name.clone(), weight.values().unwrap())).collect()
}

fn last_loss(adapted: &Adaptation) -> f64 {
    adapted.result.curves.valid_loss.last().unwrap().1
}

#[test]
fn a_share_of_nothing_is_the_base_and_the_whole_share_is_what_was_trained() {
    for trained in [Trainable::Full, Trainable::Lora] {
        let (plain, nothing, whole) = (run(trained, None), run(trained, Some(0.0)), run(trained, Some(1.0)));
        assert!(weights(&nothing.last) == weights(&base().model), "{trained:?}: not the base's weights");
        assert_eq!(last_loss(&nothing), plain.result.curves.valid_loss[0].1, "{trained:?}");
        assert!(weights(&whole.last) == weights(&plain.last), "{trained:?}: other weights");
        assert_eq!(whole.result.curves, plain.result.curves, "{trained:?}");
        // Training itself is the same whatever is left of it.
        assert_eq!(nothing.result.curves.train_loss, plain.result.curves.train_loss);
    }
}

#[test]
fn every_weight_lies_at_its_share_between_both_and_what_is_tied_stays_tied() {
    for trained in [Trainable::Full, Trainable::Lora] {
        let (plain, part) = (run(trained, None), run(trained, Some(0.25)));
        let (before, after, between) = (weights(&base().model), weights(&plain.last), weights(&part.last));
        let names = |of: &[(String, Vec<f32>)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&between), names(&before));
        let mut moved = 0;
        for (((name, a), (_, b)), (_, is)) in before.iter().zip(&after).zip(&between) {
            for ((&a, &b), &is) in a.iter().zip(b).zip(is) {
                let should_be = 0.75 * f64::from(a) + 0.25 * f64::from(b);
                assert!(
                    (f64::from(is) - should_be).abs() <= 1e-6 * (1.0 + should_be.abs()),
                    "{name}: {is}, {should_be}"
                );
                moved += usize::from(a != b);
            }
        }
        assert!(moved > 0, "{trained:?} trained nothing");
        let losses = [last_loss(&plain), last_loss(&part), plain.result.curves.valid_loss[0].1];
        assert!(losses[1] != losses[0] && losses[1] != losses[2], "{losses:?}");
    }
}

#[test]
fn it_is_an_option_and_a_key_and_a_share_beyond_the_whole_is_refused() {
    let read: AdaptSettings = toml::from_str("wise_ft = 0.5\nlr = 1e-4").unwrap();
    assert_eq!(read.strategies.wise_ft, Some(WiseFt { wise_ft: 0.5 }));
    assert_eq!(toml::from_str::<AdaptSettings>(&toml::to_string(&read).unwrap()).unwrap(), read);
    assert_eq!(AdaptSettings::from_given(&read.given()).unwrap(), read);
    for share in [-0.1, 1.5, f64::NAN] {
        let strategies = Strategies { wise_ft: Some(WiseFt { wise_ft: share }), ..Strategies::default() };
        let refused = AdaptSettings { strategies, ..AdaptSettings::default() }.check(usize::MAX).unwrap_err();
        assert!(refused.to_string().starts_with("`wise_ft`: is "), "{refused}");
    }
    let line = "adapt --model m --train t.txt --valid v.txt --out o --wise-ft 2";
    Place::empty().refused(line, &["--wise-ft: is 2", "use a share from 0"]);
}
