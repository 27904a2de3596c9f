//! Tasks: a plan that an older version wrote is read, and written as it was.

use odyssey::study::{Adaptation, Task, TaskKind, TaskText, TaskWork};
use serde_json::{Value, json};

/// The tasks of a study with an ablation grid and a restart control, as version 0.1 wrote them into `plan.json`.
fn written() -> Value {
    let text = json!({ "join": "eot", "newlines": "keep", "bos": "auto" });
    let task = |kind: &str, domain: &str, strategy: &str, seed: u64, folder: &str| {
        json!({
            "kind": kind, "model": "wiki", "device": 1, "domain": domain, "strategy": strategy, "seed": seed,
            "folder": format!("tasks/{folder}"),
        })
    };
    let mut tasks = [
        task("reference", "", "", 0, "reference-wiki-0123456789ab"),
        task("zero-shot", "novels", "", 0, "zero-shot-wiki-novels-0123456789ab"),
        task("zero-shot", "", "", 0, "zero-shot-wiki-restart-control-0123456789ab"),
        task("zero-shot", "novels", "", 0, "zero-shot-wiki-novels-ba9876543210"),
        task("similarity", "novels", "", 0, "similarity-wiki-novels-0123456789ab"),
        task("adapt", "novels", "full", 7, "adapt-wiki-novels-full-0123456789ab"),
        task("adapt", "", "full-pilot", 0, "adapt-wiki-restart-control-full-pilot-0123456789ab"),
        task("adapt", "novels", "full", 7, "adapt-wiki-novels-full-ba9876543210"),
    ];
    tasks[3]["evaluation"] = text.clone();
    tasks[7]["training"] = json!({ "text": text, "lr": 0.001 });
    json!(tasks)
}

#[test]
fn the_tasks_of_an_older_plan_are_read_and_written_as_they_were() {
    let tasks: Vec<Task> = serde_json::from_value(written()).unwrap();
    assert_eq!(json!(tasks), written());
    let kinds: Vec<TaskKind> = tasks.iter().map(Task::kind).collect();
    use TaskKind::{Adapt, Reference, Similarity, ZeroShot};
    assert_eq!(kinds, [Reference, ZeroShot, ZeroShot, ZeroShot, Similarity, Adapt, Adapt, Adapt]);

    let novels = || TaskText::Domain("novels".into());
    assert_eq!(tasks[0].work, TaskWork::Reference);
    assert_eq!(tasks[1].work, TaskWork::ZeroShot { text: novels(), evaluation: None });
    assert_eq!(tasks[2].work, TaskWork::ZeroShot { text: TaskText::Control, evaluation: None });
    assert_eq!(tasks[4].work, TaskWork::Similarity { domain: "novels".into() });
    let adaptation = Adaptation { text: novels(), strategy: "full".into(), seed: 7, training: None };
    assert_eq!(tasks[5].adaptation(), Some(&adaptation));
    let rows: Vec<bool> = tasks.iter().filter_map(Task::adaptation).map(Adaptation::is_row).collect();
    assert_eq!(rows, [true, false, false], "neither the restart control nor a way of the grid is a row");
}

#[test]
fn tasks_say_what_they_do() {
    let tasks: Vec<Task> = serde_json::from_value(written()).unwrap();
    let labels: Vec<String> = tasks.iter().map(Task::label).collect();
    assert_eq!(
        labels,
        [
            "reference corpus of wiki",
            "wiki on novels before adaptation",
            "wiki on its reference corpus before adaptation",
            "wiki on novels before adaptation, join eot, newlines keep",
            "distance of novels to the reference of wiki",
            "wiki adapted to novels (full, seed 7)",
            "wiki adapted to its reference corpus (full-pilot, seed 0)",
            "wiki adapted to novels (full, seed 7, join eot, newlines keep, lr 0.001)",
        ]
    );
}
