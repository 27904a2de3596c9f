//! The figure of what strategies gain against what they forget.

use std::collections::BTreeMap;

use super::figure::{Content, Figure, Kind, Mark, drawable, short};
use super::visible;
use crate::study::{Row, StudyResults};

/// A mark for each strategy of each model: the mean δ over the domains against the mean forgetting, both over the same rows.
/// `None` unless two strategies of a model can be compared.
pub(super) fn figure(results: &StudyResults) -> Option<Figure> {
    let mut arms: BTreeMap<(&str, usize), (&str, Vec<&Row>)> = BTreeMap::new();
    let names: Vec<&str> = results.rows.iter().fold(Vec::new(), |mut names, row| {
        if !names.contains(&row.strategy.as_str()) {
            names.push(&row.strategy);
        }
        names
    });
    for row in results.rows.iter().filter(|row| row.evidence.forgetting.value.is_some()) {
        let place = names.iter().position(|name| *name == row.strategy).unwrap_or(0);
        arms.entry((&row.model, place)).or_insert((&row.strategy, Vec::new())).1.push(row);
    }
    let models: Vec<String> = arms.keys().fold(Vec::new(), |mut models, (model, _)| {
        if models.last().is_none_or(|last: &String| *last != visible(model)) {
            models.push(visible(model));
        }
        models
    });
    let marks: Vec<Mark> = arms
        .iter()
        .filter_map(|((model, _), (strategy, rows))| {
            let mean = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / rows.len() as f64;
            let [delta, forgotten] =
                [mean(|row| row.delta), mean(|row| row.evidence.forgetting.value.unwrap_or(f64::NAN))];
            (drawable(&delta) && drawable(&forgotten)).then(|| Mark {
                label: short(&visible(strategy), 32),
                group: models.iter().position(|of| *of == visible(model)).unwrap_or(0),
                x: forgotten,
                delta,
                ci95: None,
                open: false,
            })
        })
        .collect();
    if marks.len() < 2 || marks.len() == models.len() {
        return None;
    }
    Some(Figure {
        name: "gained-against-forgotten".to_owned(),
        kind: Kind::Balance,
        of: String::new(),
        title: "Gained against forgotten".to_owned(),
        caption: "each strategy: means over domains and seeds; best is down and left".to_owned(),
        height: 1000,
        groups: models,
        content: Content::Balance { marks },
    })
}
